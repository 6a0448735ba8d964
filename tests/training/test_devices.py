"""One device and eight give the same state."""

import jax
import numpy as np
import pytest

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError


def _settled(state, seed=0):
  """A state in the middle of training: every number away from zero.

  Adam divides by the root of its second moment: at the first steps that turns gradients which
  should cancel to zero, but are rounding, into full steps of either sign. A second moment of about
  one lets an update tell how well its gradient agrees.
  """
  generator = np.random.default_rng(seed)

  def fill(path, leaf):
    name = jax.tree_util.keystr(path)
    if leaf.dtype.kind == "i":
      return np.asarray(leaf) + (10 if "count" in name else 0)
    noise = generator.normal(size=leaf.shape)
    if ".nu" in name or "variance" in name:
      noise = 1 + noise**2
    return (np.asarray(leaf) + 0.3 * noise).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, state)


def _distances(a, b):
  """Relative norm of each leaf's difference.

  A bias in front of a batch normalisation has no exact gradient; its first moment, which with
  beta1 = 0 is the gradient, is rounding alone. So a leaf is measured against no less than a
  millionth of the largest norm among the leaves of its kind (parameters, first moments, ...).
  """
  flat = jax.tree_util.tree_flatten_with_path(jax.device_get(a))[0]
  others = jax.tree.leaves(jax.device_get(b))
  kind = lambda name: next((k for k in (".mu", ".nu") if k in name), "")
  largest = {}
  for path, leaf in flat:
    name = kind(jax.tree_util.keystr(path))
    largest[name] = max(largest.get(name, 0), np.linalg.norm(leaf))
  for (path, leaf), other in zip(flat, others, strict=True):
    name = jax.tree_util.keystr(path)
    scale = max(np.linalg.norm(leaf), 1e-6 * largest[kind(name)], 1e-30)
    yield name, np.linalg.norm(np.asarray(leaf, np.float64) - other) / scale


def _compare(played, tolerance):
  state = _settled(played.state)
  results = []
  for count in (1, 8):
    mesh = meshes.make_mesh(jax.devices()[:count])
    placed = jax.device_put(state, meshes.replicated(mesh))
    batch = meshes.put_batch(played.batch, mesh)
    step = jax.jit(played.iteration, out_shardings=meshes.replicated(mesh))
    results.append(step(placed, batch))
  (one, metrics), (eight, _) = results
  assert float(metrics["finite"]) == 1
  assert len(jax.tree.leaves(eight)[0].devices()) == 8
  worst = {n: d for n, d in _distances(one, eight) if not d <= tolerance}
  assert not worst, worst
  moved = dict(_distances(jax.tree.map(np.asarray, state), one))
  assert max(moved.values()) > 1e-2  # the iteration did something


@pytest.mark.usefixtures("x64")
def test_float64(tiny_config, game):
  _compare(game(tiny_config(batch_size=8, precision="float64")), 1e-9)


def test_float32(tiny_config, game):
  _compare(game(tiny_config(batch_size=8, precision="float32")), 1e-4)


def test_batch_must_divide_among_the_devices():
  with pytest.raises(UserError, match="batch_size 12 is not divisible by the number of devices, 8"):
    meshes.check_batch(12, meshes.make_mesh())
