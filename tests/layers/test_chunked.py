"""Layers in chunks equal the same layers without: values, statistics and gradients."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from vidgan_jax.layers import chunked
from vidgan_jax.layers.attention import SeparableAttention
from vidgan_jax.layers.normalization import COLLECTION
from vidgan_jax.layers.residual import generator_block, to_rgb
from vidgan_jax.layers.separable import separable_block
from vidgan_jax.layers.settings import LayerSettings

BATCH, WIDTH = 4, 4


class Block(nn.Module):
  """A generator block, with the settings' rematerialisation."""

  settings: LayerSettings
  options: tuple = ()

  @nn.compact
  def __call__(self, x, condition, train):
    block = generator_block(self.settings)
    return block(settings=self.settings, name="block", **dict(self.options))(x, condition, train)


class Tail(nn.Module):
  """The end of a generator."""

  settings: LayerSettings

  @nn.compact
  def __call__(self, x, condition, train):
    del condition
    return to_rgb(self, self.settings, "per_step", x, train)


class Attention(nn.Module):
  """Separable attention."""

  settings: LayerSettings

  @nn.compact
  def __call__(self, x, condition, train):
    del condition
    number = chunked.count(self, self.settings, x, train)
    if number == 1:
      return SeparableAttention(self.settings, name="attention")(x)
    layer = SeparableAttention(self.settings, name="attention", parent=None)
    return chunked.apply(self, layer, x, number)


class Separable(nn.Module):
  """A block over time, with the settings' rematerialisation."""

  settings: LayerSettings
  statistics: str = "per_step"

  @nn.compact
  def __call__(self, x, condition, train):
    layer = separable_block(self.settings)
    return layer(self.settings, self.statistics, name="time")(x, condition, train)


def block(**options):
  return functools.partial(Block, options=tuple({"features": WIDTH, **options}.items()))


LAYERS = {
  "keeps size and width": block(),
  "narrows": block(features=3),
  "upsamples": block(features=3, upsample=True),
  "upsamples with a convolved shortcut": block(upsample=True),
  "upsamples with a bare shortcut": block(upsample=True, bare_upsampling=True, epsilon=0.1),
  "statistics of all frames": block(statistics="shared"),
  "no condition": block(upsample=True),
  "classes": block(num_classes=5),
  "tail": Tail,
  "attention": Attention,
  "block over time": Separable,
  "block over time, statistics of all frames": functools.partial(Separable, statistics="shared"),
}


@pytest.mark.parametrize("remat", ["none", "conv_outputs", "block_inputs"])
@pytest.mark.parametrize("name", LAYERS)
def test_chunks_equal_the_batch(x64, wide, draw, normal, assert_close, name, remat):
  x, condition = normal((BATCH, 2, 4, 2, WIDTH)), normal((BATCH, 3), 1)
  if name == "no condition":
    condition = None
  if name == "classes":
    condition = jax.numpy.asarray([0, 4, 1, 4])
  params = draw(LAYERS[name](wide()), x, condition, True)
  kept = draw(LAYERS[name](wide(remat=remat, chunks=2)), x, condition, True)
  assert_close(kept, params)

  def run(settings, params, x, condition, train=True):
    layer = LAYERS[name](settings)

    def scalar(params, x, condition):
      out, reported = layer.apply({"params": params}, x, condition, train, mutable=[COLLECTION])
      return jnp.sum(jnp.sin(out)), (out, reported)

    varied = (0, 1, 2) if name not in ("no condition", "classes") else (0, 1)
    return jax.grad(scalar, argnums=varied, has_aux=True)(params, x, condition)

  plain, split = (functools.partial(run, wide(remat=remat, chunks=chunks)) for chunks in (1, 2))
  assert_close(jax.jit(split)(params, x, condition), jax.jit(plain)(params, x, condition), 1e-10)
  loops = [str(jax.make_jaxpr(f)(params, x, condition)).count("scan[") for f in (plain, split)]
  assert loops[0] == 0 < loops[1]


def test_only_training_batches_that_the_chunks_divide_are_split(wide, normal):
  layer = Tail(wide(chunks=3))
  for x, train, number in ((6, True, 3), (4, True, 1), (6, False, 1)):
    assert chunked.count(layer.bind({}), layer.settings, normal((x, 2)), train) == number
