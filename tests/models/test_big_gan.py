"""BigGAN at 128x128, built from the layers, has its published number of parameters.

70,433,988 and 87,982,370 are what google/compare_gan's tests give for ch 96, 1000 classes, z of 120
in six chunks, a shared embedding of 128 and attention at 64x64. Images are clips of one frame.
"""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from vidgan_jax.layers.attention import SelfAttention
from vidgan_jax.layers.convolution import Conv, Dense, Embed
from vidgan_jax.layers.heads import ProjectionHead
from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.residual import DiscriminatorBlock, GeneratorBlock
from vidgan_jax.layers.settings import LayerSettings

CLASSES, CHANNELS, SETTINGS = 1000, 96, LayerSettings()


class Generator(nn.Module):
  @nn.compact
  def __call__(self, z, label):
    embedding = Embed(CLASSES, 128, LayerSettings(spectral=False))(label)
    first, *chunks = jnp.split(z, 6, axis=-1)
    x = Dense(16 * 16 * CHANNELS, SETTINGS)(first).reshape(-1, 1, 4, 4, 16 * CHANNELS)
    for multiplier, chunk in zip((16, 8, 4, 2, 1), chunks, strict=True):
      condition = jnp.concatenate([embedding, chunk], axis=-1)
      x = GeneratorBlock(multiplier * CHANNELS, SETTINGS, upsample=True)(x, condition, True)
      if x.shape[2] == 64:
        x = SelfAttention("hw", SETTINGS, pool=True)(x)
    x = jax.nn.relu(BatchNorm(SETTINGS)(x, True))
    return jnp.tanh(Conv(3, (3, 3), SETTINGS)(x))


class Discriminator(nn.Module):
  @nn.compact
  def __call__(self, x, label):
    for index, multiplier in enumerate((1, 2, 4, 8, 16, 16)):
      pool = (2, 2) if index < 5 else ()
      x = DiscriminatorBlock(multiplier * CHANNELS, SETTINGS, pool, index > 0)(x)
      if x.shape[2] == 64:
        x = SelfAttention("hw", SETTINGS, pool=True)(x)
    return ProjectionHead(CLASSES, SETTINGS)(x, label)


@pytest.mark.parametrize(
  ("module", "example", "out", "parameters"),
  [
    (Generator(), jnp.zeros((2, 120)), (2, 1, 128, 128, 3), 70_433_988),
    (Discriminator(), jnp.zeros((2, 1, 128, 128, 3)), (2, 1), 87_982_370),
  ],
)
def test_parameters_are_those_published(module, example, out, parameters):
  label = jnp.zeros((2,), jnp.int32)
  run = lambda: module.init_with_output(jax.random.key(0), example, label)
  actual, variables = jax.eval_shape(run)
  assert actual.shape == out
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == parameters


def test_every_weight_but_the_shared_table_is_normalised():
  label = jnp.zeros((2,), jnp.int32)
  for module, example in (
    (Generator(), jnp.zeros((2, 120))),
    (Discriminator(), jnp.zeros((2, 1, 128, 128, 3))),
  ):
    variables = jax.eval_shape(lambda m=module, x=example: m.init(jax.random.key(0), x, label))
    paths = lambda tree: {jax.tree_util.keystr(p) for p, _ in jax.tree.leaves_with_path(tree)}
    weights = {path for path in paths(variables["params"]) if path.endswith(("kernel']", "ding']"))}
    expected = weights - ({"['Embed_0']['embedding']"} if module.__class__ is Generator else set())
    assert paths(variables["spectral"]) == expected
