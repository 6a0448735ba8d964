"""The built-in classifier: equality with NumPy, independence of the batch, resizing."""

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation.features.architectures import moving_shapes as network
from vidgan_jax.runtime.errors import UserError


@pytest.fixture(scope="module")
def variables():
  clips = np.zeros((1, 4, 32, 32, 3), np.float32)
  variables = jax.jit(network.MovingShapesClassifier().init)(jax.random.key(3), clips)
  # Initial biases of 0 and gains of 1 would hide some mistakes.
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(0)
  return tree.unflatten(
    [leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32) for leaf in leaves]
  )


@pytest.fixture(scope="module")
def apply():
  return jax.jit(network.apply)


def _clips(seed, *shape):
  return np.random.default_rng(seed).uniform(-1, 1, (*shape, 3)).astype(np.float32)


def _reference(params, clips):
  """The network in float64 with NumPy, for clips [B, T, 32, 32, 3]."""
  params = jax.tree.map(lambda a: np.asarray(a, np.float64), params)

  def dense(name, x):
    return x @ params[name]["kernel"] + params[name]["bias"]

  def norm(name, x):
    groups = x.reshape(*x.shape[:-1], 8, -1)
    axes = (1, 2, 3, 5)
    mean, variance = groups.mean(axes, keepdims=True), groups.var(axes, keepdims=True)
    x = ((groups - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
    return x * params[name]["scale"] + params[name]["bias"]

  def frames(name, x):
    kernel, padded = params[name], np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[2:4]
    return sum(
      padded[:, :, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)
    )

  def times(name, x):
    padded = np.pad(x, ((0, 0), (1, 1)) + ((0, 0),) * (x.ndim - 2))
    taps = [padded[:, t : t + x.shape[1]] for t in range(3)]
    return dense(name, np.concatenate(taps, axis=-1))

  def cells(x):
    b, t, h, w, c = x.shape
    x = x.reshape(b, t, h // 2, 2, w // 2, 2, c)
    return x.transpose(0, 1, 2, 4, 3, 5, 6)

  relu = lambda x: np.maximum(x, 0.0)
  x = cells(clips.astype(np.float64))
  x = relu(norm("norm0", frames("frame0_kernel", x.reshape(*x.shape[:4], -1))))
  for stage in (1, 2):
    x = cells(x).max(axis=(4, 5))
    x = relu(norm(f"norm{stage}", frames(f"frame{stage}_kernel", x)))
    x = relu(x + norm(f"change_norm{stage}", times(f"change{stage}", x)))
  x = relu(dense("embedding", x.reshape(*x.shape[:2], -1)))
  x = relu(x + times("path0", x))
  features = relu(times("path1", x)).mean(axis=1)
  return {"logits": dense("logits", features), "features": features}


def test_forward_pass_equals_numpy(variables, apply):
  clips = _clips(1, 2, 5, 32, 32)
  outputs, expected = apply(variables, clips), _reference(variables["params"], clips)
  assert {name: leaf.shape[1] for name, leaf in outputs.items()} == network.OUTPUTS
  for name, values in expected.items():
    assert outputs[name].dtype == np.float32
    np.testing.assert_allclose(outputs[name], values, rtol=2e-5, atol=2e-5 * np.abs(values).max())


def test_a_clip_does_not_depend_on_its_batch(variables, apply):
  clips = _clips(2, 2, 5, 32, 32)
  clips[1] *= 0.1
  alone = apply(variables, clips[:1])["features"]
  np.testing.assert_allclose(apply(variables, clips)["features"][:1], alone, rtol=1e-5, atol=1e-6)


def test_resizing():
  clips = _clips(3, 1, 4, 32, 32)
  assert np.array_equal(network.resize(clips), clips)
  # From 64 to 32 pixels, the centres of four input pixels have distances of -0.75, -0.25, 0.25 and
  # 0.75 output pixels from an output centre. The triangular kernel gives weights 1, 3, 3, 1.
  large = _clips(4, 1, 1, 64, 64)
  small = np.asarray(network.resize(large))[0, 0]
  weights = np.array([1, 3, 3, 1]) / 8
  window = large[0, 0, 19:23, 39:43].astype(np.float64)
  np.testing.assert_allclose(
    small[10, 20], np.einsum("i,j,ijc->c", weights, weights, window), atol=1e-6
  )


def test_too_few_frames_and_other_shapes_are_refused(variables):
  with pytest.raises(UserError, match="at least 4 frames, not 3"):
    network.apply(variables, _clips(5, 1, 3, 32, 32))
  with pytest.raises(UserError, match=r"\[B, T, H, W, 3\]"):
    network.apply(variables, np.zeros((4, 32, 32, 3), np.float32))
