import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import normalization
from vidgan_jax.layers.normalization import BatchNorm, ConditionalBatchNorm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime.errors import UserError

SHAPE = (3, 4, 2, 5, 6)  # B, T, H, W, C
BATCH_STATS = normalization.COLLECTION


def trained(module, params, *arguments):
  """Output and reported statistics of a call in training."""
  run = lambda p, *a: module.apply({"params": p}, *a, True, mutable=[BATCH_STATS])
  out, reported = jax.jit(run)(params, *arguments)
  return out, reported[BATCH_STATS]


def clips(normal, seed=0):
  """Activations whose mean and standard deviation differ between time steps and channels."""
  means, spreads = normal((1, 4, 1, 1, 6), 50 + seed), np.exp(normal((1, 4, 1, 1, 6), 60 + seed))
  return means + spreads * normal(SHAPE, seed)


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_plain_normalisation_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, statistics
):
  x, module = clips(normal), BatchNorm(wide(), statistics)
  params = draw(module, x, True)
  out, reported = trained(module, params, x)
  assert_close(out, reference.batch_norm(x, params["gain"], params["bias"], statistics))
  axes = (0, 2, 3) if statistics == "per_step" else (0, 1, 2, 3)
  assert_close(reported, {"mean": x.mean(axes), "variance": x.var(axes)})


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_conditional_normalisation_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, statistics
):
  x, condition, module = clips(normal), normal((3, 7), 1), ConditionalBatchNorm(wide(), statistics)
  params = draw(module, x, condition, True)
  assert jax.tree.map(np.shape, params) == {"gain": {"kernel": (7, 6)}, "bias": {"kernel": (7, 6)}}
  out, reported = trained(module, params, x, condition)
  gain = 1 + condition @ params["gain"]["kernel"]
  bias = condition @ params["bias"]["kernel"]
  assert_close(out, reference.batch_norm(x, gain, bias, statistics))
  axes = (0, 2, 3) if statistics == "per_step" else (0, 1, 2, 3)
  assert_close(reported, {"mean": x.mean(axes), "variance": x.var(axes)})


def test_gain_is_one_without_a_condition_or_maps(x64, wide, draw, normal, assert_close):
  """A gain W c instead of 1 + W c would give zeros."""
  x, condition = clips(normal), normal((3, 7), 1)
  plain, _ = trained(BatchNorm(wide()), {"gain": np.ones(6), "bias": np.zeros(6)}, x)
  module = ConditionalBatchNorm(wide())
  params = draw(module, x, condition, True)
  # Not equal bit for bit, because rounding depends on which operations a program fuses.
  assert_close(trained(module, params, x, 0 * condition)[0], plain, 1e-14)
  zeros = jax.tree.map(np.zeros_like, params)
  assert_close(trained(module, zeros, x, condition)[0], plain, 1e-14)


def test_no_condition_is_a_plain_normalisation(x64, wide, draw, normal, reference, assert_close):
  x, module = clips(normal), ConditionalBatchNorm(wide())
  params = draw(module, x, None, True)
  assert jax.tree.map(np.shape, params) == {"unconditional": {"gain": (6,), "bias": (6,)}}
  run = lambda p, x: module.apply({"params": p}, x, None, True, mutable=[BATCH_STATS])[0]
  inner = params["unconditional"]
  expected = reference.batch_norm(x, inner["gain"], inner["bias"], "per_step")
  assert_close(jax.jit(run)(params, x), expected)


@pytest.mark.parametrize("statistics", ["per_step", "shared"])
def test_evaluation_normalises_by_the_given_moments(
  x64, wide, draw, normal, assert_close, statistics
):
  x, condition, module = clips(normal), normal((3, 7), 1), ConditionalBatchNorm(wide(), statistics)
  params = draw(module, x, condition, True)
  in_training, reported = trained(module, params, x, condition)
  evaluate = jax.jit(
    lambda stats, x, c: module.apply({"params": params, BATCH_STATS: stats}, x, c, False)
  )
  assert_close(evaluate(reported, x, condition), in_training)
  # A single clip, normalised with statistics of other clips.
  shape = (4, 6) if statistics == "per_step" else (6,)
  stats = {"mean": normal(shape, 2), "variance": np.exp(normal(shape, 3))}
  mean, variance = (np.broadcast_to(stats[k], (4, 6)) for k in ("mean", "variance"))
  expected = np.empty((1, *SHAPE[1:]))
  for t in range(4):
    centred = (x[:1, t] - mean[t]) / np.sqrt(variance[t] + 1e-5)
    gain = 1 + condition[0] @ params["gain"]["kernel"]
    expected[:, t] = centred * gain + condition[0] @ params["bias"]["kernel"]
  assert_close(evaluate(stats, x[:1], condition[:1]), expected)


