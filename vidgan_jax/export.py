r"""Exports a trained generator: a folder that others can load, without optimizers and checkpoints.

  vidgan export --workdir=DIR --output=DIR
  vidgan export --workdir=DIR --output=DIR --checkpoint=20000

The folder receives the moving average of the generator as safetensors, with the frozen earlier
stages that it needs, the config, the class names, standing statistics, a grid of clips, and a model
card (README.md) with the scores of this iteration. Paths of this machine are left out of the
config. export.json lists the size and the SHA-256 of each file.

vidgan_jax.load(DIR), sample, evaluate, and the analyses of samples open the folder like a run. They
refuse it if a file was changed. Their clips equal those of the run byte for byte on the same
machine.

Exit codes: 0 done; 1 a network or a bucket failed (try again), or a bug; 2 bad input.
"""

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, requests, schema
from vidgan_jax.sampling.export_request import Request

requests.define(Request)
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)


def main(argv):
  """Writes the exported model."""
  del argv
  import vidgan_jax
  from vidgan_jax.evaluation.report import results
  from vidgan_jax.runtime.hardware import compilation  # imports JAX
  from vidgan_jax.sampling import export

  compilation.enable_cache(_CACHE.value, door.report)
  lines = export.fulfil(
    requests.read(Request),
    results.of_iteration,
    version=vidgan_jax.__version__,
    report=door.report,
  )
  for line in lines:
    door.report(line)


if __name__ == "__main__":
  door.run(main)
