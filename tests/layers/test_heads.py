import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers.heads import ProjectionHead
from vidgan_jax.layers.settings import LayerSettings


@pytest.mark.parametrize("num_classes", [4, 0])
def test_scores_equal_numpy(x64, wide, draw, normal, assert_close, num_classes):
  """A score per frame: projects the clip's class on ReLU features summed over the frame."""
  x, labels = normal((3, 2, 2, 4, 5)), np.array([3, 0, 3]) if num_classes else None
  module = ProjectionHead(num_classes, wide())
  params = draw(module, x, labels)
  assert set(params) == ({"linear", "embed"} if num_classes else {"linear"})
  expected = np.empty((3, 2))
  for clip, frame in np.ndindex(3, 2):
    hidden = sum(np.maximum(x[clip, frame, i, j], 0) for i, j in np.ndindex(2, 4))
    expected[clip, frame] = hidden @ params["linear"]["kernel"][:, 0] + params["linear"]["bias"][0]
    if num_classes:
      expected[clip, frame] += hidden @ params["embed"]["embedding"][labels[clip]]
  assert_close(jax.jit(lambda p, x: module.apply({"params": p}, x, labels))(params, x), expected)


@pytest.mark.parametrize("num_classes", [2, 0])
def test_scores_of_bfloat16_features_are_float32(draw, normal, num_classes):
  x = jnp.asarray(normal((2, 3, 4, 4, 8)), jnp.bfloat16)
  labels = np.array([0, 1])
  module = ProjectionHead(num_classes, LayerSettings(dtype=jnp.bfloat16))
  params = draw(module, x, labels)
  scores = module.apply({"params": params}, x, labels)
  assert scores.dtype == jnp.float32
  hidden = np.maximum(np.asarray(x, np.float64), 0).sum((2, 3))
  weights = params["linear"]["kernel"][:, 0]
  if num_classes:
    weights = weights + params["embed"]["embedding"][labels][:, None]
  expected = np.sum(hidden * weights, -1) + params["linear"]["bias"]
  np.testing.assert_allclose(scores, expected, rtol=0.03, atol=0.1)
