"""One device and eight give the same state."""

import functools
import types

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


@pytest.fixture(scope="module")
def play(tiny_config, game):
  """A function (precision, devices, rules) that runs one iteration, each combination once.

  Returns the state before and after, the metrics, and XLA's count of one device's work.
  """

  @functools.cache
  def run(precision, devices, rules="replicated"):
    with jax.enable_x64(precision == "float64"):
      config = tiny_config(batch_size=16, precision=precision, sharding=rules)
      played = game(config)
      mesh = meshes.make_mesh(jax.devices()[:devices])
      iteration = Iteration(played.gan, played.transforms, config, mesh)
      state = _settled(played.state)
      places = sharding.shardings(state, mesh, rules)
      arguments = jax.device_put(state, places), meshes.put_batch(played.batch, mesh), {}
      program = jax.jit(iteration.__call__, out_shardings=(places, meshes.replicated(mesh)))
      program = program.lower(*arguments).compile()
      after, metrics = program(*arguments)
      return types.SimpleNamespace(
        before=state, after=after, metrics=metrics, work=program.cost_analysis()["flops"]
      )

  return run


@pytest.mark.parametrize(
  ("precision", "rules", "tolerance"),
  [
    ("float64", "replicated", 1e-9),
    ("float64", "zero1", 1e-9),
    ("float32", "replicated", 1e-4),
  ],
)
def test_one_device_and_eight_agree(play, precision, rules, tolerance):
  one, eight = play(precision, 1), play(precision, 8, rules)
  leaves = jax.tree.leaves(eight.after)
  assert float(one.metrics["finite"]) == 1 and len(leaves[0].devices()) == 8
  parts = [leaf.addressable_shards[0].data.size < leaf.size for leaf in leaves]
  assert any(parts) == (rules == "zero1")
  worst = {n: d for n, d in _distances(one.after, eight.after, tolerance) if not d <= tolerance}
  assert not worst, worst
  moved = dict(_distances(one.before, one.after))
  assert max(moved.values()) > 1e-2  # the iteration did something


def test_each_device_does_its_share(play):
  # Not an eighth: what follows the parameters, not the batch, is done on every device.
  one, eight = play("float32", 1).work, play("float32", 8).work
  assert eight < 0.25 * one, (one, eight)


def test_batch_must_divide_among_the_devices():
  with pytest.raises(UserError, match="batch_size 12 is not divisible by the number of devices, 8"):
    meshes.check_batch(12, meshes.make_mesh())
