"""Files of scores and references: columns, adding to a file, refusals."""

import json

import numpy as np
import pytest

from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.report import results
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime.errors import UserError


def record(metric="fid", value=2.0, step=4, truncation=1.0, **fields):
  fields = {"metric": metric, "weights": "a", "step": step, "truncation": truncation, **fields}
  return {
    "step": step,
    "metric": metric,
    "network": "stand_in",
    "output": "features",
    "value": value,
    "values": [value],
    "std": None,
    "interval": [value - 1, value + 1],
    "count_generated": 30,
    "truncation": truncation,
    "ema": True,
    "floor": {"value": 0.5, "interval": None, "what": "halves"},
    "fingerprint": fingerprint.of_column(fields),
    "number": fingerprint.of_number(fields),
    "fields": fields,
    "warnings": [],
  }


def heading(workdir="runs/a", protocol="tiny"):
  paper = [{"metric": "fid", "value": "1", "source": "there"}]
  return {
    "format": 1,
    "created": "now",
    "run": {"workdir": workdir, "name": "a_run"},
    "protocol": {"name": protocol, "paper": paper},
  }


def test_values_of_different_fingerprints_never_share_a_column():
  one, other = record(value=2.0), record(value=3.0, weights="b")
  assert one["fingerprint"] != other["fingerprint"]
  assert len(results.columns([one, other])) == 2
  content = results.merge(None, heading(), [one, other], [])
  rows = [line for line in results.latex(content).splitlines() if line.endswith(r"\\")]
  assert rows == [r"a\_run, iteration 4 & $2$ & $3$ \\"]
  later = record(value=1.0, step=8, weights="b")
  content = results.merge(content, heading(), [later], [])
  rows = [line for line in results.latex(content).splitlines() if line.endswith(r"\\")]
  # Columns are in the order of their first records; a value that was not measured is "--".
  assert rows[1] == r"a\_run, iteration 8 & -- & $1$ \\"
  text = "\n".join(results.table(content))
  assert one["fingerprint"] in text and other["fingerprint"] in text


def test_a_record_replaces_the_older_one_of_the_same_number():
  before = results.merge(None, heading(), [record(value=2.0), record("is", 5.0)], [])
  after = results.merge(before, heading(), [record(value=2.5), record(value=9.0, step=8)], [])
  assert [(r["metric"], r["step"], r["value"]) for r in after["records"]] == [
    ("fid", 4, 2.5),
    ("is", 4, 5.0),
    ("fid", 8, 9.0),
  ]
  assert after["paper"] == heading()["protocol"]["paper"]


def test_the_curve_over_truncation():
  records = [record("is", 5.0 + t, truncation=t) for t in (1.0, 0.44)] + [record("is", 1.0, step=2)]
  curve = results.truncation_curve(records)
  assert [(p["step"], p["truncation"], p["value"]) for p in curve] == [
    (4, 0.44, 5.44),
    (4, 1.0, 6.0),
  ]


def test_files(tmp_path):
  content = results.merge(None, heading(), [record()], [])
  paths = results.write(tmp_path / "new", content)
  assert [path.name for path in paths] == ["results.json", "results.tex"]
  assert results.read(paths[0]) == json.loads(paths[0].read_text())
  assert results.existing(paths[0], heading())["records"][0]["value"] == 2.0
  assert results.existing(tmp_path / "results.json", heading()) is None
  with pytest.raises(UserError, match="contains results of run runs/a, not runs/b"):
    results.existing(paths[0], heading("runs/b"))
  # The same folder of a run by another path, or renamed.
  inside = tmp_path / "renamed" / "evaluation" / "tiny"
  (path, _) = results.write(inside, content)
  assert results.existing(path, heading(str(tmp_path / "renamed")))["records"]
  assert results.existing(paths[0], heading("./runs/b/../a/"))["records"]
  with pytest.raises(UserError, match="contains results of protocol tiny, not large"):
    results.existing(paths[0], heading(protocol="large"))


def test_scores_of_one_iteration(tmp_path):
  """Those of the average in whole protocols; the folder `best` has those of its run."""
  live = {**record(value=7.0, ema=False), "ema": False}
  records = [record(), record(step=8), live, record("is", 5.0, trial=True), record("kvd", 1.0)]
  for name in ("b", "a"):
    content = results.merge(None, heading(protocol=name), records, [])
    results.write(tmp_path / results.FOLDER / name, content)
  for folder in (tmp_path, tmp_path / "best"):
    found = results.of_iteration(folder, 4)
    assert [(score["protocol"], score["metric"]) for score in found] == [
      ("a", "fid"), ("a", "kvd"), ("b", "fid"), ("b", "kvd"),
    ]  # fmt: skip
    assert found[0] == {
      "protocol": "a", "metric": "fid", "value": 2.0, "interval": [1.0, 3.0], "real": 0.5,
      "clips": 30, "truncation": 1.0, "fingerprint": record()["fingerprint"],
    }  # fmt: skip
  assert results.of_iteration(tmp_path / "other", 4) == []


