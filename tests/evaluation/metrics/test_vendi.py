"""The Vendi score against closed forms, and against eigenvalues of the whole kernel matrix."""

import json
import math

import numpy as np
import pytest
from scipy import linalg

from vidgan_jax.evaluation.metrics.vendi import VendiScore, vendi_score
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.registry import get_protocol, with_metrics
from vidgan_jax.runtime.errors import UserError

ORDERS = (0.1, 0.5, 1.0, 1 + 1e-9, 1.0005, 2.0, 50.0, 5000.0, math.inf)


def by_definition(features, order):
  """Friedman & Dieng 2022, definition 3.1, and Pasarkar & Dieng 2023: all n x n similarities."""
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  values = linalg.eigvalsh(unit @ unit.T / len(unit))
  values = values[values > 1e-13]
  if order == math.inf:
    return 1 / values.max()
  if order == 1:
    return np.exp(-np.sum(values * np.log(values)))
  return np.sum(values**order) ** (1 / (1 - order))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wider", [False, True])
def test_closed_forms(order, wider):
  """In fewer and in more dimensions than samples; lengths of features do not matter."""
  width = 40 if wider else 8
  axes, lengths = np.eye(8, width), np.arange(1, 9)[:, None]
  assert vendi_score(axes * lengths, order) == pytest.approx(8, rel=1e-12)
  assert vendi_score(np.ones((12, width)), order) == pytest.approx(1, rel=1e-12)
  # Orthogonal blocks of equal samples: the score of their shares.
  counts = np.array([10, 5, 3, 2])
  blocks = np.repeat(axes[:4] * lengths[:4], counts, axis=0)
  shares = counts / counts.sum()
  if order == 1:
    expected = np.exp(-np.sum(shares * np.log(shares)))
  elif order == math.inf:
    expected = 2.0
  else:  # the largest share is taken out, so that no power is 0
    logs = order * math.log(0.5) + np.log(np.sum((shares / 0.5) ** order))
    expected = np.exp(logs / (1 - order))
  assert vendi_score(blocks, order) == pytest.approx(expected, rel=1e-6 if order < 1.1 else 1e-12)


def test_two_samples_at_an_angle():
  """Eigenvalues (1 + c) / 2 and (1 - c) / 2."""
  for cosine in (-0.3, 0.0, 0.6):
    pair = np.array([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    high, low = (1 + abs(cosine)) / 2, (1 - abs(cosine)) / 2
    entropy = -high * math.log(high) - low * math.log(low)
    assert vendi_score(pair) == pytest.approx(math.exp(entropy), rel=1e-12)
    assert vendi_score(pair, 2.0) == pytest.approx(1 / (high**2 + low**2), rel=1e-12)
    assert vendi_score(pair, math.inf) == pytest.approx(1 / high, rel=1e-12)


@pytest.mark.parametrize("order", [0.1, 0.5, 1.0, 2.0, 5.0, math.inf])
@pytest.mark.parametrize("count", [7, 30, 75])
def test_it_is_that_of_the_whole_kernel_matrix(order, count, monkeypatch):
  monkeypatch.setattr("vidgan_jax.evaluation.metrics.vendi._ROWS", 20)
  features = np.random.default_rng(1).standard_normal((count, 30)) + 0.5
  expected = by_definition(features, order)
  assert vendi_score(features, order) == pytest.approx(expected, rel=1e-9)
  assert vendi_score(7 * features[::-1], order) == pytest.approx(expected, rel=1e-9)


def test_orders_fall_and_join_at_one():
  features = np.random.default_rng(2).standard_normal((40, 10)) + 0.5
  values = [vendi_score(features, order) for order in ORDERS]
  assert values == sorted(values, reverse=True)
  near = [vendi_score(features, order) for order in (1 - 1e-12, 1.0, 1 + 1e-12)]
  np.testing.assert_allclose(near, near[1], rtol=1e-11)
  edges = [vendi_score(features, 1.001 + shift) for shift in (-1e-9, 1e-9)]
  assert edges[0] == pytest.approx(edges[1], rel=1e-8)


def test_samples_of_zeros_are_alike_and_unlike_all_others():
  features = np.concatenate([np.eye(3), np.zeros((3, 3))])
  values = np.array([1, 1, 1, 3]) / 6
  assert vendi_score(features) == pytest.approx(np.exp(-np.sum(values * np.log(values))))
  assert vendi_score(np.zeros((4, 3))) == pytest.approx(1)


def test_the_floor_is_of_as_many_real_clips_and_there_is_no_interval(features, clip_set, score):
  x, y = features(40, 24)
  (found,) = score(VendiScore("any", "any"), clip_set(x), [clip_set(y)], bootstrap=10, seed=3)
  some = np.random.default_rng(3).permutation(40)[:24]
  assert found.value == vendi_score(y) and found.floor.value == vendi_score(x[some])
  assert found.floor.what == "24 real clips" and found.interval is None and not found.warnings
  (few,) = score(VendiScore("any", "any"), clip_set(x[:9]), [clip_set(y)])
  (line,) = few.warnings
  assert "the floor is of 9 real clips, the value of 24" in line
  (alone,) = score(VendiScore("any", "any"), None, [clip_set(y), clip_set(x)])
  assert alone.values == (vendi_score(y), vendi_score(x)) and alone.floor is None


def test_classes_have_scores_of_their_own(features, clip_set):
  x, y = features(40, 25)
  real, generated = clip_set(x, labels=np.arange(40) % 3), clip_set(y, labels=np.arange(25) // 12)
  found = VendiScore("any", "any", order=2.0).by_class(real, generated)
  assert [*found] == [0, 1]  # the third has one clip
  assert found[1]["value"] == vendi_score(y[12:24], 2.0) and found[1]["count_generated"] == 12


def test_infinity_is_written_as_json_and_other_orders_are_refused():
  fields = VendiScore("a", "b", order=math.inf).fields()
  assert json.loads(json.dumps(fingerprint.plain(fields), allow_nan=False))["order"] == "infinity"
  assert fingerprint.digest(fields) != fingerprint.digest(VendiScore("a", "b").fields())
  for order in (0.0, -1.0, math.nan):
    with pytest.raises(UserError, match="above 0"):
      VendiScore("a", "b", order=order)


def test_it_is_added_to_a_protocol_by_name():
  (*_, metric) = with_metrics(get_protocol("recommended"), ["vendi"]).metrics
  assert metric == VendiScore("i3d_kinetics400", "logits", metric.preprocess)
