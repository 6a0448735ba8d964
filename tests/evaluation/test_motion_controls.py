"""Real clips with damaged motion are scored in the same way as the real-against-real floor."""

import dataclasses

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation import motion_controls
from vidgan_jax.evaluation.clips import ArrayClips, RealClips
from vidgan_jax.evaluation.evaluator import Evaluator
from vidgan_jax.evaluation.statistics import controls
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError


@pytest.fixture
def build_evaluator(protocol, stand_in, source):
  """A function (number of real clips, **changes) -> (evaluator, real clips, reference)."""

  def build(count, **changes):
    subsets = {"kvd": {"subsets": 7, "subset_size": 20}}
    measures = tuple(dataclasses.replace(m, **subsets.get(m.name, {})) for m in protocol.metrics)
    changed = dataclasses.replace(protocol, real_count=count, metrics=measures, **changes)
    mesh = meshes.make_mesh(jax.devices()[:1])
    evaluator = Evaluator(changed, {"stand_in": stand_in()}, mesh=mesh, report=lambda line: None)
    real = RealClips(source, changed, count)
    return evaluator, real, evaluator.reference(real)

  return build


def values(records):
  return {(r["control"], r["metric"]): r["value"] for r in records}


@pytest.mark.parametrize("seed", [0, 3])
def test_unharmed_clips_score_the_floor_and_damaged_ones_are_worse(
  build_evaluator, some_clips, seed
):
  evaluator, real, reference = build_evaluator(60)
  generated = ArrayClips(*some_clips(30, 5, bias=20))
  floors = {
    r["metric"]: r["floor"]["value"]
    for r in evaluator.score(generated, reference, seed=seed).records
    if r["floor"]
  }
  records = motion_controls.score(evaluator, real, reference, seed=seed)
  score = values(records)
  for metric in ("fid", "kvd", "precision", "recall", "density", "coverage"):
    np.testing.assert_allclose(score["unharmed", metric], floors[metric], rtol=1e-4, atol=1e-6)
  for name in controls.MOTIONS:
    assert score[name, "fid"] > floors["fid"]
  assert {r["against"] for r in records} == {"30 other real clips"}
  assert all(r["floor"] is None and r["count_generated"] == 30 for r in records)
  fid = next(r for r in records if r["metric"] == "fid")
  assert fid["count_real"] == 30
  assert fid["fields"]["reference"] not in reference.hashes.values()  # a column of its own


def test_halves_share_no_clip(build_evaluator):
  _, real, reference = build_evaluator(40)
  one, indices = reference.halves(30, seed=1)
  assert one.count == len(indices) == 20
  ((path, outputs),) = one.gathered.items()
  whole = reference.gathered[path]["features"].features
  rows = {row.tobytes() for row in outputs["features"].features}
  assert rows.isdisjoint(row.tobytes() for row in whole[indices]) and len(rows) == 20
  features = outputs["features"].features.astype(np.float64)
  np.testing.assert_allclose(outputs["features"].moments.mean, features.mean(0), rtol=1e-9)
  hashes = {
    h for args in ((30, 1), (30, 2), (9, 1)) for h in reference.halves(*args)[0].hashes.values()
  }
  assert len(hashes) == 3 and hashes.isdisjoint(reference.hashes.values())
  damaged = motion_controls.DamagedClips(real, "reversed", indices)
  np.testing.assert_array_equal(damaged(3, 5)[0], real.take(indices[3:5])[0][:, ::-1])


def test_too_few_clips_for_halves_are_compared_with_themselves_and_the_records_say_so(
  build_evaluator,
):
  evaluator, real, reference = build_evaluator(11)
  records = motion_controls.score(evaluator, real, reference)
  assert {r["control"] for r in records} == {*controls.MOTIONS}
  assert {r["against"] for r in records} == {"the reference, which holds the same clips unharmed"}
  assert {r["count_generated"] for r in records} == {11}


def test_features_that_were_too_large_to_store_cannot_be_halved(build_evaluator):
  evaluator, real, reference = build_evaluator(40)
  ((path, outputs),) = reference.gathered.items()
  lean = {path: {n: dataclasses.replace(each, features=None) for n, each in outputs.items()}}
  lean = dataclasses.replace(reference, gathered=lean)
  with pytest.raises(UserError, match="too large to store"):
    lean.halves(10)
  fid = tuple(m for m in evaluator.protocol.metrics if m.name == "fid")
  evaluator.protocol = dataclasses.replace(evaluator.protocol, metrics=fid)
  (against,) = {r["against"] for r in motion_controls.score(evaluator, real, lean)}
  assert against.startswith("the reference, which holds")
