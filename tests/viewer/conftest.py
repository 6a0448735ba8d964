"""Fixtures of the page's tests: two tiny runs, whose class names are hard to show."""

import pytest

from tests.runs import write_run

SCRIPT, ARABIC = "<script>alert(1)</script>", "القفز على الترامبولين"
NAMES = (SCRIPT, ARABIC, "6", "same", "same", "${1+1} {{value}}", '"><img src=x>', "disk")


@pytest.fixture(scope="session")
def workdirs(lean_config, tmp_path_factory):
  """The folders of two runs with checkpoints at 2 and 4; the second lacks classes of the first."""
  folder = tmp_path_factory.mktemp("shown")
  first, second = folder / "a run", folder / "<b>other"
  for each, names in ((first, NAMES), (second, [f"{SCRIPT}", *"bcdefg", "disk"])):
    each.mkdir()
    write_run(each, lean_config(), names)
  log = '{"step": 1, "loss/generator": 0.5}\n{"step": 2, "loss/generator": 0.25}\n'
  (first / "log.jsonl").write_text(log)
  return str(first), str(second)
