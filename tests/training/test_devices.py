"""One device and eight give the same state."""

import jax
import numpy as np
import pytest

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training.step import Iteration


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
      return np.asarray(leaf) + 10  # past the start of the average
    noise = generator.normal(size=leaf.shape)
    if ".nu" in name or "variance" in name:
      noise = 1 + noise**2
    return (np.asarray(leaf) + 0.3 * noise).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, state)


def _distances(a, b, tolerance=1.0):
  """Relative norm of each leaf's difference.

  A bias in front of a batch normalisation has no exact gradient; its first moment, which with
  beta1 = 0 is the gradient, is rounding alone. So a difference may always be as large as four
  roundings (machine epsilons) of the largest norm among the leaves of its kind (parameters, first
  moments, ...): in float64 a leaf is measured against no less than a millionth of that norm.
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
    rounding = 4 * np.finfo(leaf.dtype).eps if leaf.dtype.kind == "f" else 0
    scale = max(np.linalg.norm(leaf), rounding / tolerance * largest[kind(name)], 1e-30)
    yield name, np.linalg.norm(np.asarray(leaf, np.float64) - other) / scale


def _program(played, state, count):
  """The iteration compiled for so many devices, and its arguments placed there."""
  mesh = meshes.make_mesh(jax.devices()[:count])
  iteration = Iteration(played.gan, played.transforms, played.config, mesh)
  places = sharding.shardings(state, mesh, played.config.sharding)
  placed = jax.device_put(state, places)
  arguments = placed, meshes.put_batch(played.batch, mesh), {}
  program = jax.jit(iteration.__call__, out_shardings=(places, meshes.replicated(mesh)))
  return program.lower(*arguments).compile(), arguments


def _assert_agreement(played, tolerance):
  state = _settled(played.state)
  results = []
  for count in (1, 8):
    program, arguments = _program(played, state, count)
    results.append(program(*arguments))
  (one, metrics), (eight, _) = results
  assert float(metrics["finite"]) == 1
  assert len(jax.tree.leaves(eight)[0].devices()) == 8
  parts = [leaf.addressable_shards[0].data.size < leaf.size for leaf in jax.tree.leaves(eight)]
  assert any(parts) == (played.config.sharding == "zero1")
  worst = {n: d for n, d in _distances(one, eight, tolerance) if not d <= tolerance}
  assert not worst, worst
  moved = dict(_distances(jax.tree.map(np.asarray, state), one))
  assert max(moved.values()) > 1e-2  # the iteration did something


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rules", ["replicated", "zero1"])
def test_float64(tiny_config, game, rules):
  _assert_agreement(game(tiny_config(batch_size=8, precision="float64", sharding=rules)), 1e-9)


def test_float32(tiny_config, game):
  _assert_agreement(game(tiny_config(batch_size=8, precision="float32")), 1e-4)


def test_each_device_does_its_share(tiny_config, game):
  # Work that follows the batch, in both updates; what follows the parameters stays whole.
  played = game(tiny_config(batch_size=64, precision="float32"))
  work = {}
  for count in (1, 8):
    program, _ = _program(played, played.state, count)
    work[count] = program.cost_analysis()["flops"]
  assert work[8] < 0.2 * work[1], work


def test_batch_must_divide_among_the_devices():
  with pytest.raises(UserError, match="batch_size 12 is not divisible by the number of devices, 8"):
    meshes.check_batch(12, meshes.make_mesh())
