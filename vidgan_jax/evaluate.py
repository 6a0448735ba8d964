r"""Evaluates the clips of a trained run, or those of a file, by a named protocol.

  python -m vidgan_jax.evaluate --workdir=DIR --protocol=moving_shapes
  python -m vidgan_jax.evaluate --workdir=DIR --protocol=fvd_unterthiner2018 --every_checkpoint
  python -m vidgan_jax.evaluate --workdir=DIR --protocol=dvd_gan_fid_is_k600 \
      --truncations=0.2,0.44,0.7,1 --count=10000
  python -m vidgan_jax.evaluate --workdir=DIR --protocol=recommended --follow --patience=120
  python -m vidgan_jax.evaluate --clips=FILE.npz --real=FILE.npz --protocol=recommended --output=DIR
  python -m vidgan_jax.evaluate --list
  python -m vidgan_jax.evaluate --convert=i3d_kinetics400 --source=FILE_OR_FOLDER [--output=FILE]

A protocol fixes networks, resizing, frames, counts and statistics; --list shows them. Scores go to
DIR/evaluation/PROTOCOL: results.json (added to what is there), results.tex, report.html. Each has a
fingerprint of all that it depends on; only numbers of one fingerprint compare. Features of the real
clips are kept in $VIDGAN_JAX_REFERENCES (default: vidgan_jax/references in the user's cache folder,
$XDG_CACHE_HOME or ~/.cache).

--convert makes a file of weights of one that is published, after verifying it, where --weights or
the default, $VIDGAN_JAX_WEIGHTS (vidgan_jax/weights in that folder), has it found.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError

_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_PROTOCOL = flags.DEFINE_string("protocol", "moving_shapes", "Its name; --list shows all.")
_METRICS = flags.DEFINE_list(
  "metrics", [], "Metrics to add to those of the protocol, by commas; --list shows all."
)
_LIST = flags.DEFINE_bool("list", False, "List protocols and metrics, and exit.")
_OUTPUT = flags.DEFINE_string(
  "output", None, "Folder of results; default WORKDIR/evaluation/PROTOCOL. File, with --convert."
)
_CHECKPOINT = schema.define("checkpoint", base_switches.CHECKPOINT)
_EVERY = flags.DEFINE_bool("every_checkpoint", False, "Evaluate all checkpoints that are kept.")
_FOLLOW = flags.DEFINE_bool(
  "follow", False, "Evaluate each checkpoint as it is saved, until the run's last iteration."
)
_PATIENCE = schema.define(
  "patience",
  schema.number(
    None,
    "Of --follow: minutes without a new checkpoint after which it ends; by default it waits on.",
    least=0,
    most=10_000_000,
  ),
)
_EMA = flags.DEFINE_bool("ema", True, "Draw from the moving average, or from the live weights.")
_TRUNCATION = schema.define("truncation", base_switches.TRUNCATION)
_TRUNCATIONS = schema.define(
  "truncations", schema.numbers(None, "Several, by commas: a curve.", least=0, above=True, most=100)
)
_FRAMES = schema.define(
  "frames", schema.integer(None, "Instead of the protocol's.", least=1, most=4096)
)
_STRIDE = schema.define(
  "stride",
  schema.integer(
    None,
    "Between the frames of real clips, instead of the protocol's; a run is trained at data.stride.",
    least=1,
    most=10_000,
  ),
)
_SPLIT = flags.DEFINE_string(
  "split", None, "Of the data that real clips are of, instead of the protocol's: train, test, ..."
)
_COUNT = schema.define(
  "count", schema.integer(None, "Generated clips, for a trial.", least=2, most=10_000_000)
)
_REAL_COUNT = schema.define(
  "real_count", schema.integer(None, "Real clips, for a trial.", least=2, most=10_000_000)
)
_SEED = schema.define(
  "seed",
  schema.integer(0, "Of latents, windows and resampling.", least=0, most=schema.LARGEST_SEED),
)
_BATCH = schema.define("batch_size", schema.integer(32, "Clips at a time.", least=1, most=65_536))
_STANDING = schema.define("standing_passes", base_switches.STANDING_PASSES)
_BOOTSTRAP = schema.define(
  "bootstrap",
  schema.integer(None, "Resamplings behind intervals; 0 computes none.", least=0, most=100_000),
)
_DATA = flags.DEFINE_string("data_directory", None, "Where the data lies now; default as trained.")
_WEIGHTS = flags.DEFINE_string("weights", None, "Folder of converted weights, NETWORK.npz.")
_CLIPS = flags.DEFINE_string(
  "clips", None, "A .npz of clips (and labels) to evaluate, instead of a run's."
)
_REAL = flags.DEFINE_string("real", None, "A .npz of real clips (and labels), not the run's data.")
_REFERENCE = flags.DEFINE_string(
  "reference", None, "File of the real clips' features: refused if of others, written if absent."
)
_CONTROLS = flags.DEFINE_bool(
  "controls",
  False,
  "Score real clips too, unharmed and frozen, shuffled, reversed, against others.",
)
_CONVERT = flags.DEFINE_string("convert", None, "Name of a network whose weights to convert.")
_MEAN = flags.DEFINE_string("mean", None, "With --convert=c3d_ucf101: the .npz of its mean clip.")
_ALLOW_UNKNOWN = flags.DEFINE_bool(
  "allow_unknown", False, "Convert a file that is well-formed but not a published one."
)
_OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace a converted file.")
_SOURCE = flags.DEFINE_string("source", None, "File or folder of the published weights.")
_CACHE = flags.DEFINE_string(
  "compilation_cache", None, "Folder of compiled programs; empty turns the cache off."
)


def _truncations():
  return (_TRUNCATION.value,) if _TRUNCATIONS.value is None else tuple(_TRUNCATIONS.value)


_CONVERTING = ("source", "mean", "allow_unknown", "overwrite")  # flags of --convert alone


def _check_flags():
  """UserError where a flag is set that what is asked for does not take."""
  given = set(door.given()) - {"compilation_cache"}
  if _LIST.value:
    door.check_unused(given - {"list"}, "with --list, which lists all protocols")
  elif _CONVERT.value:
    door.check_unused(given - {"convert", "output", "list", *_CONVERTING}, "with --convert")
  else:
    door.check_unused(_CONVERTING, "without --convert")
  if _TRUNCATIONS.value is not None:
    door.check_unused(["truncation"], "with --truncations, which names all")
  if _CLIPS.value:
    door.check_unused(["ema", "standing_passes"], "with --clips, which are drawn already")
  if _REAL.value:
    door.check_unused(["data_directory"], "with --real, which is the data")
  if _CLIPS.value and _REAL.value:
    door.check_unused(["workdir"], "with --clips and --real, which need no run")


def _convert():
  if not _SOURCE.value:
    raise UserError("--convert needs --source=FILE_OR_FOLDER")
  from vidgan_jax.evaluation.features import convert

  convert.convert(
    _CONVERT.value,
    _SOURCE.value,
    _OUTPUT.value,
    mean=_MEAN.value,
    allow_unknown=_ALLOW_UNKNOWN.value,
    overwrite=_OVERWRITE.value,
    report=door.report,
  )


def main(argv):
  """Evaluates and writes."""
  del argv
  _check_flags()
  from vidgan_jax.evaluation.protocols import listing, registry

  if _LIST.value:
    for line in listing.lines():
      door.report(line)
    return
  if _CONVERT.value:
    _convert()
    return
  # Misspelt names are refused before JAX loads.
  registry.with_metrics(registry.get_protocol(_PROTOCOL.value), _METRICS.value)
  from vidgan_jax.evaluation import cli
  from vidgan_jax.runtime.hardware import compilation, memory
  from vidgan_jax.sampling import run, stream

  memory.keep_freed_on_cpu()
  compilation.enable_cache(_CACHE.value, door.report)
  lines = cli.fulfil(
    cli.Request(
      protocol=_PROTOCOL.value,
      metrics=tuple(_METRICS.value),
      workdir=_WORKDIR.value,
      output=_OUTPUT.value,
      checkpoint=_CHECKPOINT.value,
      every_checkpoint=_EVERY.value,
      follow=_FOLLOW.value,
      patience=_PATIENCE.value,
      use_ema=_EMA.value,
      truncations=_truncations(),
      frames=_FRAMES.value,
      stride=_STRIDE.value,
      split=_SPLIT.value,
      count=_COUNT.value,
      real_count=_REAL_COUNT.value,
      seed=_SEED.value,
      batch_size=_BATCH.value,
      standing_passes=_STANDING.value,
      bootstrap=_BOOTSTRAP.value,
      data_directory=_DATA.value,
      weights=_WEIGHTS.value,
      clips=_CLIPS.value,
      real=_REAL.value,
      reference=_REFERENCE.value,
      controls=_CONTROLS.value,
    ),
    cli.Opener(load=run.load, stream=stream.Stream),
    report=door.report,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
