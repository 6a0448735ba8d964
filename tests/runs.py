"""Short training runs for tests: starting and comparing them; and runs made without training."""

import json

import jax
import numpy as np

from vidgan_jax.layers import spectral_norm
from vidgan_jax.models import registry
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.training import loop, optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import read_log


def train(config, workdir, **options):
  """Trains on one device, without messages; returns the state at the end."""
  options.setdefault("devices", jax.devices()[:1])
  options.setdefault("report", lambda line: None)
  return loop.Trainer(config, workdir, **options).run()


def same(a, b):
  """Whether two trees have equal arrays, bit for bit."""
  return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def losses(workdir):
  """The records of a run's log without their times."""
  return [
    {name: value for name, value in record.items() if not name.startswith("time/")}
    for record in read_log(workdir / "log.jsonl")
  ]


def _moved(network, seed):
  """Parameters and running statistics as far from their initial values as after long training.

  Fresh weights draw grey clips that look the same for every label and weight.
  """
  generator = np.random.default_rng(seed)

  def move(path, leaf):
    noise = 0.3 * generator.normal(size=leaf.shape).astype(leaf.dtype)
    return leaf + (np.abs(noise) if "variance" in jax.tree_util.keystr(path) else noise)

  return jax.tree_util.tree_map_with_path(move, network)


def write_run(folder, config, class_names):
  """Writes a run with checkpoints at iterations 2 and 4, whose weights and averages all differ."""
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  (folder / states.CONFIG).write_text(configuration.to_json(config))
  (folder / states.DATA).write_text(json.dumps({"class_names": class_names}))
  state = jax.jit(lambda: states.create(gan, transforms, config.seed))()
  checkpoints = Checkpoints(folder / states.CHECKPOINTS)
  for step in (2, 4):
    generator = state.generator.replace(
      params=_moved(state.generator.params, step),
      batch_stats=_moved(state.generator.batch_stats, step),
    )
    _, spectral, _ = spectral_norm.normalize(generator.params, generator.spectral, iterations=20)
    average = _moved(states.Average(generator.params, generator.batch_stats), step + 1)
    state = state.replace(
      step=np.int32(step), generator=generator.replace(spectral=spectral), ema=average
    )
    checkpoints.save(step, jax.tree.map(jax.numpy.asarray, state), {"seconds": 0.0})
  checkpoints.close()
  return folder
