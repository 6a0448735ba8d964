"""Video GANs in JAX and Flax: one training step, one data path, one evaluation.

`load` opens a training run for sampling; everything else lives in the rooms described in
WORKSPACE.md and is imported from there. Importing this package loads neither JAX nor TensorFlow.
"""

import sys

if sys.argv[:1] == ["-m"]:  # python -m vidgan_jax.COMMAND, whose module is still to be imported
  from vidgan_jax.runtime import interrupts

  interrupts.watch()

__version__ = "0.1.0"


def load(workdir, **options):
  """Opens the run in `workdir`; see `vidgan_jax.sampling.run.load`."""
  from vidgan_jax.sampling import run  # imported late: `import vidgan_jax` stays instant

  return run.load(workdir, **options)
