"""Protocols of frame prediction: a run continues the first frames of real clips."""

from vidgan_jax.evaluation.metrics.frechet import FID, FVD
from vidgan_jax.evaluation.metrics.prediction import PredictionQuality
from vidgan_jax.evaluation.protocols import paper_rows
from vidgan_jax.evaluation.protocols.base import Protocol

_EMBEDDED = "moving_shapes_classifier"
_SIGNED = ("scale", 2 / 255, -1.0)  # 0..255 to [-1, 1]
_I3D_TF1 = (("resize", "tf1", 224, 224), _SIGNED)
_FVD = FVD("i3d_kinetics400", "logits", _I3D_TF1)

_BAIR_NOTES = (
  "a set prepared from the benchmark's camera, `prepare --source=bair` (image_aux1); scores of the "
  "other camera are not comparable",
  "16 frames with the given one; each of the 256 test clips is continued 100 times from its first "
  "frame",
)
BAIR = Protocol(
  name="bair_fvd_1_15",
  source="Unterthiner et al. 2018 as the field applies it to BAIR (FitVid, MAGVIT B.3)",
  metrics=(_FVD, PredictionQuality()),
  frames=16,
  stride=1,
  windows="first",
  split="test",
  real_count=256,
  generated_count=25_600,
  resolutions=(64,),
  notes=(
    *_BAIR_NOTES,
    "one distance between 25,600 generated clips and the first 16 frames of the 256 test clips; "
    "real clips of the training set have a distance of 64 from these",
    "others: bair_fvd_1_15_mean100 is the mean of 100 distances of 256 clips, as in MCVD; "
    "bair_fvd_15 leaves out the given frame, as in the code of FitVid; bair_fvd_1_15_debiased "
    "compares with all 15 windows of the test clips, as MAGVIT does in brackets",
    "DVD-GAN does not state the number of clips",
  ),
  paper=paper_rows.PREDICTION_BAIR,
)
BAIR_MEAN = Protocol(
  name="bair_fvd_1_15_mean100",
  source="Voleti et al. 2022 (MCVD), issue 25 of its code",
  metrics=(_FVD,),
  frames=16,
  stride=1,
  windows="first",
  split="test",
  real_count=256,
  generated_count=256,
  repeats=100,
  bootstrap=0,
  resolutions=(64,),
  notes=(*_BAIR_NOTES, "the mean of 100 distances, each of one future of each test clip"),
)
BAIR_WITHOUT_GIVEN = Protocol(
  name="bair_fvd_15",
  source="Babaeizadeh et al. 2021 (FitVid), train.py of its code",
  metrics=(FVD("i3d_kinetics400", "logits", (("drop_frames", 1), *_I3D_TF1)),),
  frames=16,
  stride=1,
  windows="first",
  split="test",
  real_count=256,
  generated_count=25_600,
  resolutions=(64,),
  notes=(*_BAIR_NOTES, "the given frame is left out on both sides: clips of 15 frames"),
)
BAIR_DEBIASED = Protocol(
  name="bair_fvd_1_15_debiased",
  source="Yu et al. 2023 (MAGVIT), appendix B.3",
  metrics=(_FVD,),
  frames=16,
  stride=1,
  windows="each",
  windows_per_video=15,
  split="test",
  real_count=3840,
  generated_count=25_600,
  resolutions=(64,),
  notes=(*_BAIR_NOTES, "the real clips are all 15 windows of 16 frames of the 256 test clips"),
  paper=paper_rows.PREDICTION_BAIR_DEBIASED,
)

KINETICS = Protocol(
  name="k600_fvd_5_11",
  source="Clark, Donahue, Simonyan 2019, section 4.2.1 and Table 3",
  metrics=(_FVD, PredictionQuality()),
  frames=16,
  stride=1,
  split="test",
  windows_per_video=2,
  real_count=50_000,
  generated_count=50_000,
  resolutions=(64,),
  notes=(
    "16 frames with the 5 given ones; each of 50,000 real windows is continued once. A test set of "
    "fewer clips gives a second window of some",
    "--split=train computes the row of the training set",
    "not stated: number of clips (here 50,000 on both sides) and windows (here random ones); the "
    "paper reports mean and standard deviation over models or samples without saying which",
    "the rows of synthesis are of a run without given frames, kinetics600_64x16_stride1: the same "
    "protocol evaluates it",
    "later papers generate 50,000 clips four times and compare with six windows and crops of each "
    "of about 29,000 clips (MAGVIT B.3)",
  ),
  paper=paper_rows.PREDICTION_KINETICS,
)

SHAPES = Protocol(
  name="moving_shapes_prediction",
  source="this project's built-in moving shapes and its classifier",
  metrics=(FID(_EMBEDDED, "features", (_SIGNED,)), PredictionQuality()),
  windows="first",
  split="test",
  real_count=200,
  generated_count=2000,
  notes=("each of 200 held-out clips is continued 10 times; no paper reports comparable numbers",),
)

ALL = (BAIR, BAIR_MEAN, BAIR_WITHOUT_GIVEN, BAIR_DEBIASED, KINETICS, SHAPES)
