"""All protocols: for the built-in moving shapes, for other data, and of papers and their code."""

from vidgan_jax.evaluation.metrics.accuracy import Accuracy
from vidgan_jax.evaluation.metrics.diversity import Diversity
from vidgan_jax.evaluation.metrics.frechet import FID, FVD
from vidgan_jax.evaluation.metrics.inception_score import InceptionScore
from vidgan_jax.evaluation.metrics.kernel import KernelDistance
from vidgan_jax.evaluation.metrics.neighbours import PrecisionRecall
from vidgan_jax.evaluation.metrics.unlimited import FVDInfinity
from vidgan_jax.evaluation.protocols import paper_rows, prediction
from vidgan_jax.evaluation.protocols.base import Protocol

_SIGNED = ("scale", 2 / 255, -1.0)  # 0..255 to [-1, 1]
_UNIT = ("scale", 1 / 255, 0.0)
# Generators in the code of TGAN and TGANv2 output x in [-1, 1], and their evaluation computes
# x * 128 + 128. For a clip that is already uint8, x is u / 127.5 - 1, so this is u * 128 / 127.5.
_BY_128 = ("scale", 128 / 127.5, 0.0)

_I3D_TF1 = (("resize", "tf1", 224, 224), _SIGNED)
_K400, _K600 = "i3d_kinetics400", "i3d_kinetics600"

_EMBEDDED = "moving_shapes_classifier"
_EMBEDDED_INPUT = (_SIGNED,)  # the network resizes clips itself

MOVING_SHAPES = Protocol(
  name="moving_shapes",
  source="this project's built-in moving shapes and its classifier",
  metrics=(
    InceptionScore(_EMBEDDED, "logits", _EMBEDDED_INPUT),
    FID(_EMBEDDED, "features", _EMBEDDED_INPUT),
    Accuracy(_EMBEDDED, "logits", _EMBEDDED_INPUT),
    KernelDistance(_EMBEDDED, "features", _EMBEDDED_INPUT),
    PrecisionRecall(_EMBEDDED, "features", _EMBEDDED_INPUT),
    Diversity(_EMBEDDED, "features", _EMBEDDED_INPUT),
  ),
  real_count=2000,
  generated_count=1000,
  per_class=True,
  notes=(
    "the numbers use the built-in classifier: there is no FVD, and no paper reports comparable "
    "numbers",
    "the Inception Score is at most 16, the number of classes; below 8 for a model of the first "
    "eight classes",
  ),
)

RECOMMENDED = Protocol(
  name="recommended",
  source="this project's choice: FVD as its authors compute it, and metrics that complement it",
  metrics=(
    FVD(_K400, "logits", _I3D_TF1),
    KernelDistance(_K400, "logits", _I3D_TF1, subsets=100),
    PrecisionRecall(_K400, "avgpool", _I3D_TF1),
    InceptionScore(_K400, "logits", _I3D_TF1),
    FVDInfinity(_K400, "logits", _I3D_TF1),
  ),
  frames=16,
  stride=1,
  real_count=10_000,
  generated_count=10_000,
  repeats=1,
  notes=(
    "the Frechet distance of 10,000 clips on both sides is biased upwards; real against real, with "
    "5,000 clips on each side, shows about twice this bias",
    "the network is rgb_scratch of Kinetics-400, the same as TF-Hub's i3d-kinetics-400/1",
    "FVD responds little to motion: --controls scores frozen, shuffled and reversed real clips",
  ),
)

FVD_UNTERTHINER2018 = Protocol(
  name="fvd_unterthiner2018",
  source="Unterthiner et al. 2018, google-research/frechet_video_distance",
  metrics=(FVD(_K400, "logits", _I3D_TF1),),
  frames=16,
  stride=1,
  generated_count=2048,
  real_count=2048,
  notes=(
    "the code fixes resize (TensorFlow 1's bilinear, the whole frame squashed to 224x224), range "
    "[-1, 1], logits averaged over time and ddof 1",
    "it does not fix counts, windows, stride, split or the frame rate: 2048 random windows of 16 "
    "consecutive frames of the training set are this project's choice",
    "this is not the BAIR convention, which uses 256 test clips and 100 generated clips for each",
    "the matrix square root of the code does not change singular values below 1e-10; here it is "
    "exact",
  ),
  paper=paper_rows.DVD_GAN_TABLE_3,
)

