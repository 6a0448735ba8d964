"""The protocols: the embedded set's, the recommended one, those of the papers and their code."""

from vidgan_jax.evaluation.metrics.accuracy import Accuracy
from vidgan_jax.evaluation.metrics.diversity import Diversity
from vidgan_jax.evaluation.metrics.frechet import FID, FVD
from vidgan_jax.evaluation.metrics.inception_score import InceptionScore
from vidgan_jax.evaluation.metrics.kernel import KernelDistance
from vidgan_jax.evaluation.metrics.neighbours import PrecisionRecall
from vidgan_jax.evaluation.metrics.unlimited import FVDInfinity
from vidgan_jax.evaluation.protocols import paper_rows
from vidgan_jax.evaluation.protocols.base import Protocol

_SIGNED = ("scale", 2 / 255, -1.0)  # 0..255 to [-1, 1]
_UNIT = ("scale", 1 / 255, 0.0)
# Generators of these codes end in [-1, 1], and their evaluations take x * 128 + 128; of a clip that
# is uint8 already, x is u / 127.5 - 1.
_BY_128 = ("scale", 128 / 127.5, 0.0)

_I3D_TF1 = (("resize", "tf1", 224, 224), _SIGNED)
_K400, _K600 = "i3d_kinetics400", "i3d_kinetics600"

_EMBEDDED = "moving_shapes_classifier"
_EMBEDDED_INPUT = (_SIGNED,)  # the network brings other sizes to its own

MOVING_SHAPES = Protocol(
  name="moving_shapes",
  source="this project's embedded set and its classifier",
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
    "numbers of the embedded classifier: no FVD, and comparable with no paper",
    "16 classes bound the Inception Score; a model of the first eight classes stays below 8",
  ),
)

RECOMMENDED = Protocol(
  name="recommended",
  source="this project's choice: FVD as its authors computed it, with what shows its blind spots",
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
    "10,000 clips on both sides: what bias of a Frechet distance is left shows, about twice as "
    "large, in the real-against-real floor beside it, which is of 5,000 on both sides",
    "the network is rgb_scratch of Kinetics-400, that of TF-Hub's i3d-kinetics-400/1",
    "FVD sees motion poorly: --controls scores frozen, shuffled and reversed real clips",
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
    "it does not fix counts, windows, stride, split or the rate of frames: 2048 random windows of "
    "16 consecutive frames of the training set are this project's choice",
    "BAIR convention: 256 test clips, 100 generated for each; not this one",
    "the square root of the code leaves singular values below 1e-10 alone; here it is exact",
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
    "FID is between the 1024 averaged pool features, not the logits of FVD: a number one or two "
    "orders smaller; the reference is the entire training set",
    "not stated: number of generated clips, splits (BigGAN's 50,000 and 10 are taken), resize "
    "kernel (TensorFlow 1's is taken), ddof",
    "the second Inception Score of the paper is the best over a sweep: --truncations",
    "scores of clips of different lengths do not compare",
  ),
  paper=paper_rows.DVD_GAN_TABLE_1,
)

_C3D = "c3d_ucf101"
# The mean clip is 128x171; its middle 128 columns are taken first, then 8..120 of everything.
_C3D_TGAN = (
  _BY_128,
  ("resize", "cubic", 128, 128),
  ("bgr",),
  ("subtract_mean", 0, 21),
  ("crop", 8, 8, 112, 112),
)
# Straight to 112x112; the window of the mean begins at column 8, not in the middle.
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
    "its own clips are of 64x64; DVD-GAN's, ProgressiveVGAN's and TGAN-F's rows are of 128x128",
    "rows of LDVD-GAN are by this code with TGANv2's mean file, see ldvd_is_fid_c3d; those of "
    "ProgressiveVGAN are of 128x128 by TGANv2's text, of 256x256 by LDVD-GAN's Table 9",
    "9984 clips are the code's 10000 // 48 * 48; four runs of one split, their mean and deviation",
    "the code feeds x * 128 + 128 without clipping; here clips are uint8 first, at most 256/255 of "
    "half a grey level away",
    "sensitive to the mean file: columns 29 to 141 of its 171 are used, by TGANv2 8 to 120",
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
    "the code resizes to 112x112 with corners aligned; the paper says 128x128",
    "FID is between 4096 numbers after ReLU from 2048 clips: fewer clips than dimensions",
    "the reference of the code are 95,370 windows, ten of each training clip, from frames of "
    "192x256 by a cubic kernel with a horizontal crop of 192; here as the data was prepared",
    "the code stores the reference in float32; here it is float64",
  ),
  paper=paper_rows.TGANV2_TABLE_2,
)

LDVD_GAN = Protocol(
  name="ldvd_is_fid_c3d",
  source="Kahembwe & Ramamoorthy 2020, after TGAN's code with TGANv2's mean file",
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
    "not stated: which preprocessing goes with TGANv2's mean file (TGAN's is taken), and the "
    "resolution of the reference, which TGANv2's 192x192 explains: real clips of 64x64 score an "
    "FID of 1766 against it (Table 7)",
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
    "the network is torchvision's r2plus1d_18 of Kinetics-400",
    "not stated: layer of FID (its 512 averaged features are taken), counts (10,000 on both "
    "sides), splits (one), ddof, resize (whole squares to 112x112 about half-pixel centres; "
    "torchvision's own 128x171 with a crop would distort them)",
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
    'Inception Score and FVD by I3D of Kinetics-400, FID by "last layer activations" of '
    "that of Kinetics-600 (avgpool is taken, as DVD-GAN's beside it): its Inception Score and "
    "DVD-GAN's are of different classifiers",
    "not stated: counts (10,000 on both sides), resize, splits, ddof, stride (the run's is taken)",
    "its scores of 6 frames cannot come from an unchanged I3D, which needs 9: refused here",
    "batch statistics were collected in 200 passes: --standing_passes=200; z has variance 1",
    "Inception Score and FID of each class are its appendix G: 1000 generated clips of the class "
    "against all real ones; --count=N gives N / classes of each. High motion: bungee jumping, "
    "capoeira, cheerleading, kitesurfing, skydiving; low: doing nails, cooking egg, crying, "
    "reading book, yawning",
    "of its Table 1 only the rows of DVD-GAN are listed, with scores of Kinetics-600; its own "
    "numbers are not transcribed here",
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
    "covariances are divided by N; one window of each video at a random place, short videos left "
    "out; on UCF-101 its reference was train and test together",
    "the resize is within its TorchScript file; PyTorch's own, about half-pixel centres, is taken",
    "generated clips were rounded down, floor(x * 127.5 + 128), which is rounding to nearest",
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
)
