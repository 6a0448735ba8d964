"""Numbers, fingerprints and names that moving code must leave as they are.

`python -m tests.pins.write` computes them anew and tells what differs.
"""

import json
import re

import pytest

from tests.pins import compare, compute, experiments, kept

PINNED = kept.read()


@pytest.fixture(scope="session")
def computed(tmp_path_factory):
  """What this code computes, part by part; see `compute.run`."""
  return compute.run(tmp_path_factory.mktemp("pins"))


@pytest.mark.parametrize("case", experiments.CASES)
def test_two_iterations(computed, case):
  cases = (compare.of_case(part["training"], case) for part in (PINNED, computed))
  assert not compare.training(*cases, compare.FLOAT64)


@pytest.mark.parametrize("name", PINNED["scores"][0]["protocols"])
def test_fingerprints_of_protocols(computed, name):
  pinned, found = (part["scores"][0]["protocols"][name] for part in (PINNED, computed))
  assert not compare.differences(pinned, found, compare.FLOAT32)


def test_scores_of_the_embedded_set(computed):
  pinned, found = (dict(part["scores"][0]["embedded"]) for part in (PINNED, computed))
  for part in (pinned, found):  # digits depend on the processor
    part["latex"] = [re.sub(r"[\d.]+", "0", line) for line in part["latex"]]
  assert not compare.differences(pinned, found, compare.FLOAT32)


@pytest.mark.parametrize("what", ["configs", "listed", "summaries"])
def test_parameters_and_summaries(computed, what):
  parts = [part["parameters"][0][what] for part in (PINNED, computed)]
  if what == "summaries" and not kept.same_jax():  # versions of JAX trace gradients differently
    traced = ("activations", "iteration", "peak_bytes")
    parts = [
      {row: {k: v for k, v in each.items() if k not in traced} for row, each in part.items()}
      for part in parts
    ]
  assert not compare.differences(*parts)


def test_no_protocol_is_without_pins(computed):
  for name in ("training", "scores", "parameters"):
    assert list(PINNED[name][0]) and {*PINNED[name][0]} == {*computed[name][0]}
  assert {*PINNED["scores"][0]["protocols"]} == {*computed["scores"][0]["protocols"]}


def test_every_row_of_every_config_file_is_pinned():
  rows = {f"{file}:{row}" for file, row in experiments.rows()}
  changed = sorted(rows ^ {*PINNED["parameters"][0]["configs"]})
  command = "python -m tests.pins.write --replace"
  assert not changed, f"configs without pins, or pins without configs: {changed}; run `{command}`"


def test_pins_are_small():
  """A megabyte is enough for eleven systems."""
  assert sum(path.stat().st_size for path in kept.FOLDER.iterdir()) < 1_000_000


def test_what_differs_is_named():
  pinned = {"a": [(0.5).hex(), 1], "b": "x"}
  assert not compare.differences(pinned, json.loads(json.dumps(pinned)))
  assert compare.differences(pinned, {"a": [(0.5 + 1e-12).hex(), 1], "b": "x"})
  assert not compare.differences(pinned, {"a": [(0.5 + 1e-12).hex(), 1], "b": "x"}, 1e-9)
  (line,) = compare.differences(pinned, {"a": [(0.5).hex(), 2], "b": "x"}, 1e-9)
  assert line == "a[1]: 1 is pinned, 2 computed"
  assert len(compare.differences(pinned, {"a": [(0.5).hex(), 1], "c": "x"})) == 2
