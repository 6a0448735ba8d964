"""Video GANs in JAX and Flax: one training step, one data path, one evaluation.

`load` opens a training run for sampling; everything else lives in the rooms described in
WORKSPACE.md and is imported from there. Importing this package loads neither JAX nor TensorFlow.
"""

import os
import re
import sys

# Programs name the source files they come from, and JAX fails with std::bad_cast on a path whose
# bytes are no text in this locale; it leaves out what this pattern matches.
_NO_TEXT = r"[\udc80-\udcff]"
if any(re.search(_NO_TEXT, path) for path in (__file__, *sys.path)):
  os.environ.setdefault("JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX", _NO_TEXT)
  if "jax" in sys.modules:  # which has read the environment
    name = "jax_hlo_source_file_canonicalization_regex"
    sys.modules["jax"].config.update(name, os.environ[name.upper()])

if sys.argv[:1] == ["-m"]:  # python -m vidgan_jax.COMMAND, whose module is still to be imported
  from vidgan_jax.runtime import interrupts

  interrupts.watch()

__version__ = "0.1.0"


def load(workdir, **options):
  """Opens the run in `workdir`; see `vidgan_jax.sampling.run.load`."""
  from vidgan_jax.sampling import run  # imported late: `import vidgan_jax` stays instant

  return run.load(workdir, **options)
