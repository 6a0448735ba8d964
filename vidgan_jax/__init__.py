"""Video GANs in JAX and Flax: training, sampling and evaluation.

`load` opens a training run for sampling, `show` plays clips in a notebook. Everything else is
imported from the subpackages, which WORKSPACE.md describes. Importing this package imports neither
JAX nor TensorFlow.
"""

import os
import re
import sys

# Compiled programs contain the paths of their source files. JAX fails with std::bad_cast if the
# bytes of a path are not text in this locale. This setting removes such bytes from the paths.
_NOT_TEXT = r"[\udc80-\udcff]"
if any(re.search(_NOT_TEXT, path) for path in (__file__, *sys.path)):
  os.environ.setdefault("JAX_HLO_SOURCE_FILE_CANONICALIZATION_REGEX", _NOT_TEXT)
  if "jax" in sys.modules:  # JAX reads the environment only when it is imported
    name = "jax_hlo_source_file_canonicalization_regex"
    sys.modules["jax"].config.update(name, os.environ[name.upper()])

if sys.argv[:1] == ["-m"]:  # python -m vidgan_jax.COMMAND, before it imports the command's module
  from vidgan_jax.runtime import interrupts

  interrupts.watch()

__version__ = "0.1.0"


def load(workdir, **options):
  """Opens the run in `workdir`; see `vidgan_jax.sampling.run.load`."""
  from vidgan_jax.sampling import run  # imported here, so that `import vidgan_jax` takes no time

  return run.load(workdir, **options)


def show(clips, **options):
  """Shows clips in a notebook, as one video; see `vidgan_jax.runtime.files.inline_video.show`."""
  from vidgan_jax.runtime.files import inline_video

  return inline_video.show(clips, **options)
