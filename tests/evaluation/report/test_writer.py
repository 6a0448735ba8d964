"""Several processes add scores to one folder, and none are lost."""

import concurrent.futures
import time
import types

import numpy as np
import pytest

from vidgan_jax.evaluation.report import page, results, writer
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks

HEADING = {
  "format": 1,
  "created": "now",
  "run": {"workdir": "runs/a", "name": "a"},
  "protocol": {"name": "tiny"},
}


def scores(*steps, value=2.0):
  """Scores as an evaluator returns them: one record for each iteration."""
  records = [
    {"step": step, "metric": "fid", "value": value, "std": None, "interval": None, "floor": None,
     "truncation": 1.0, "fingerprint": "abc", "number": f"at {step}", "fields": {}, "warnings": []}
    for step in steps
  ]  # fmt: skip
  return types.SimpleNamespace(records=records, per_class=[])


@pytest.fixture
def make_writer(tmp_path, some_clips, monkeypatch):
  """A function (report) that returns (a `ResultsWriter` of one folder, the clips to show)."""
  written = []
  write = lambda content, path, *clips, **more: written.append(len(content["records"])) or path
  monkeypatch.setattr(page, "write", write)
  shown = some_clips(4)

  class Real:
    count = 4

    def __call__(self, begin, end):
      return shown[0][begin:end], shown[1][begin:end]

  def make(report=lambda line: None):
    return writer.ResultsWriter(tmp_path / "out", Real(), report=report), shown

  make.pages = written
  make.path = tmp_path / "out" / results.FILE
  return make


def steps(path):
  return [record["step"] for record in results.read(path)["records"]]


def test_scores_of_several_writers_are_all_kept(make_writer, monkeypatch):
  merge = results.merge
  slow = lambda *arguments: time.sleep(0.01) or merge(*arguments)
  monkeypatch.setattr(results, "merge", slow)

  def add(index):
    results_writer, shown = make_writer()
    for number in range(5):
      results_writer.add(HEADING, scores(10 * number + index), shown)

  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(add, range(4)))
  assert steps(make_writer.path) == sorted(10 * n + w for n in range(5) for w in range(4))
  pages = make_writer.pages
  assert pages == sorted(pages) and pages[-1] == 20  # the last page shows all
  left = {path.name for path in make_writer.path.parent.iterdir()}
  assert left == {results.FILE, results.LATEX, locks.FILE}


def test_scores_of_another_process_are_reported(make_writer):
  reported = []
  (one, shown), (other, _) = make_writer(reported.append), make_writer()
  one.add(HEADING, scores(2), shown)
  one.add(HEADING, scores(4), shown)
  assert not reported
  other.add(HEADING, scores(3, 4), shown)  # 4 replaces the record of the same number
  one.add(HEADING, scores(6), shown)
  path = make_writer.path
  assert reported == [f"another process has written scores to {path} as well: all are kept"]
  assert steps(path) == [2, 3, 4, 6]
  one.add(HEADING, scores(8), shown)
  make_writer(reported.append)[0].add(HEADING, scores(10), shown)  # its first call reports nothing
  assert len(reported) == 1


def test_scores_after_an_iteration_are_removed_and_the_run_may_be_renamed(make_writer):
  results_writer, shown = make_writer()
  results_writer.drop_after(3, HEADING)  # there is no file yet
  assert not make_writer.path.exists()
  results_writer.add(HEADING, scores(2, 4), shown)
  results_writer.drop_after(3, {**HEADING, "run": {"workdir": "runs/b", "name": "b"}})
  assert steps(make_writer.path) == [2] and results.read(make_writer.path)["run"]["name"] == "b"


def test_the_first_clips_are_arrays_and_at_most_all_clips(make_writer):
  _, (clips, labels) = make_writer()

  class Few:
    count = 3

    def __call__(self, begin, end):
      return clips[begin:end].tolist(), labels[begin:end].tolist()

  first, first_labels = writer.first_clips(Few())
  assert first.shape == (3, 4, 8, 8, 3) and isinstance(first_labels, np.ndarray)


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match=r"cannot write to .*file/out"):
    with results.locked(tmp_path / "file" / "out"):
      raise AssertionError
