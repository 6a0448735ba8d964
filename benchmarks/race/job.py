"""The job of a program that `league.py` starts: a JSON file that --job names."""

import json
import pathlib

from absl import flags


def define() -> None:
  """Defines the flag --job."""
  flags.DEFINE_string("job", None, "The JSON file of the job.", required=True)


def read() -> dict:
  """The content of the file."""
  return json.loads(pathlib.Path(flags.FLAGS.job).read_text(encoding="utf-8"))