DVD_GAN = Protocol(
  name="dvd_gan_fid_is_k600",
  source="Clark, Donahue, Simonyan 2019, section 2.5",
  metrics=(
    FID(_K600, "avgpool", _I3D_TF1),
    InceptionScore(_K600, "logits", _I3D_TF1, splits=10),
  ),
  stride=2,
  crop="random",
  generated_count=50_000,
  notes=(
    "FID uses the 1024 averaged pool features, not the logits that FVD uses; it is smaller by a "
    "factor of 10 to 100. The real clips are the entire training set",
    "not stated: number of generated clips and splits (here 50,000 and 10, as in BigGAN), resize "
    "kernel (here that of TensorFlow 1), ddof",
    "the second Inception Score of the paper is the best over several truncations: --truncations",
    "scores of clips of different lengths are not comparable",
  ),
  paper=paper_rows.DVD_GAN_TABLE_1,
)

_C3D = "c3d_ucf101"
# The mean clip is 128x171. TGAN uses its middle 128 columns, then crops 8..120 of both axes.
_C3D_TGAN = (
  _BY_128,
  ("resize", "cubic", 128, 128),
  ("bgr",),
  ("subtract_mean", 0, 21),
  ("crop", 8, 8, 112, 112),
)
# TGANv2 resizes directly to 112x112, and uses the window of the mean clip that begins at column 8.
_C3D_TGANV2 = (
  _BY_128,
  ("bgr",),
  ("resize", "align_corners", 112, 112),
  ("subtract_mean", 8, 8),
)

_PROGRESSIVE = tuple(row for row in paper_rows.TGANV2_TABLE_2 if "128x128" in row.source)

TGAN = Protocol(
  name="tgan_is_c3d",
  source="Saito et al. 2017, evaluation/calc_inception.py of its code",
  metrics=(InceptionScore(_C3D, "logits", _C3D_TGAN, eps=1e-7),),
  frames=16,
  generated_count=9984,
  repeats=4,
  bootstrap=0,
  resolutions=(64, 128),
  notes=(
    "TGAN's clips have 64x64 pixels; the rows of DVD-GAN, ProgressiveVGAN and TGAN-F have 128x128",
    "rows of LDVD-GAN come from this code with TGANv2's mean file, see ldvd_is_fid_c3d; those of "
    "ProgressiveVGAN have 128x128 pixels according to TGANv2, 256x256 according to LDVD-GAN's "
    "Table 9",
    "9984 clips are 10000 // 48 * 48, as in the code; mean and deviation of four runs of one split",
    "the code passes x * 128 + 128 to the network without clipping; here clips are uint8 first, "
    "which changes a value by at most 256/255 of half a grey level",
    "the score is sensitive to the mean file: TGAN uses columns 29 to 141 of its 171, TGANv2 "
    "columns 8 to 120",
  ),
  paper=(*paper_rows.DVD_GAN_TABLE_2, *_PROGRESSIVE, *paper_rows.LDVD_TABLE_9),
)

TGANV2 = Protocol(
  name="tganv2_is_fid_c3d",
  source="Saito et al. 2020, the evaluation of its code",
  metrics=(
    InceptionScore(_C3D, "logits", _C3D_TGANV2, eps=1e-20, eps_place="probabilities"),
    FID(_C3D, "fc7", _C3D_TGANV2),
  ),
  frames=16,
  stride=1,
  windows_per_video=10,
  crop="random",
  generated_count=2048,
  repeats=10,
  bootstrap=0,
  resolutions=(192,),
  notes=(
    "the code resizes to 112x112 with aligned corners; the paper says 128x128",
    "FID uses 4096 features after ReLU and 2048 clips: fewer clips than dimensions",
    "the real clips of the code are 95,370 windows, ten of each training video, of frames resized "
    "to 192x256 with a cubic kernel and cropped to 192 columns; here the frames are as prepared",
    "the code stores the features of real clips in float32; here they are float64",
  ),
  paper=paper_rows.TGANV2_TABLE_2,
)

