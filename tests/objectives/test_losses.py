import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.objectives import losses
from vidgan_jax.runtime.errors import UserError

BATCH, FRAMES = 5, {"spatial": 4, "temporal": 3}


@pytest.fixture
def scores():
  """Scores of both discriminators, on both sides of the points where the hinges are zero."""
  generator = np.random.default_rng(0)
  draw = lambda: {name: 1.5 * generator.normal(size=(BATCH, n)) for name, n in FRAMES.items()}
  return draw(), draw()


def hinge(side, values):
  """max(0, 1 - D(real)) and max(0, 1 + D(generated)), one number at a time."""
  sign = -1 if side == "real" else 1
  return np.mean([max(0.0, 1 + sign * value) for value in np.ravel(values)])


@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_hinge_equals_numpy(x64, scores, assert_close, aggregation):
  real, generated = scores
  actual = losses.hinge_discriminator(real, generated, aggregation)
  found_generator = losses.hinge_generator(generated, aggregation)
  expected, expected_generator = {}, {}
  for side, of_side in (("real", real), ("generated", generated)):
    if aggregation == "concat_mean":
      everything = np.concatenate([of_side[name].ravel() for name in FRAMES])
      expected[f"all_{side}"] = hinge(side, everything)
      expected_generator["all"] = -everything.mean()
      continue
    for name, values in of_side.items():
      summed = aggregation == "sum_before"
      values = [sum(row) for row in values] if summed else values
      expected[f"{name}_{side}"] = hinge(side, values)
      expected_generator[name] = -np.mean(values)
  assert_close(actual, expected)
  assert_close(found_generator, expected_generator)


def test_sum_before_and_mean_after_are_different_losses(scores):
  real, generated = scores
  sums = {a: losses.hinge_discriminator(real, generated, a) for a in losses.AGGREGATIONS}
  totals = [float(sum(parts.values())) for parts in sums.values()]
  assert len({round(total, 3) for total in totals}) == 3


@pytest.mark.parametrize("aggregation", losses.AGGREGATIONS)
def test_losses_pull_scores_the_right_way(scores, aggregation):
  """Discriminators raise real and lower generated scores; the generator raises generated scores."""
  real, generated = jax.tree.map(jnp.asarray, scores)
  total = lambda r, g: sum(losses.hinge_discriminator(r, g, aggregation).values())
  by_real, by_generated = jax.grad(total, argnums=(0, 1))(real, generated)
  by_own = jax.grad(lambda g: sum(losses.hinge_generator(g, aggregation).values()))(generated)
  for name in FRAMES:
    assert np.all(by_real[name] <= 0) and np.any(by_real[name] < 0)
    assert np.all(by_generated[name] >= 0) and np.any(by_generated[name] > 0)
    assert np.all(by_own[name] < 0)
  satisfied = jax.grad(total)(jax.tree.map(lambda s: jnp.full_like(s, 2.0), real), generated)
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(satisfied))


def test_losses_of_bfloat16_scores_are_float32():
  narrow = {"spatial": jnp.full((4, 3), 1.0, jnp.bfloat16)}
  for aggregation in losses.AGGREGATIONS:
    parts = losses.hinge_discriminator(narrow, narrow, aggregation)
    parts |= losses.hinge_generator(narrow, aggregation)
    assert {part.dtype for part in parts.values()} == {jnp.dtype("float32")}


def test_unknown_aggregation_is_refused(scores):
  message = "unknown aggregation 'mean'; known: sum_before, mean_after, concat_mean"
  with pytest.raises(UserError, match=message):
    losses.hinge_discriminator(*scores, "mean")
  with pytest.raises(UserError, match=message):
    losses.hinge_generator(scores[1], "mean")


@pytest.fixture
def clips():
  generator = np.random.default_rng(1)
  return tuple(generator.uniform(-1, 1, size=(2, 3, 4, 4, 3)) for _ in range(2))


def test_pixel_losses_equal_numpy(x64, clips, assert_close):
  real, generated = clips
  means = [abs(real[..., c].mean() - generated[..., c].mean()) for c in range(3)]
  assert_close(losses.average_pixel_loss(real, generated, "channel_means"), np.mean(means))
  distance = np.mean(np.abs(real - generated))
  assert_close(losses.average_pixel_loss(real, generated, "pixels"), distance)


@pytest.mark.parametrize("form", losses.PIXEL_FORMS)
def test_pixel_losses_have_a_gradient(x64, clips, assert_gradient, form):
  """The loss in the thesis' code has no gradient: it turns the means into plain numbers."""
  real, generated = clips
  scalar = lambda generated: losses.average_pixel_loss(real, generated, form)
  assert_gradient(scalar, (generated,), tolerance=1e-7)
  gradient = jax.grad(scalar)(generated)
  assert np.all(gradient != 0)


def test_unknown_pixel_loss_is_refused(clips):
  with pytest.raises(UserError, match="unknown pixel loss 'l2'; known: channel_means, pixels"):
    losses.average_pixel_loss(*clips, "l2")


def test_drift_is_the_mean_squared_score():
  assert float(losses.drift(jnp.array([1.0, -3.0, 0.0, 2.0]))) == 3.5
