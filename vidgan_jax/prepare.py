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

from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError

requests.define(Request, sometimes=("source", "input"))
_VERIFY = flags.DEFINE_bool(
  "verify", False, "Look at the set in --output again: checksums, pictures, labels, index."
)
_LOSSLESS = flags.DEFINE_bool("lossless", False, "PNG instead of JPEG.")


def main(argv):
  """Prepares, or verifies."""
  del argv
  if _VERIFY.value:
    from vidgan_jax.data.prepare import verify

    verify.verify(flags.FLAGS.output, report=door.report)
    return
  for name in ("source", "input"):
    if not flags.FLAGS[name].value:
      raise UserError(f"--{name} is required")
  if _LOSSLESS.value and flags.FLAGS["quality"].present:
    raise UserError("of --lossless and --quality only one can be taken: PNG has no quality")
  from vidgan_jax.data.prepare import run  # the decoder's libraries load here

  lossless = {"quality": None} if _LOSSLESS.value else {}
  run.prepare(requests.read(Request, **lossless), report=door.report)


if __name__ == "__main__":
  door.run(main)
