"""The job of a program that `league.py` starts: a JSON file that --job names."""

import json
import pathlib

from absl import flags


def define() -> None:
  """Defines the flag --job."""
  flags.DEFINE_string("job", None, "The JSON file of the job.", required=True)


def begin() -> dict:
  """The content of the file; sets up memory and the compilation cache as commands do."""
  from vidgan_jax.runtime import door
  from vidgan_jax.runtime.hardware import compilation, memory

  memory.keep_freed_on_cpu()
  compilation.enable_cache(None, door.report)
  return json.loads(pathlib.Path(flags.FLAGS.job).read_text(encoding="utf-8"))
