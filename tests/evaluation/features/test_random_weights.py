"""Networks with random weights: the same everywhere, and named wherever a score is stated."""

import numpy as np
import pytest

from vidgan_jax.evaluation import records
from vidgan_jax.evaluation.evaluator import load_extractors
from vidgan_jax.evaluation.features import extractor, random_weights
from vidgan_jax.evaluation.metrics.base import Score
from vidgan_jax.evaluation.protocols import registry
from vidgan_jax.evaluation.report import columns, page, results
from vidgan_jax.runtime.errors import UserError


def test_variables_are_the_same_on_every_machine_and_fit_the_network():
  name = "i3d_kinetics400"
  arrays = random_weights.variables(name)
  shapes = extractor.variable_shapes(extractor.find(name).build())
  assert {path: array.shape for path, array in arrays.items()} == shapes
  assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
  assert extractor.weights_hash(arrays).startswith("e804e1fc6570")
  path = "params/Conv3d_1a_7x7/kernel"
  assert not np.array_equal(arrays[path], random_weights.variables(name, 1)[path])
  assert np.std(arrays[path]) == pytest.approx(np.sqrt(2 / (7**3 * 3)), rel=0.01)
  assert min(a.min() for path, a in arrays.items() if path.endswith("variance")) >= 0.5


def test_a_protocol_loads_random_weights_by_the_word_random():
  with pytest.raises(UserError, match="needs no file of weights"):
    load_extractors(registry.get_protocol("moving_shapes"), "random")
  (network,) = load_extractors(registry.get_protocol("tgan_is_c3d"), "random").values()
  assert set(network.constants) == {"mean"}
  assert "random weights, seed 0" in extractor.random_note(network)


@pytest.fixture
def content(protocol, stand_in):
  """The content of results.json with a score of known and one of random weights."""
  (metric,) = [m for m in protocol.metrics if m.name == "fid"]
  about = {"checkpoint": "clips 123"}
  circumstances = records.Circumstances(protocol, (4, 8, 8, 3), about, None, 30, 1, 0)
  score = Score("fid", (2.0,))
  lists = [
    circumstances.records(metric, stand_in(about=origin), [score])
    for origin in ({}, {"random_weights": "seed 0"})
  ]
  run, tiny = {"workdir": "a", "name": "a"}, {"name": "tiny"}
  heading = {"format": 1, "run": run, "protocol": tiny}
  return results.merge(None, heading, [*lists[0], *lists[1]], [])


def test_scores_of_random_weights_are_named_in_files_and_tables(content, tmp_path):
  note = "stand_in with random weights, seed 0: not comparable with published scores"
  known, random = content["records"]
  assert random["fields"]["random_weights"] == note and "random_weights" not in known["fields"]
  assert random["fingerprint"] != known["fingerprint"]  # although the weights are the same
  assert random["network"] == "stand_in with random weights" and known["network"] == "stand_in"
  assert note in random["warnings"] and note not in known["warnings"]
  lines = results.table(content)
  (line,) = [line for line in lines if line.strip().startswith("fid, random weights")]
  assert random["fingerprint"] in line
  assert [line.split()[0] for line in lines if known["fingerprint"] in line] == ["fid"]
  assert any(note in line for line in lines)
  latex = results.latex(content)
  assert r"$2$ & $2$, random weights \\" in latex
  assert f"fingerprint {random['fingerprint']}, random weights" in latex
  assert results.read(results.write(tmp_path, content)[0])["records"] == content["records"]


def test_scores_of_random_weights_are_named_in_the_report(content, tmp_path):
  titles = [column.title for column in columns.columns(content["records"])]
  assert titles[1] == f"{titles[0]}, random weights"
  text = page.write(content, tmp_path / "report.html").read_text("utf-8")
  assert text.count(f"{titles[1]}") >= 3  # a card, the table and the fingerprint
  assert "not comparable with published scores" in text


def test_scores_of_random_weights_are_in_no_model_card(content, tmp_path):
  for record in content["records"]:
    record["step"] = 4
    record["fields"] = {**record["fields"], "trial": False}
  results.write(tmp_path / results.FOLDER / "tiny", content)
  (score,) = results.of_iteration(tmp_path, 4)
  assert score["fingerprint"] == content["records"][0]["fingerprint"]