@pytest.mark.parametrize(
  "text", ["", "[]", '{"format": 2}', '{"format": 1, "records": 3}', "[" * 100_000]
)
def test_a_file_of_another_form_gives_an_error_of_one_line(tmp_path, text):
  (tmp_path / "results.json").write_text(text)
  with pytest.raises(UserError) as error:
    results.read(tmp_path / "results.json")
  assert "\n" not in str(error.value)


@pytest.fixture
def reference_file(tmp_path):
  """A reference file, the values that identify it, and its features."""
  features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
  about = {"network": "stand_in", "outputs": ["features"], "resolution": [8, 8], "count": 9}
  gathered = {"features": FeatureSet(Moments.of(features), features)}
  path = tmp_path / "deep" / "reference.npz"
  references.save(path, gathered, np.arange(9) % 3, about, "c0de")
  return path, about, features


def test_references_are_read_as_they_were_saved(reference_file):
  path, about, features = reference_file
  gathered, labels = references.load(path, about, "c0de")
  np.testing.assert_array_equal(gathered["features"].features, features)
  np.testing.assert_array_equal(gathered["features"].moments.m2, Moments.of(features).m2)
  np.testing.assert_array_equal(labels, np.arange(9) % 3)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"resolution": [16, 16]}, r"resolution is \[8, 8\] in the file, but \[16, 16\] is needed"),
    ({"network": "i3d"}, "network is 'stand_in' in the file, but 'i3d' is needed"),
    ({"ddof": 1}, "ddof is None in the file, but 1 is needed"),
  ],
)
def test_references_of_something_else_are_refused(reference_file, change, words):
  path, about, _ = reference_file
  with pytest.raises(UserError, match=words):
    references.load(path, {**about, **change}, "c0de")


def test_references_that_other_code_made_are_refused(reference_file):
  path, about, _ = reference_file
  words = "reference.npz was computed by another version of the code of stand_in"
  with pytest.raises(references.OtherCodeVersion, match=words):
    references.load(path, about, "0ther")
  with np.load(path) as old:  # a file of before this was written down
    arrays = {**old, "__about__": np.frombuffer(json.dumps(about).encode(), np.uint8)}
  np.savez(path, **arrays)
  with pytest.raises(references.OtherCodeVersion, match=words):
    references.load(path, about, "c0de")


def test_damaged_references_are_refused(reference_file, tmp_path):
  path, about, features = reference_file
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])
  with pytest.raises(UserError, match=r"reference\.npz: not a readable \.npz"):
    references.load(path, about, "c0de")
  gathered = {"features": FeatureSet(Moments.of(features[:5]), features[:5])}
  references.save(path, gathered, np.arange(9), about, "c0de")
  with pytest.raises(UserError, match="damaged"):
    references.load(path, about, "c0de")
  np.savez(path, __about__=np.array([{"a": 1}], object))
  with pytest.raises(UserError, match="holds pickled objects"):
    references.load(path, about, "c0de")
  np.savez(path, __about__=np.frombuffer(b"[]", np.uint8))
  with pytest.raises(UserError, match=r"reference\.npz: malformed"):
    references.load(path, about, "c0de")


def test_live_weights_and_their_average_have_different_rows():
  average, live = record(value=2.0), {**record(value=9.0, ema=False), "ema": False}
  content = results.merge(None, heading(), [average, live], [])
  lines = results.table(content)
  heads = [line for line in lines if line.startswith("iteration 4")]
  assert heads == ["iteration 4", "iteration 4, live weights"]
  assert (
    lines[1].split()[:5] == ["metric", "value", "real", "against", "real"] == lines[4].split()[:5]
  )
  for line, value in ((lines[2], "2"), (lines[5], "9")):
    assert line.split()[:2] == ["fid", value] and "0.5" in line.split()
  assert len([line for line in results.latex(content).splitlines() if "iteration 4" in line]) == 2


def test_a_value_that_is_not_finite_is_refused_and_the_file_unchanged(tmp_path):
  results.write(tmp_path, results.merge(None, heading(), [record()], []))
  before = (tmp_path / results.FILE).read_bytes()
  odd = results.merge(None, heading(), [record(value=float("nan"))], [])
  with pytest.raises(UserError, match=r"results\.json is not written: a number is not finite"):
    results.write(tmp_path, odd)
  assert (tmp_path / results.FILE).read_bytes() == before
