import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidgan_jax.layers import normalization
from vidgan_jax.layers.residual import (
  DiscriminatorBlock,
  GeneratorBlock,
  PlainBlock3D,
  discriminator_block,
  generator_block,
)
from vidgan_jax.layers.settings import LayerSettings, rematerialised
from vidgan_jax.runtime.errors import UserError

BATCH_STATS = normalization.COLLECTION


def generator_reference(reference, params, x, condition, upsample, statistics):
  """BigGAN's wide block on [B, T, H, W, C]."""
  convolve = lambda name, a: reference.convolve(a, params[name]["kernel"], params[name]["bias"])

  def norm(name, a):
    gain = 1 + condition @ params[name]["gain"]["kernel"]
    return reference.batch_norm(a, gain, condition @ params[name]["bias"]["kernel"], statistics)

  grow = reference.repeat if upsample else lambda a: a
  out = convolve("conv1", grow(reference.relu(norm("norm1", x))))
  out = convolve("conv2", reference.relu(norm("norm2", out)))
  shortcut = grow(x)
  if "shortcut" in params:
    shortcut = convolve("shortcut", shortcut)
  return out + shortcut


@pytest.mark.parametrize("ops", ["folded", "plain"])
@pytest.mark.parametrize(
  ("features", "upsample", "statistics", "has_shortcut"),
  [
    (3, True, "per_step", True),
    (4, True, "shared", True),
    (4, False, "per_step", False),
    (3, False, "per_step", True),
  ],
)
def test_generator_block_equals_numpy(
  x64,
  wide,
  draw,
  normal,
  reference,
  assert_close,
  features,
  upsample,
  statistics,
  has_shortcut,
  ops,
):
  x, condition = normal((2, 2, 3, 2, 4)), 0.5 * normal((2, 5), 1)
  module = GeneratorBlock(features, wide(ops=ops), upsample, statistics)
  params = draw(module, x, condition, True)
  norms = {"norm1", "norm2"}
  windows = {"conv1": (3, 3), "conv2": (3, 3)} | ({"shortcut": (1, 1)} if has_shortcut else {})
  actual = {name: params[name]["kernel"].shape[:-2] for name in params if name not in norms}
  assert actual == windows
  run = lambda p, *a: module.apply({"params": p}, *a, True, mutable=[BATCH_STATS])
  out, reported = jax.jit(run)(params, x, condition)
  assert_close(
    out, generator_reference(reference, params, x, condition, upsample, statistics), 1e-10
  )
  assert set(reported[BATCH_STATS]) == norms


def discriminator_reference(reference, params, x, pool, preactivation):
  """BigGAN's discriminator block; the input of the shortcut is x, not its ReLU."""
  convolve = lambda name, a: reference.convolve(a, params[name]["kernel"], params[name]["bias"])
  out = convolve("conv1", reference.relu(x) if preactivation else x)
  out = reference.average(convolve("conv2", reference.relu(out)), pool)
  shortcut = convolve("shortcut", x) if "shortcut" in params else x
  return out + reference.average(shortcut, pool)


BLOCKS = [
  # dimensions, pooling, shape, features
  (2, (2, 2), (2, 2, 4, 6, 3), 4),
  (2, (2, 2), (2, 2, 5, 3, 5), 5),
  (2, (2, 2), (2, 2, 1, 1, 3), 4),
  (2, (), (2, 2, 3, 2, 3), 4),
  (2, (), (2, 2, 3, 2, 5), 5),
  (3, (2, 2, 2), (2, 4, 2, 4, 3), 2),
  (3, (2, 2, 2), (2, 3, 5, 3, 2), 3),
  (3, (2, 2, 2), (2, 1, 4, 3, 2), 3),
  (3, (1, 2, 2), (2, 3, 4, 3, 2), 3),
  (3, (), (2, 3, 2, 2, 3), 3),
]


@pytest.mark.parametrize("preactivation", [True, False])
@pytest.mark.parametrize(("dimensions", "pool", "shape", "features"), BLOCKS)
def test_discriminator_block_equals_numpy(
  x64, wide, draw, normal, reference, assert_close, dimensions, pool, shape, features, preactivation
):
  x = normal(shape)
  modules = [
    DiscriminatorBlock(features, wide(ops=ops), pool, preactivation, dimensions)
    for ops in ("folded", "plain")
  ]
  params = draw(modules[0], x)
  windows = {"conv1": (3,) * dimensions, "conv2": (3,) * dimensions}
  if pool or features != shape[-1]:
    windows["shortcut"] = (1,) * dimensions
  assert {name: leaves["kernel"].shape[:-2] for name, leaves in params.items()} == windows
  run = jax.jit(lambda p, x: [module.apply({"params": p}, x) for module in modules])
  expected = discriminator_reference(reference, params, x, pool, preactivation)
  for out in run(params, x):
    assert_close(out, expected)