LDVD_GAN = Protocol(
  name="ldvd_is_fid_c3d",
  source="Kahembwe & Ramamoorthy 2020: TGAN's code with TGANv2's mean file",
  metrics=(
    InceptionScore(_C3D, "logits", _C3D_TGAN, eps=1e-7),
    FID(_C3D, "fc7", _C3D_TGAN),
  ),
  frames=16,
  stride=1,
  windows_per_video=10,
  generated_count=10_000,
  repeats=4,
  bootstrap=0,
  notes=(
    "not stated: the preprocessing used with TGANv2's mean file (here TGAN's), and the resolution "
    "of the reference clips; it is probably TGANv2's 192x192, because real clips of 64x64 have an "
    "FID of 1766 (Table 7)",
  ),
  paper=paper_rows.LDVD_TABLE_7 + paper_rows.LDVD_TABLE_8 + paper_rows.LDVD_TABLE_9,
)

_R2PLUS1D = "r2plus1d_kinetics400"
_R2PLUS1D_INPUT = (
  ("resize", "half_pixel", 112, 112),
  _UNIT,
  ("normalize", (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
)

DU = Protocol(
  name="du_r2plus1d",
  source="Du 2020 (thesis), chapter 4",
  metrics=(
    InceptionScore(_R2PLUS1D, "logits", _R2PLUS1D_INPUT),
    FID(_R2PLUS1D, "avgpool", _R2PLUS1D_INPUT),
  ),
  stride=2,
  generated_count=10_000,
  real_count=10_000,
  resolutions=(64,),
  notes=(
    "the network is torchvision's r2plus1d_18, trained on Kinetics-400",
    "not stated: layer of FID (here the 512 averaged features), counts (here 10,000 on both "
    "sides), splits (here one), ddof, resize (here the whole square frame to 112x112 with "
    "half-pixel centres; torchvision's resize to 128x171 with a crop would distort it)",
  ),
  paper=paper_rows.DU_CHAPTER_4,
)

SSW_GAN = Protocol(
  name="ssw_gan",
  source="Castrejon, Ballas, Courville 2021, section 5.1",
  metrics=(
    InceptionScore(_K400, "logits", _I3D_TF1, splits=10),
    FID(_K600, "avgpool", _I3D_TF1),
    FVD(_K400, "logits", _I3D_TF1),
  ),
  crop="random",
  generated_count=10_000,
  real_count=10_000,
  notes=(
    'Inception Score and FVD use I3D trained on Kinetics-400; FID uses the "last layer '
    'activations" of I3D trained on Kinetics-600 (here avgpool, as for DVD-GAN). The Inception '
    "Scores of SSW-GAN and DVD-GAN therefore use different classifiers",
    "not stated: counts (here 10,000 on both sides), resize, splits, ddof, stride (here that of "
    "the run)",
    "its scores of clips of 6 frames cannot come from an unchanged I3D, which needs 9 frames; they "
    "are refused here",
    "batch statistics were collected in 200 passes: --standing_passes=200; latents have variance 1",
    "clips of 12 frames come from windows of 6 frames of the first stage at random positions, "
    "those of 48 from windows of 24 of its 25 frames: --frames=12, 48 or 50",
    "Appendix G reports Inception Score and FID of single classes, from 1000 generated clips of "
    "the class and all its real clips; --count=N generates N / classes of each. High motion: "
    "bungee jumping, capoeira, cheerleading, kitesurfing, skydiving; low motion: doing nails, "
    "cooking egg, crying, reading book, yawning",
    "of its Table 1, only the rows of DVD-GAN are listed here, with scores on Kinetics-600",
  ),
  per_class=True,
  paper=paper_rows.SSW_GAN_TABLE_1,
)

STYLEGAN_V = Protocol(
  name="stylegan_v_fvd2048_16f",
  source="Skorokhodov et al. 2022, fvd2048_16f of its code",
  metrics=(FVD(_K400, "logits", (("resize", "half_pixel", 224, 224), _SIGNED), ddof=0),),
  frames=16,
  stride=1,
  generated_count=2048,
  real_count=2048,
  notes=(
    "covariances are divided by N; one random window of each video, without videos that are too "
    "short; on UCF-101 the real clips came from the training and test splits together",
    "the resize of the code is inside a TorchScript file; here it is PyTorch's, with half-pixel "
    "centres",
    "the code quantises generated clips by floor(x * 127.5 + 128), which rounds to nearest",
  ),
)

ALL = (
  MOVING_SHAPES,
  RECOMMENDED,
  FVD_UNTERTHINER2018,
  DVD_GAN,
  TGAN,
  TGANV2,
  LDVD_GAN,
  DU,
  SSW_GAN,
  STYLEGAN_V,
  *prediction.ALL,
)
