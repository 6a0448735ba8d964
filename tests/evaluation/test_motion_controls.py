"""Real clips with spoilt motion are judged as the real-against-real floor is."""

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
def judge(protocol, stand_in, source):
  """A function (real clips, **changes of the protocol) -> (evaluator, real, reference)."""

  def build(count, **changes):
    subsets = {"kvd": {"subsets": 7, "subset_size": 20}}
    measures = tuple(dataclasses.replace(m, **subsets.get(m.name, {})) for m in protocol.metrics)
    changed = dataclasses.replace(protocol, real_count=count, metrics=measures, **changes)
    mesh = meshes.make_mesh(jax.devices()[:1])
    made = Evaluator(changed, {"stand_in": stand_in()}, mesh=mesh, report=lambda line: None)
    real = RealClips(source, changed, count)
    return made, real, made.reference(real)

  return build


def values(records):
  return {(r["control"], r["metric"]): r["value"] for r in records}


@pytest.mark.parametrize("seed", [0, 3])
def test_unharmed_clips_score_the_floor_and_spoilt_ones_no_better(judge, some_clips, seed):
  made, real, reference = judge(60)
  generated = ArrayClips(*some_clips(30, 5, bias=20))
  floors = {
    r["metric"]: r["floor"]["value"]
    for r in made.score(generated, reference, seed=seed).records
    if r["floor"]
  }
  found = motion_controls.score(made, real, reference, seed=seed)
  score = values(found)
  for metric in ("fid", "kvd", "precision", "recall", "density", "coverage"):
    np.testing.assert_allclose(score["unharmed", metric], floors[metric], rtol=1e-4, atol=1e-6)
  for name in controls.MOTIONS:
    assert score[name, "fid"] > floors["fid"]
  assert {r["against"] for r in found} == {"30 other real clips"}
  assert all(r["floor"] is None and r["count_generated"] == 30 for r in found)
  fid = next(r for r in found if r["metric"] == "fid")
  assert fid["count_real"] == 30
  assert fid["fields"]["reference"] not in reference.hashes.values()  # no column of another's


def test_halves_share_no_clip(judge):
  _, real, reference = judge(40)
  one, numbers = reference.halves(30, seed=1)
  assert one.count == len(numbers) == 20
  ((way, outputs),) = one.gathered.items()
  whole = reference.gathered[way]["features"].features
  own = {row.tobytes() for row in outputs["features"].features}
  assert own.isdisjoint(row.tobytes() for row in whole[numbers]) and len(own) == 20
  features = outputs["features"].features.astype(np.float64)
  np.testing.assert_allclose(outputs["features"].moments.mean, features.mean(0), rtol=1e-9)
  hashes = {
    h for args in ((30, 1), (30, 2), (9, 1)) for h in reference.halves(*args)[0].hashes.values()
  }
  assert len(hashes) == 3 and hashes.isdisjoint(reference.hashes.values())
  spoilt = motion_controls.Spoilt(real, "reversed", numbers)
  np.testing.assert_array_equal(spoilt(3, 5)[0], real.take(numbers[3:5])[0][:, ::-1])


def test_too_few_clips_to_halve_are_judged_against_themselves_and_it_is_said(judge):
  made, real, reference = judge(11)
  found = motion_controls.score(made, real, reference)
  assert {r["control"] for r in found} == {*controls.MOTIONS}
  assert {r["against"] for r in found} == {"the reference, which holds the same clips unharmed"}
  assert {r["count_generated"] for r in found} == {11}


def test_features_too_large_to_keep_cannot_be_halved(judge):
  made, real, reference = judge(40)
  ((way, outputs),) = reference.gathered.items()
  lean = {way: {n: dataclasses.replace(found, features=None) for n, found in outputs.items()}}
  lean = dataclasses.replace(reference, gathered=lean)
  with pytest.raises(UserError, match="too large to store"):
    lean.halves(10)
  fid = tuple(m for m in made.protocol.metrics if m.name == "fid")
  made.protocol = dataclasses.replace(made.protocol, metrics=fid)
  (told,) = {r["against"] for r in motion_controls.score(made, real, lean)}
  assert told.startswith("the reference, which holds")
