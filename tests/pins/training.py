"""Two iterations of each family, in float64."""

import hashlib

import jax
import jax.experimental
import numpy as np

from tests.pins import experiments
from vidgan_jax.models import registry
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.step import Iteration

_x64 = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
ITERATIONS = 2


def _settled(start, seed=0):
  """A state in the middle of training: every number away from zero.

  Adam divides by the root of its second moment. In the first steps that turns gradients which
  should cancel to zero, but are rounding, into full steps. With second moments of about one, an
  update is as exact as its gradient.
  """
  generator = np.random.default_rng(seed)

  def fill(path, leaf):
    if leaf.dtype.kind == "i":
      return np.asarray(leaf) + 10
    noise = generator.normal(size=leaf.shape)
    name = jax.tree_util.keystr(path)
    if ".nu" in name or "variance" in name:
      noise = 1 + noise**2
    return (np.asarray(leaf) + 0.3 * noise).astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(fill, start)


def parts(after) -> dict:
  """A state's arrays by network and kind."""
  parts = {"average": after.ema}
  for name, network in {"generator": after.generator, **after.discriminators}.items():
    parts[f"{name}/params"] = network.params
    parts[f"{name}/rest"] = [network.spectral, network.batch_stats, network.optimizer]
  return parts


def described(tree) -> tuple[dict, np.ndarray]:
  """What is kept of a tree: digests of its names and bytes, and two numbers of each array.

  Returns:
    {"names", "bytes"}, and float64 [arrays, 2]: norm, and product with a fixed vector of signs.
  """
  names, content, numbers = hashlib.sha256(), hashlib.sha256(), []
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.ascontiguousarray(leaf)
    names.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}\n".encode())
    content.update(leaf.tobytes())
    flat = leaf.astype(np.float64).ravel()
    signs = np.random.default_rng(flat.size).choice([-1.0, 1.0], flat.size)
    numbers.append((np.sqrt(np.sum(flat * flat)), np.sum(flat * signs)))
  digests = {"names": names.hexdigest()[:16], "bytes": content.hexdigest()[:16]}
  return digests, np.array(numbers).reshape(-1, 2)


def run(name: str) -> tuple[dict, dict]:
  """Trains one of `experiments.CASES`.

  Returns:
    {"iterations": [{metric: hexadecimal float}], "state": {part: digests}}, and {part: float64
    [arrays, 2]}, see `described`.
  """
  config = experiments.tiny(name)
  with _x64(True):
    gan = registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    shapes = jax.eval_shape(lambda: state.create(gan, transforms, config.seed))
    now = _settled(jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), shapes))
    generator = np.random.default_rng(0)
    shape = (gan.schedule.discriminator_steps, config.batch_size)
    clips = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
    batch = {
      "clip": generator.integers(0, 256, clips, dtype=np.uint8),
      "label": generator.integers(0, max(1, gan.num_classes), shape, dtype=np.int32),
    }
    step, told = jax.jit(Iteration(gan, transforms, config)), []
    for _ in range(ITERATIONS):
      now, metrics = step(now, batch)
      told.append({k: float(v).hex() for k, v in sorted(metrics.items())})
    found, arrays = {}, {}
    for part, tree in parts(jax.device_get(now)).items():
      found[part], arrays[part] = described(tree)
  return {"iterations": told, "state": found}, arrays
