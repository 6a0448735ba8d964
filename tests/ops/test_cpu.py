"""The forms for CPUs equal the plain convolution, and are used if a convolution is large."""

import jax
import jax.numpy as jnp
import pytest

from vidgan_jax.ops import cpu, forms
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding


@pytest.mark.parametrize(
  ("window", "shape", "features", "padding"),
  [
    ((3, 3), (2, 3, 5, 4, 3), 4, "SAME"),
    ((3, 3), (2, 3, 5, 4, 5), 2, "SAME"),  # fewer output channels than input channels
    ((2, 2), (3, 5, 4, 3), 3, ((1, 0), (0, 1))),
    ((2, 2), (3, 5, 4, 6), 2, ((1, 0), (0, 1))),
    ((2, 2), (3, 5, 6, 2), 4, "VALID"),
    ((3, 3), (2, 2, 2, 5), 4, "SAME"),  # few pixels
    ((3, 3), (2, 1, 1, 2), 4, "SAME"),
    ((1, 1), (2, 5, 6, 4), 3, "SAME"),
    ((3, 3, 3), (2, 3, 5, 4, 3), 4, "SAME"),
    ((2, 2, 2), (2, 3, 5, 4, 4), 3, "VALID"),
    ((2, 2, 2), (1, 3, 3, 3, 4), 4, "VALID"),
  ],
)
@pytest.mark.parametrize("few_channels", [64, 0])
def test_large_convolutions_are_exact(
  all_large, x64, normal, assert_close, monkeypatch, window, shape, features, padding, few_channels
):
  """Values, gradients, and the gradient of a gradient's norm, which R1 needs."""
  for limit in ("_NARROW", "_SHALLOW"):
    monkeypatch.setattr(cpu, limit, few_channels)
  x, kernel = normal(shape), normal((*window, shape[-1], features), 1)

  def everything(ops):
    convolve = lambda x, kernel: forms.get(ops).convolve(x, kernel, padding=padding)

    def scalar(x, kernel):
      out = convolve(x, kernel)
      return jnp.sum(out * factors.reshape(out.shape)), out

    def penalty(x, kernel):
      squared = lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel)))
      by_x, by_kernel = jax.grad(squared, argnums=(0, 1))(x, kernel)
      return jnp.sum(by_x**2) + jnp.sum(by_kernel**2)

    factors = normal((jax.eval_shape(convolve, x, kernel).size,), 2)
    first = jax.jit(jax.grad(scalar, argnums=(0, 1), has_aux=True))(x, kernel)
    return first, jax.jit(jax.grad(penalty, argnums=(0, 1)))(x, kernel)

  assert_close(everything("cpu"), everything("plain"))


def test_products_on_several_devices(all_large, x64, normal, assert_close):
  mesh = meshes.make_mesh()
  kernels = {name: normal((3, 3, 3, 3), seed) for seed, name in enumerate(("wide", "pooled", "up"))}
  kernels["deep"] = normal((3, 3, 3, 3, 4), 7)
  shards, x = sharding.shardings(kernels, mesh, "replicated"), normal((8, 4, 4, 6, 3), 9)

  def network(kernels, x, _, ops="cpu"):
    form = forms.get(ops)
    x = form.convolve(x, kernels["wide"])
    x = form.pooled_convolution(x, kernels["pooled"], (2, 2))
    x = form.upsampled_convolution(x, kernels["up"])
    return form.pooled_convolution(x, kernels["deep"], (2, 2, 2)), None

  def split(kernels, x):
    out, _ = meshes.on_each_device(network, mesh)(meshes.spread(kernels, shards), x, None)
    return jnp.sum(jnp.sin(out))

  plain = lambda kernels, x: jnp.sum(jnp.sin(network(kernels, x, None, "plain")[0]))
  gradients = [jax.jit(jax.grad(f, argnums=(0, 1)))(kernels, x) for f in (split, plain)]
  assert_close(*gradients)


def test_large_convolutions_alone_take_another_form():
  """Large convolutions, and smaller ones on few pixels, change; only in the form for CPUs."""

  def differs(ops, x, kernel):
    equations = jax.make_jaxpr(forms.get(ops).convolve)(x, kernel).jaxpr.eqns
    return any("custom_vjp" in equation.primitive.name for equation in equations)

  shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)
  assert differs("cpu", shape(24, 16, 16, 128), shape(3, 3, 128, 128))
  assert not differs("cpu", shape(24, 16, 16, 16), shape(3, 3, 16, 16))
  assert differs("cpu", shape(24, 4, 4, 128), shape(3, 3, 128, 128))
  assert not differs("cpu", shape(24, 4, 4, 16), shape(3, 3, 16, 16))
  for ops in ("plain", "folded"):
    assert not differs(ops, shape(24, 16, 16, 128), shape(3, 3, 128, 128))