def test_frames_are_independent_unless_statistics_are_shared(normal):
  x = clips(normal).astype(np.float32)
  changed = x.copy()
  changed[:, 2] *= 3.0
  params = {"gain": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)}
  for statistics, leaks in (("per_step", False), ("shared", True)):
    module = BatchNorm(LayerSettings(), statistics)
    before, after = trained(module, params, x)[0], trained(module, params, changed)[0]
    others = [0, 1, 3]
    assert np.array_equal(before[:, others], after[:, others]) is not leaks


def test_gradient_flows_through_the_moments(x64, wide, draw, normal, assert_gradient):
  x, condition = clips(normal), normal((3, 7), 1)
  module, factors = ConditionalBatchNorm(wide()), normal(SHAPE, 9)
  params = draw(module, x, condition, True)

  def scalar(params, x, condition):
    out, _ = module.apply({"params": params}, x, condition, True, mutable=[BATCH_STATS])
    return jnp.sum(out * factors)

  assert_gradient(scalar, (params, x, condition))


def test_moments_start_at_zero_and_one_and_gain_at_one(normal):
  x = clips(normal).astype(np.float32)
  variables = BatchNorm(LayerSettings()).init(jax.random.key(0), x, True)
  expected = {
    "params": {"gain": np.ones(6), "bias": np.zeros(6)},
    BATCH_STATS: {"mean": np.zeros((4, 6)), "variance": np.ones((4, 6))},
  }
  jax.tree.map(np.testing.assert_array_equal, variables, expected)


def test_blend_keeps_the_momentum_of_the_running_moments(x64):
  running, reported = {"a": {"mean": np.array([1.0, 2.0])}}, {"a": {"mean": np.array([3.0, -2.0])}}
  blended = normalization.blend(running, reported)
  np.testing.assert_allclose(blended["a"]["mean"], [0.9 * 1 + 0.1 * 3, 0.9 * 2 - 0.1 * 2])
  blended = normalization.blend(running, reported, momentum=0.25)
  np.testing.assert_allclose(blended["a"]["mean"], [0.25 * 1 + 0.75 * 3, 0.25 * 2 - 0.75 * 2])


def test_moments_of_another_number_of_frames_are_refused(normal):
  x = clips(normal).astype(np.float32)
  params = {"gain": np.ones(6, np.float32), "bias": np.zeros(6, np.float32)}
  moments = {"mean": np.zeros((4, 6), np.float32), "variance": np.ones((4, 6), np.float32)}
  module = BatchNorm(LayerSettings())
  evaluate = lambda x, **more: module.apply({"params": params, **more}, x, False)
  assert evaluate(x, **{BATCH_STATS: moments}).shape == x.shape
  with pytest.raises(ValueError, match=r"are \(4, 6\), the activations need \(3, 6\)"):
    evaluate(x[:, :3], **{BATCH_STATS: moments})
  with pytest.raises(ValueError, match="are none"):
    evaluate(x)
  # Statistics shared over time fit any number of frames.
  module = BatchNorm(LayerSettings(), "shared")
  shared = {"mean": np.zeros(6, np.float32), "variance": np.ones(6, np.float32)}
  assert evaluate(x[:, :3], **{BATCH_STATS: shared}).shape == (3, 3, 2, 5, 6)


def test_unknown_statistics_are_refused(normal):
  module = BatchNorm(LayerSettings(), "per_clip")
  with pytest.raises(UserError, match="unknown batch statistics 'per_clip'; known: per_step, sh"):
    module.init(jax.random.key(0), clips(normal).astype(np.float32), True)


def test_moments_of_bfloat16_activations_are_float32(normal):
  """In bfloat16, sums of 65,536 values around 3 are far off, and a variance of 0.01 is lost.

  XLA may add the n values one by one (jaxlib 0.7.2 does): float32 means are then right to about
  sqrt(n) roundings, 1.4e-4 of the squares' mean, and bfloat16 ones to 65,536 times that.
  """
  x = jnp.asarray(3 + 0.1 * normal((16, 1, 64, 64, 2)), jnp.bfloat16)
  params = {"gain": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)}
  out, reported = trained(BatchNorm(LayerSettings(dtype=jnp.bfloat16)), params, x)
  assert out.dtype == jnp.bfloat16
  exact = np.asarray(x, np.float64)
  for name, expected in (("mean", exact.mean((0, 2, 3))), ("variance", exact.var((0, 2, 3)))):
    assert reported[name].dtype == jnp.float32
    rounding = np.sqrt(16 * 64 * 64) * np.finfo(np.float32).eps / 2
    np.testing.assert_allclose(reported[name], expected, rtol=0, atol=rounding * np.mean(exact**2))
  normalized = (exact - exact.mean((0, 2, 3))) / np.sqrt(exact.var((0, 2, 3)) + 1e-5)
  np.testing.assert_allclose(np.asarray(out, np.float64), normalized, rtol=2e-2, atol=2e-2)
