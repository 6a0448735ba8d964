r"""Prepares a data set: videos become records of one picture per frame, read without tensorflow.

  python -m vidgan_jax.prepare --source=ucf101 --input=/data/UCF-101 \
      --lists=/data/ucfTrainTestlist --output=/data/prepared/ucf101_128 --resolution=128
  python -m vidgan_jax.prepare --source=kinetics --input=/data/kinetics600 --name=kinetics600 \
      --lists=/data/train.csv,/data/val.csv --output=/data/prepared/kinetics600_64 --resolution=64
  python -m vidgan_jax.prepare --source=folder --input=VIDEOS --output=DIR --limit=20
  python -m vidgan_jax.prepare --verify --output=DIR

Sources: ucf101 (folders of classes, official lists), kinetics (class folders or one folder, csv
files), bair (its TFRecords), moving_mnist (its .npy file), folder (any tree of videos), frames (any
tree of folders of pictures), tfds (a folder that TensorFlow Datasets prepared; needs
requirements-data.txt).

The papers' pictures: DVD-GAN --resolution=128 --resize=bilinear; Du's thesis --resolution=64
--resize=area; TGANv2 --crop=240 --resolution=192; TGAN, MoCoGAN and their lower-dimensional kin
--crop=240 --resolution=64. Both resizes average over what they shrink (antialiasing).

The same command continues where it was stopped, and the result is the same byte for byte. The
output folder receives the records, an index of every frame, report.txt, skipped.txt (what could not
be used, and why) and contact_sheet.png; TensorFlow Datasets reads it with builder_from_directory.
docs/data_format.md describes it.

Exit codes: 0 done, 2 bad input, or faults that --verify found.
"""

from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

_SOURCE = flags.DEFINE_string("source", None, "What the input is; see above.")
_INPUT = flags.DEFINE_string("input", None, "Folder or file of the data.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the prepared set.")
_VERIFY = flags.DEFINE_bool(
  "verify", False, "Look at the set in --output again: checksums, pictures, labels, index."
)
_NAME = flags.DEFINE_string("name", None, "Name of the set; default the source's.")
_SPLITS = flags.DEFINE_list("split", None, "Splits, by commas; default all that are there.")
_SPLIT_NUMBER = schema.define(
  "split_number", schema.integer(None, "Which of UCF-101's lists; default 1.", least=1, most=99)
)
_LISTS = flags.DEFINE_list(
  "lists", None, "UCF-101: folder of its lists. Kinetics: csv files. Default: those in --input."
)
_CLASSES = flags.DEFINE_string(
  "classes", None, "File with a class name per line, in label order; default those found, sorted."
)
_CLASS_LEVEL = schema.define(
  "class_level",
  schema.integer(
    1,
    "folder, frames: which folder on a clip's path is its class, 1 the topmost. 0: no classes.",
    least=0,
    most=64,
  ),
)
_SPLIT_FOLDERS = flags.DEFINE_string(
  "split_folders",
  "auto",
  "folder, frames: which folders are splits. auto: those named like train, val and test, where all "
  "beside them are; none: none; FOLDER=SPLIT,...: these.",
)
_RESOLUTION = schema.define(
  "resolution",
  schema.integer(None, "Pixels of the smaller side; default as it is.", least=1, most=8192),
)
_RESIZE = flags.DEFINE_enum(
  "resize", "bilinear", ["bilinear", "area"], "How pictures are made smaller."
)
_CROP = schema.define(
  "crop",
  schema.integer(None, "First cut the middle square of so many pixels.", least=1, most=65_536),
)
_STRIDE = schema.define("stride", schema.integer(1, "Keep every n-th frame.", least=1, most=10_000))
_FRAME_RATE = schema.define(
  "frame_rate",
  schema.number(
    None,
    "Keep so many frames per second; slower clips keep all of theirs.",
    least=0,
    above=True,
    most=1000,
  ),
)
_QUALITY = schema.define("quality", schema.integer(95, "Quality of the JPEGs.", least=1, most=100))
_LOSSLESS = flags.DEFINE_bool("lossless", False, "PNG instead of JPEG.")
_CLIPS_PER_SHARD = schema.define(
  "clips_per_shard",
  schema.integer(
    128, "Clips per file; as much is done again after a stop.", least=1, most=1_000_000
  ),
)
_LIMIT = schema.define(
  "limit",
  schema.integer(None, "At most so many clips per split, for trials.", least=1, most=1_000_000_000),
)
_WORKERS = schema.define(
  "workers",
  schema.integer(None, "Clips worked on at once; default the number of cores.", least=1, most=1024),
)
flags.mark_flag_as_required("output")


def main(argv):
  """Prepares, or verifies."""
  del argv
  if _VERIFY.value:
    from vidgan_jax.data.prepare import verify

    verify.verify(_OUTPUT.value, report=door.report)
    return
  for flag in (_SOURCE, _INPUT):
    if not flag.value:
      raise UserError(f"--{flag.name} is required")
  if _LOSSLESS.value and _QUALITY.present:
    raise UserError("of --lossless and --quality only one can be taken: PNG has no quality")
  from vidgan_jax.data.prepare import run, settings  # the decoder's libraries load here

  run.prepare(
    settings.Request(
      source=_SOURCE.value,
      input=_INPUT.value,
      output=_OUTPUT.value,
      name=_NAME.value,
      splits=tuple(_SPLITS.value or ()),
      split_number=_SPLIT_NUMBER.value,
      lists=tuple(_LISTS.value or ()),
      classes=_CLASSES.value,
      class_level=_CLASS_LEVEL.value,
      split_folders=_SPLIT_FOLDERS.value,
      resolution=_RESOLUTION.value,
      resize=_RESIZE.value,
      crop=_CROP.value,
      stride=_STRIDE.value,
      frame_rate=_FRAME_RATE.value,
      quality=None if _LOSSLESS.value else _QUALITY.value,
      clips_per_shard=_CLIPS_PER_SHARD.value,
      limit=_LIMIT.value,
      workers=_WORKERS.value,
    ),
    report=door.report,
  )


if __name__ == "__main__":
  door.run(main)
