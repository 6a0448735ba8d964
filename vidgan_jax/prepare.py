r"""Prepares a data set: converts videos to TFRecord files with one JPEG or PNG image per frame.

  vidgan prepare --source=ucf101 --input=/data/UCF-101 \
      --lists=/data/ucfTrainTestlist --output=/data/prepared/ucf101_128 --resolution=128
  vidgan prepare --source=kinetics --input=/data/kinetics600 --name=kinetics600 \
      --lists=/data/train.csv,/data/val.csv --output=/data/prepared/kinetics600_64 --resolution=64
  vidgan prepare --source=folder --input=VIDEOS --output=DIR --limit=20
  vidgan prepare --verify --output=DIR

The sources:

  ucf101        folders of classes, and the official lists
  kinetics      folders of classes or one folder, and the official csv files
  bair          the published TFRecord files; --camera=aux1 (the benchmark's) or main
  moving_mnist  the published .npy file
  folder        any tree of videos
  frames        any tree whose innermost folders hold the frames of a clip as pictures
  tfds          a folder that TensorFlow Datasets prepared; needs requirements-data.txt

Frame sizes of the papers: DVD-GAN --resolution=128 --resize=bilinear; Du's thesis
--resolution=64 --resize=area; TGANv2 --crop=240 --resolution=192; TGAN, MoCoGAN and their variants
with lower-dimensional kernels --crop=240 --resolution=64. Both kinds of resizing average when they
shrink (antialiasing).

If the command is stopped, the same command continues; the result is the same byte for byte. It
writes the records, an index of every frame, report.txt, skipped.txt (the clips that could not be
used, and why) and contact_sheet.png into the output folder. Training reads it without TensorFlow;
TensorFlow Datasets reads it with builder_from_directory. docs/data_format.md describes the format.

Exit codes: 0 done; 2 bad input, or --verify found faults.
"""

from absl import flags

from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError

requests.define(Request, sometimes=("source", "input"))
_VERIFY = flags.DEFINE_bool(
  "verify", False, "Verify the prepared set in --output: checksums, pictures, labels, index."
)
_LOSSLESS = flags.DEFINE_bool("lossless", False, "PNG instead of JPEG.")


def main(argv):
  """Prepares a data set, or verifies a prepared one."""
  del argv
  if _VERIFY.value:
    from vidgan_jax.data.prepare import verify

    verify.verify(flags.FLAGS.output, report=door.report)
    return
  for name in ("source", "input"):
    if not flags.FLAGS[name].value:
      raise UserError(f"--{name} is required")
  if _LOSSLESS.value and flags.FLAGS["quality"].present:
    raise UserError("--lossless and --quality exclude each other: PNG has no quality")
  from vidgan_jax.data.prepare import run  # imports the decoders

  lossless = {"quality": None} if _LOSSLESS.value else {}
  run.prepare(requests.read(Request, **lossless), report=door.report)


if __name__ == "__main__":
  door.run(main)
