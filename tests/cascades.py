"""Tiny cascades of stages: 8, 16 and 32 pixels, for the tests of SSW-GAN."""

import json

import jax
import jax.numpy as jnp
import numpy as np

from vidgan_jax.models import registry
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.training import earlier, optimizers
from vidgan_jax.training import state as states

CLASSES = ("disk_horizontal", "square_horizontal", "triangle_horizontal", "cross_horizontal")

FRAMES = 6  # of the first stage
_ALL = {
  "batch_size": 8,
  "sample_every": 0,
  "data.num_examples": 40,
  "data.view_resolution": 32,
  "data.time_step": 1.0,
}
_MODEL = {
  "num_classes": 4,
  "latent_dim": 3,
  "embedding_dim": 3,
  "generator.channels": 2,
  "discriminator.channels": 2,
  "savings": False,  # layers as written compile in the shortest time
}
_STAGES = {
  1: {
    "resolution": 8,
    "frames": FRAMES,
    "generator.multipliers": (2, 1),
    "generator.statistics": "per_step",
    "discriminator.multipliers": (1, 2),
    "discriminator.sampled_frames": 2,
  },
  2: {
    "resolution": 16,
    "frames": 4,
    "generator.multipliers": (2, 1),
    "discriminator.multipliers": (1, 2),
    "unroll_window": 2,
  },
  3: {
    "resolution": 32,
    "frames": 4,
    "generator.multipliers": (2, 1, 1),
    "discriminator.multipliers": (1, 2),
    "unroll_window": 2,
  },
}


def config(load_config, stage, **changes):
  """The config of a tiny stage; `changes` are fields of it, with __ in place of dots."""
  found = load_config("ssw_gan", f"shapes_stage{stage},runlocal")
  with found.unlocked():
    schema.set_fields(found, {"data.view": "nearest", **_ALL})
    model = found.model
    for number in range(stage, 0, -1):
      schema.set_fields(model, {**_MODEL, **_STAGES[number]})
      model = model.get("earlier")
    schema.set_fields(found, {name.replace("__", "."): v for name, v in changes.items()})
  return found


def write_run(folder, config, step=None, *, classes=CLASSES, seed=0):
  """Writes a run of a stage with random numbers, as training would leave it; returns its state.

  `step` None is the last iteration. Nothing is compiled, so that this takes no time.
  """
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  shapes = jax.eval_shape(lambda: states.create(gan, transforms, seed))
  generator = np.random.default_rng(seed)

  def drawn(path, leaf):
    if leaf.dtype.kind == "i":
      return jnp.zeros(leaf.shape, leaf.dtype)
    noise = 0.3 * generator.normal(size=leaf.shape)
    positive = any(word in jax.tree_util.keystr(path) for word in ("variance", ".nu"))
    return jnp.asarray(noise**2 + 0.5 if positive else noise, leaf.dtype)

  step = config.num_iterations if step is None else step
  state = jax.tree_util.tree_map_with_path(drawn, shapes)
  state = state.replace(step=jnp.asarray(step, jnp.int32))
  folder.mkdir(parents=True, exist_ok=True)
  checkpoints = Checkpoints(folder / states.CHECKPOINTS)
  checkpoints.save(step, state, {"seconds": 0.0})
  checkpoints.close()
  (folder / states.CONFIG).write_text(configuration.to_json(config))
  (folder / states.DATA).write_text(json.dumps({"class_names": classes}))
  return state


def write_cascade(folder, load_config, stages):
  """Writes runs of the stages 1..`stages` into one folder; returns the last config."""
  last = None
  for stage in range(1, stages + 1):
    changes = {"model__earlier_run": str(folder / f"stage{stage - 1}")} if stage > 1 else {}
    last = config(load_config, stage, **changes)
    write_run(folder / f"stage{stage}", last)
    if stage > 1:
      gan = registry.build(last)
      mesh = meshes.make_mesh(jax.devices()[:1])
      _, record = earlier.for_training(last, gan, folder / f"stage{stage}", CLASSES, mesh)
      earlier.write_record(folder / f"stage{stage}", record)
  return last
