r"""Draws clips from a trained run.

  python -m vidgan_jax.sample --workdir=DIR --output=DIR
  python -m vidgan_jax.sample --workdir=DIR --output=DIR --labels=0,3,jetskiing --per_label=4 \
      --truncation=0.44 --frames=48 --seed=1
  python -m vidgan_jax.sample --workdir=DIR --output=DIR --interpolate=latent --labels=2,5
  python -m vidgan_jax.sample --workdir=DIR --output=DIR --interpolate=class --labels=2,5

The output folder receives grid.mp4, grid.gif, contact_sheet.png (frames as columns), clips/ and
samples.npz (uint8 [N, T, H, W, 3] and labels). The same seed gives the same bytes.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, schema

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to.")
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace samples that lie in the output folder.")
_LABELS = flags.DEFINE_string(
  "labels", None, "Class numbers (or index:N) or names (or name:NAME), by commas; default all."
)
_PER_LABEL = schema.define(
  "per_label", schema.integer(None, "Clips per class; default 2.", least=1, most=1_000_000)
)
_TRUNCATION = schema.define("truncation", base_switches.TRUNCATION)
_FRAMES = schema.define(
  "frames", schema.integer(None, "Frames; default as in training.", least=1, most=4096)
)
_INTERPOLATE = flags.DEFINE_enum(
  "interpolate", None, ["latent", "class"], "Walk between two latents, or between pairs of classes."
)
_STEPS = schema.define(
  "interpolation_steps", schema.integer(None, "Clips per walk; default 8.", least=2, most=10_000)
)
_SEED = schema.define(
  "seed", schema.integer(0, "Seed of the latents.", least=0, most=schema.LARGEST_SEED)
)
_LIVE = flags.DEFINE_bool("live", False, "Live weights instead of their moving average.")
_CHECKPOINT = schema.define("checkpoint", base_switches.CHECKPOINT)
_STANDING = schema.define("standing_passes", base_switches.STANDING_PASSES)
_BATCH = schema.define(
  "batch_size", schema.integer(16, "Clips generated at once.", least=1, most=65_536)
)
_RATE = schema.define(
  "frame_rate", schema.number(8.0, "Frames per second of the files.", least=0.1, most=1000)
)
_CACHE = flags.DEFINE_string(
  "compilation_cache", None, "Folder of compiled programs; empty turns the cache off."
)
flags.mark_flags_as_required(["workdir", "output"])


def main(argv):
  """Draws and writes."""
  del argv
  from vidgan_jax.runtime.hardware import compilation  # JAX loads here
  from vidgan_jax.sampling import cli

  compilation.enable_cache(_CACHE.value, door.report)
  lines = cli.fulfil(
    cli.Request(
      workdir=_WORKDIR.value,
      output=_OUTPUT.value,
      overwrite=_OVERWRITE.value,
      labels=_LABELS.value,
      per_label=_PER_LABEL.value,
      truncation=_TRUNCATION.value,
      frames=_FRAMES.value,
      interpolate=_INTERPOLATE.value,
      steps=_STEPS.value,
      seed=_SEED.value,
      use_ema=not _LIVE.value,
      checkpoint=_CHECKPOINT.value,
      standing_passes=_STANDING.value,
      batch_size=_BATCH.value,
      frame_rate=_RATE.value,
    ),
    report=door.report,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
