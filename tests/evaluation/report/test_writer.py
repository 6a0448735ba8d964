"""Several processes may add scores to one folder: nobody's are lost."""

import concurrent.futures
import time
import types

import numpy as np
import pytest

from vidgan_jax.evaluation.report import page as page
from vidgan_jax.evaluation.report import results
from vidgan_jax.evaluation.report import writer as keeper
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks

HEADING = {
  "format": 1,
  "created": "now",
  "run": {"workdir": "runs/a", "name": "a"},
  "protocol": {"name": "tiny"},
}


def scores(*steps, value=2.0):
  """As of an evaluator: one record for each iteration."""
  found = [
    {"step": step, "metric": "fid", "value": value, "std": None, "interval": None, "floor": None,
     "truncation": 1.0, "fingerprint": "abc", "number": f"at {step}", "fields": {}, "warnings": []}
    for step in steps
  ]  # fmt: skip
  return types.SimpleNamespace(records=found, per_class=[])


@pytest.fixture
def keep(tmp_path, some_clips, monkeypatch):
  """A function (report) that makes a `ResultsWriter` of one folder, and what is shown."""
  written = []
  write = lambda content, path, *clips, **more: written.append(len(content["records"])) or path
  monkeypatch.setattr(page, "write", write)
  shown = some_clips(4)

  class Real:
    count = 4

    def __call__(self, begin, end):
      return shown[0][begin:end], shown[1][begin:end]

  def make(report=lambda line: None):
    return keeper.ResultsWriter(tmp_path / "out", Real(), report=report), shown

  make.pages = written
  make.path = tmp_path / "out" / results.FILE
  return make


def steps(path):
  return [record["step"] for record in results.read(path)["records"]]


def test_scores_of_several_writers_all_stay(keep, monkeypatch):
  merge = results.merge
  slow = lambda *arguments: time.sleep(0.01) or merge(*arguments)
  monkeypatch.setattr(results, "merge", slow)

  def add(writer):
    kept, shown = keep()
    for number in range(5):
      kept.add(HEADING, scores(10 * number + writer), shown)

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(add, range(4)))
  assert steps(keep.path) == sorted(10 * n + w for n in range(5) for w in range(4))
  assert keep.pages == sorted(keep.pages) and keep.pages[-1] == 20  # the last page shows all
  left = {path.name for path in keep.path.parent.iterdir()}
  assert left == {results.FILE, results.LATEX, locks.FILE}


def test_whoever_finds_scores_of_another_says_so(keep):
  said = []
  (one, shown), (other, _) = keep(said.append), keep()
  one.add(HEADING, scores(2), shown)
  one.add(HEADING, scores(4), shown)
  assert not said
  other.add(HEADING, scores(3, 4), shown)  # 4 is the same number once more
  one.add(HEADING, scores(6), shown)
  assert said == [f"another process has written scores to {keep.path} as well: all are kept"]
  assert steps(keep.path) == [2, 3, 4, 6]
  one.add(HEADING, scores(8), shown)
  keep(said.append)[0].add(HEADING, scores(10), shown)  # what was there before it began is no news
  assert len(said) == 1


def test_scores_after_an_iteration_go_and_the_run_may_be_renamed(keep):
  kept, shown = keep()
  kept.drop_after(3, HEADING)  # there is none yet
  assert not keep.path.exists()
  kept.add(HEADING, scores(2, 4), shown)
  kept.drop_after(3, {**HEADING, "run": {"workdir": "runs/b", "name": "b"}})
  assert steps(keep.path) == [2] and results.read(keep.path)["run"]["name"] == "b"


def test_the_first_clips_are_arrays_and_no_more_than_there_are(keep):
  _, (clips, labels) = keep()

  class Few:
    count = 3

    def __call__(self, begin, end):
      return clips[begin:end].tolist(), labels[begin:end].tolist()

  found, own = keeper.first_clips(Few())
  assert found.shape == (3, 4, 8, 8, 3) and isinstance(own, np.ndarray)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot write to .*file/out"):
    with results.locked(tmp_path / "file" / "out"):
      raise AssertionError
