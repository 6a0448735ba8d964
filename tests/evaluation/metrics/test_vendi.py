"""The Vendi score equals closed forms, and values from eigenvalues of the whole kernel matrix."""

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
  """Friedman & Dieng 2022, definition 3.1, and Pasarkar & Dieng 2023, from the n x n matrix."""
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
  """With fewer and with more dimensions than samples; lengths of features do not matter."""
  width = 40 if wider else 8
  axes, lengths = np.eye(8, width), np.arange(1, 9)[:, None]
  assert vendi_score(axes * lengths, order) == pytest.approx(8, rel=1e-12)
  assert vendi_score(np.ones((12, width)), order) == pytest.approx(1, rel=1e-12)
  # Orthogonal groups of equal samples: the eigenvalues are the shares of the groups.
  counts = np.array([10, 5, 3, 2])
  blocks = np.repeat(axes[:4] * lengths[:4], counts, axis=0)
  shares = counts / counts.sum()
  if order == 1:
    expected = np.exp(-np.sum(shares * np.log(shares)))
  elif order == math.inf:
    expected = 2.0
  else:  # the largest share is taken out of the sum, so that no power underflows
    logs = order * math.log(0.5) + np.log(np.sum((shares / 0.5) ** order))
    expected = np.exp(logs / (1 - order))
  assert vendi_score(blocks, order) == pytest.approx(expected, rel=1e-6 if order < 1.1 else 1e-12)


def test_two_samples_at_an_angle():
  """For cosine c, the eigenvalues are (1 + c) / 2 and (1 - c) / 2."""
  for cosine in (-0.3, 0.0, 0.6):
    pair = np.array([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    high, low = (1 + abs(cosine)) / 2, (1 - abs(cosine)) / 2
    entropy = -high * math.log(high) - low * math.log(low)
    assert vendi_score(pair) == pytest.approx(math.exp(entropy), rel=1e-12)
    assert vendi_score(pair, 2.0) == pytest.approx(1 / (high**2 + low**2), rel=1e-12)
    assert vendi_score(pair, math.inf) == pytest.approx(1 / high, rel=1e-12)


@pytest.mark.parametrize("order", [0.1, 0.5, 1.0, 2.0, 5.0, math.inf])
@pytest.mark.parametrize("count", [7, 30, 75])
def test_equals_the_definition(order, count, monkeypatch):
  monkeypatch.setattr("vidgan_jax.evaluation.metrics.vendi._ROWS", 20)
  features = np.random.default_rng(1).standard_normal((count, 30)) + 0.5
  expected = by_definition(features, order)
  assert vendi_score(features, order) == pytest.approx(expected, rel=1e-9)
  assert vendi_score(7 * features[::-1], order) == pytest.approx(expected, rel=1e-9)


def test_the_score_decreases_with_the_order_and_is_continuous():
  features = np.random.default_rng(2).standard_normal((40, 10)) + 0.5
  values = [vendi_score(features, order) for order in ORDERS]
  assert values == sorted(values, reverse=True)
  near = [vendi_score(features, order) for order in (1 - 1e-12, 1.0, 1 + 1e-12)]
  np.testing.assert_allclose(near, near[1], rtol=1e-11)
  edges = [vendi_score(features, 1.001 + shift) for shift in (-1e-9, 1e-9)]
  assert edges[0] == pytest.approx(edges[1], rel=1e-8)


def test_rows_of_zeros_are_similar_only_to_each_other():
  features = np.concatenate([np.eye(3), np.zeros((3, 3))])
  values = np.array([1, 1, 1, 3]) / 6
  assert vendi_score(features) == pytest.approx(np.exp(-np.sum(values * np.log(values))))
  assert vendi_score(np.zeros((4, 3))) == pytest.approx(1)


def test_the_floor_uses_as_many_real_clips(features, clip_set, score):
  x, y = features(40, 24)
  (vendi,) = score(VendiScore("any", "any"), clip_set(x), [clip_set(y)], bootstrap=10, seed=3)
  sample = np.random.default_rng(3).permutation(40)[:24]
  assert vendi.value == vendi_score(y) and vendi.floor.value == vendi_score(x[sample])
  assert vendi.floor.what == "24 real clips" and not vendi.warnings
  (of_few,) = score(VendiScore("any", "any"), clip_set(x[:9]), [clip_set(y)])
  (line,) = of_few.warnings
  assert "real against real uses 9 real clips, the value 24" in line
  (without_real,) = score(VendiScore("any", "any"), None, [clip_set(y), clip_set(x)])
  assert without_real.values == (vendi_score(y), vendi_score(x)) and without_real.floor is None


def test_scores_of_single_classes(features, clip_set):
  x, y = features(40, 25)
  real, generated = clip_set(x, labels=np.arange(40) % 3), clip_set(y, labels=np.arange(25) // 12)
  by_class = VendiScore("any", "any", order=2.0).by_class(real, generated)
  assert [*by_class] == [0, 1]  # class 2 has only one clip
  assert by_class[1]["value"] == vendi_score(y[12:24], 2.0)
  assert by_class[1]["count_generated"] == 12


def test_an_infinite_order_can_be_stored_as_json_and_invalid_orders_are_refused():
  fields = VendiScore("a", "b", order=math.inf).fields()
  assert json.loads(json.dumps(fingerprint.plain(fields), allow_nan=False))["order"] == "infinity"
  assert fingerprint.digest(fields) != fingerprint.digest(VendiScore("a", "b").fields())
  for order in (0.0, -1.0, math.nan):
    with pytest.raises(UserError, match="above 0"):
      VendiScore("a", "b", order=order)


def test_it_can_be_added_to_a_protocol_by_name():
  (*_, metric) = with_metrics(get_protocol("recommended"), ["vendi"]).metrics
  assert metric == VendiScore("i3d_kinetics400", "logits", metric.preprocess)
