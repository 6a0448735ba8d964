"""Tiny cascades of stages: 8, 16 and 32 pixels, for the tests of SSW-GAN."""

from vidgan_jax.runtime.config import schema

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
