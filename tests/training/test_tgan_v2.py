"""TGANv2 in training: micro-batches, and batches that its levels cannot share."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.layers import normalization
from vidgan_jax.models import registry, tgan_v2
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import loop, optimizers, passes
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration

# Numbers of the clips of a batch. Levels of the whole batch and of its two micro-batches (clips at
# even and at odd positions) then have the same clips, each as often.
CLIPS = np.array([0, 1, 1, 5, 1, 3, 3, 6, 1, 2, 2, 7, 2, 4, 4, 8])


@pytest.fixture(scope="module")
def small(load_config):
  """A function (**changes) that returns a config with four levels and three subsampling layers."""

  def build(**changes):
    config = load_config("tgan_v2", "shapes,runlocal")
    fields = {
      "precision": "float64",
      "batch_size": 16,
      "model.num_classes": 9,
      "model.resolution": 16,
      "model.levels": 4,
      "model.subsampling.layers": 3,
      "model.generator.multipliers": (1, 1, 1, 1),
      "model.generator.channels": 2,
      "model.generator.lstm_channels": 2,
      "model.discriminator.multipliers": (1, 2),
    }
    with config.unlocked():
      schema.set_fields(config, fields | changes)
    return config

  return build


@dataclasses.dataclass(frozen=True, eq=False)
class Given(tgan_v2.TganV2):
  """Latents follow from the labels, which number the clips; real clips have no offsets in time."""

  def generated_inputs(self, key, batch, context):
    label = batch["label"]
    z = jnp.sin(1 + label[:, None] * jnp.arange(1, self.latent_dim + 1))
    return {"label": label, "z": z}

  def generate(self, variables, latents, inputs, key, train, frames=None):
    return super().generate(variables, {"z": inputs["z"]}, inputs, key, train, frames)

  def time_offsets(self, key, batch_size):
    return jnp.zeros((batch_size, self.subsampling.layers), jnp.int32)


def test_two_micro_batches_are_the_batch(x64, small, assert_close, monkeypatch):
  """16 clips at once and in two groups of 8, where nothing is drawn or normalised over a group."""
  key = passes.Update.key
  monkeypatch.setattr(passes.Update, "key", lambda self, stream, index=None: key(self, stream))

  def fixed(module, x, statistics, train, known=None):
    shape = (1, 1, 1, 1, x.shape[-1])
    return jnp.full(shape, 0.1, x.dtype), jnp.full(shape, 0.5, x.dtype)

  monkeypatch.setattr(normalization, "_moments", fixed)
  results = []
  for microbatch in (0, 8):
    config = small(microbatch=microbatch)
    plain = registry.build(config)
    fields = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
    gan = Given(**fields)
    transforms = optimizers.build(config, gan.discriminators)
    create = functools.partial(states.create, gan, transforms, config.seed)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 16, 16, 3), dtype=np.uint8)
    batch = {"clip": pixels[CLIPS][None], "label": CLIPS[None].astype(np.int32)}
    results.append(jax.jit(Iteration(gan, transforms, config))(jax.jit(create)(), batch))
  (whole, metrics), (in_two, metrics_of_two) = results
  # Adam turns gradients that are rounding into full steps: its moments, here the gradients and
  # their squares (beta1 is 0), are compared instead of what it makes of them.
  moments = lambda state: [n.optimizer for n in (state.generator, *state.discriminators.values())]
  assert_close(moments(in_two), moments(whole), 1e-11)
  losses = lambda metrics: {n: v for n, v in metrics.items() if n.startswith("loss/")}
  assert_close(losses(metrics_of_two), losses(metrics), 1e-11)
  assert float(metrics["loss/discriminator/r1_level4"]) > 0


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"batch_size": 12}, "batch_size 12 gives each of 1 devices 12 clips at a time; this model "),
    ({"batch_size": 8, "microbatch": 4}, "microbatch 4 gives each of 1 devices 4 clips at a time"),
  ],
)
def test_batches_that_levels_cannot_share_are_refused(small, tmp_path, changes, words):
  config = small(precision="float32", **changes)
  with pytest.raises(UserError, match=words):
    loop.Trainer(config, tmp_path / "run", devices=jax.devices()[:1], report=lambda line: None)
  assert not (tmp_path / "run").exists()
  for refuses in (summary.summarize, lambda config: states.placement(config, 1)):
    with pytest.raises(UserError, match="this model needs a multiple of 8"):
      refuses(config)
  with pytest.raises(UserError, match="gives each of 2 devices 4 clips at a time"):
    states.placement(small(precision="float32", batch_size=8), 2)