@pytest.mark.parametrize("shape", [(2, 4, 4, 2, 3), (2, 3, 5, 4, 2), (2, 1, 2, 2, 3)])
def test_plain_3d_block_equals_numpy(x64, wide, draw, normal, reference, assert_close, shape):
  x, module = normal(shape), PlainBlock3D(4, wide())
  shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x))
  assert set(shapes) == {"params"}, "no spectral normalisation"
  params = draw(module, x)["conv"]
  dense = reference.convolve(x, params["kernel"], params["bias"])
  out = jax.jit(lambda p, x: module.apply({"params": {"conv": p}}, x))(params, x)
  assert out.shape == (2, *(-(-size // 2) for size in shape[1:4]), 4)
  assert_close(out, reference.relu(dense[:, ::2, ::2, ::2]))


def run_block(settings, kind, params, x, condition, factors):
  """A block's output, statistics, and gradients for its parameters, input and condition."""

  def scalar(params, x, condition):
    if kind == "generator":
      module = generator_block(settings)(3, settings, True)
      out, reported = module.apply({"params": params}, x, condition, True, mutable=[BATCH_STATS])
    else:
      module = discriminator_block(settings)(3, settings, (2, 2))
      out, reported = module.apply({"params": params}, x), {}
    return jnp.sum(out * factors), (out, reported)

  return jax.grad(scalar, argnums=(0, 1, 2), has_aux=True)(params, x, condition)


@pytest.mark.parametrize("remat", ["conv_outputs", "block_inputs"])
@pytest.mark.parametrize("kind", ["generator", "discriminator"])
def test_rematerialisation_changes_no_numbers(x64, wide, draw, normal, assert_close, kind, remat):
  x, condition = normal((2, 2, 4, 2, 2)), normal((2, 3), 1)
  if kind == "generator":
    params = draw(GeneratorBlock(3, wide(), True), x, condition, True)
    factors = normal((2, 2, 8, 4, 3), 2)
  else:
    params = draw(DiscriminatorBlock(3, wide(), (2, 2)), x)
    factors = normal((2, 2, 2, 1, 3), 2)
  plain, saving = (
    functools.partial(run_block, wide(remat=name, ops="plain"), kind) for name in ("none", remat)
  )
  arguments = (params, x, condition, factors)
  assert_close(jax.jit(saving)(*arguments), jax.jit(plain)(*arguments))
  counts = [
    str(jax.make_jaxpr(f)(*arguments)).count("conv_general_dilated") for f in (plain, saving)
  ]
  # Convolutions are computed again only if their outputs are not stored.
  assert (counts[1] > counts[0]) == (remat == "block_inputs")
  text = str(jax.make_jaxpr(saving)(*arguments))
  assert "remat" in text and "optimization_barrier" in text


class Scaled(nn.Module):
  """A layer with an argument that has a name."""

  @nn.compact
  def __call__(self, x, scale=1.0):
    return scale * nn.Dense(2)(x)


def test_a_rematerialised_module_takes_names_of_arguments_and_keeps_its_own(normal):
  saved = rematerialised(Scaled, LayerSettings(remat="block_inputs"))
  x, plain = normal((2, 3)), Scaled()
  variables = plain.init(jax.random.key(0), x)
  expected = plain.apply(variables, x, scale=5.0)
  np.testing.assert_allclose(saved().apply(variables, x, scale=5.0), expected, rtol=1e-6)
  assert saved.__name__ == nn.remat(Scaled).__name__


def test_unknown_rematerialisation_is_refused():
  with pytest.raises(UserError, match="unknown remat policy 'all'; known: none, block_inputs, co"):
    generator_block(LayerSettings(remat="all"))


def test_blocks_normalise_by_running_moments_outside_training(
  x64, wide, draw, normal, assert_close
):
  """Each norm reads its statistics, not the other's; also in rematerialised blocks."""
  x, condition = normal((2, 2, 2, 2, 3)), normal((2, 3), 1)
  for remat in ("none", "conv_outputs"):
    settings = wide(remat=remat)
    module = generator_block(settings)(4, settings)
    params = draw(GeneratorBlock(4, settings), x, condition, True)
    run = lambda p, *a, m=module: m.apply({"params": p}, *a, True, mutable=[BATCH_STATS])
    out, reported = jax.jit(run)(params, x, condition)
    evaluate = lambda v, *a, m=module: m.apply(v, *a, False)
    assert_close(jax.jit(evaluate)({"params": params, **reported}, x, condition), out)
