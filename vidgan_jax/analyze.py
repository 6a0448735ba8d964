r"""Looks into a trained run.

  python -m vidgan_jax.analyze --workdir=DIR --what=hessian
  python -m vidgan_jax.analyze --workdir=DIR --what=hessian,gradients --every_checkpoint \
      --discriminators=video --batch_size=32
  python -m vidgan_jax.analyze --workdir=DIR,DIR --what=compare --output=DIR

  hessian    the ten leading eigenvalues of the Hessian of the discriminators' loss by the
             parameters of each discriminator, on a fixed batch (Lanczos on exact Hessian-vector
             products; of normalised weights as training differentiates them, with the vectors
             of the power iteration held): hessian.json, hessian.png
  gradients  norms of the gradient by each layer's parameters, of real and of generated clips:
             gradient_norms.json, gradient_norms.png
  compare    what the hessian.json of several runs, or in several folders, tell, on one scale:
             comparison.png

Files go to DIR/analysis, where a run with --config.analysis.every=N puts them while it trains;
what they hold is added to.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags

from vidgan_jax.runtime import door

_WORKDIR = flags.DEFINE_list("workdir", None, "Folder of the run; several, by commas, to compare.")
_WHAT = flags.DEFINE_list("what", ["hessian"], "Of hessian, gradients; or compare.")
_OUTPUT = flags.DEFINE_string("output", None, "Folder to write to; default WORKDIR/analysis.")
_NAMES = flags.DEFINE_list("discriminators", None, "Their names; default all.")
_CHECKPOINT = flags.DEFINE_integer("checkpoint", None, "Iteration of the checkpoint; default last.")
_EVERY = flags.DEFINE_bool("every_checkpoint", False, "Look at all checkpoints that are kept.")
_BATCH = flags.DEFINE_integer(
  "batch_size", None, "Clips of the fixed batch; default the run's, 16.", lower_bound=1
)
_COUNT = flags.DEFINE_integer(
  "eigenvalues", None, "How many; default the run's, 10.", lower_bound=1
)
_PRODUCTS = flags.DEFINE_integer(
  "products",
  None,
  "Hessian-vector products at most, and vectors kept; default the run's, 60.",
  lower_bound=1,
)
_SEED = flags.DEFINE_integer(
  "seed", 0, "Of the batch, of what is random, of the first vector.", lower_bound=0
)
_DATA = flags.DEFINE_string("data_directory", None, "Where the data lies now; default as trained.")
_CACHE = flags.DEFINE_string(
  "compilation_cache", None, "Folder of compiled programs; empty turns the cache off."
)
flags.mark_flag_as_required("workdir")


def main(argv):
  """Looks and writes."""
  del argv
  from vidgan_jax.analysis import requests
  from vidgan_jax.runtime import compilation  # JAX loads here

  compilation.enable_cache(_CACHE.value)
  lines = requests.fulfil(
    requests.Request(
      workdirs=_WORKDIR.value,
      what=_WHAT.value,
      output=_OUTPUT.value,
      discriminators=_NAMES.value,
      checkpoint=_CHECKPOINT.value,
      every_checkpoint=_EVERY.value,
      batch_size=_BATCH.value,
      eigenvalues=_COUNT.value,
      products=_PRODUCTS.value,
      seed=_SEED.value,
      data_directory=_DATA.value,
    ),
    report=door.report,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
