"""Forms of a convolution that XLA computes faster on CPU, all equal to it.

XLA takes a convolution in 3-D, one on a small map and the gradient by a kernel at a part of the
speed that it has for convolutions in 2-D and for matrix products. So here, measured on two cores
(benchmarks/README.md):

- one in 3-D is one in 2-D over all frames, the places of its window in depth side by side as
  channels, or with many channels a sum of products, one for each place of the window;
- one on few pixels is a single product;
- the gradient by a kernel is a sum of products, or with few channels a convolution in 2-D with a
  window as large as the map.
"""

import contextlib
import contextvars
import functools
import itertools
import math

import jax
import jax.numpy as jnp

_SPATIAL = "DHW"
# Measured on two CPU cores: on so few pixels a convolution is at a tenth of a product's speed; in
# smaller ones (multiply-adds) the products' gain is lost on what they take to compile.
_FEW_PIXELS = 16
_WORTH_IT = {"few pixels": 2**22, "many pixels": 2**27}
# Up to so many channels on both sides a kernel's gradient is a convolution after all: to copy what
# every tap sees takes longer than the narrow products of it do.
_NARROW = 64
_SHALLOW = 128  # with more channels in, the products of every tap are as fast as 2-D convolutions

_traced_for = contextvars.ContextVar("traced_for", default=None)


@contextlib.contextmanager
def traced_for(platform: str):
  """Inside, convolutions take the forms for `platform`, "cpu" or "gpu", whatever is here.

  For counting the work of a program that will run elsewhere.
  """
  token = _traced_for.set(platform)
  try:
    yield
  finally:
    _traced_for.reset(token)


_forward_mode = contextvars.ContextVar("forward_mode", default=False)


@contextlib.contextmanager
def forward_mode():
  """Inside, all convolutions have derivatives of either mode and any order, as products too."""
  token = _forward_mode.set(True)
  try:
    yield
  finally:
    _forward_mode.reset(token)


def in_forward_mode() -> bool:
  """Whether what is traced now is traced within `forward_mode`."""
  return _forward_mode.get()


def _on_cpu() -> bool:
  """Whether what is traced now is meant for a CPU."""
  return (_traced_for.get() or jax.default_backend()) == "cpu"


def _few_pixels(x) -> bool:
  """Whether the maps of x [N, *spatial, in] are small."""
  return math.prod(x.shape[1:-1]) <= _FEW_PIXELS


def worth_it(x, kernel) -> bool:
  """Whether a convolution of x [N, *spatial, in] is for a CPU and is faster in another form."""
  kind = "few pixels" if _few_pixels(x) else "many pixels"
  work = math.prod(x.shape[:-1]) * kernel.size
  return _on_cpu() and work >= _WORTH_IT[kind]


def convolution(x, kernel, strides, padding, precision):
  """XLA's own, of x [N, *spatial, in] and a kernel [*window, in, out]."""
  axes = _SPATIAL[-(kernel.ndim - 2) :]
  layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
  return jax.lax.conv_general_dilated(
    x, kernel, strides, padding, dimension_numbers=layout, precision=precision
  )


def convolution_on_cpu(x, kernel, padding, precision):
  """A convolution of x [N, *spatial, in] and a kernel [*window, in, out] in its fastest form.

  Args:
    x: activations.
    kernel: in the type of `x`.
    padding: (low, high) pairs.
    precision: see `jax.lax.Precision`.

  Returns:
    [N, *spatial', out], with derivatives in reverse mode; in either within `forward_mode`.
  """
  form = _products if _forward_mode.get() else _convolution
  return form(x, kernel, tuple(map(tuple, padding)), precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolution(x, kernel, padding, precision):
  """A convolution of x [N, *spatial, in] in the form that is the fastest on CPU."""
  rank = kernel.ndim - 2
  if _few_pixels(x) or (rank == 3 and x.shape[-1] > _SHALLOW):
    return _products(x, kernel, padding, precision)
  if rank == 2:
    return convolution(x, kernel, (1,) * rank, padding, precision)
  frames = _depth_as_channels(x, kernel.shape[0], padding[0])
  flat = frames.reshape(-1, *frames.shape[2:])
  kernel = jnp.moveaxis(kernel, 0, 2)
  kernel = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
  out = convolution(flat, kernel, (1, 1), padding[1:], precision)
  return out.reshape(*frames.shape[:2], *out.shape[1:])


def _depth_as_channels(x, depth, padding):
  """What each of `depth` taps in depth sees of x [N, D, H, W, C]: [N, D', H, W, depth * C]."""
  padded = jnp.pad(x, ((0, 0), padding, (0, 0), (0, 0), (0, 0)))
  size = padded.shape[1] - depth + 1
  return jnp.concatenate([padded[:, tap : tap + size] for tap in range(depth)], axis=-1)


def _products(x, kernel, padding, precision):
  """A convolution of x [N, *spatial, in] as matrix products."""
  seen = seen_by_taps(x, kernel.shape[:-2], padding)
  taps = kernel.reshape(-1, *kernel.shape[-2:])
  if _few_pixels(x):
    flat = taps.reshape(-1, taps.shape[-1])
    return _product(jnp.concatenate(seen, axis=-1), flat, precision).astype(x.dtype)
  total = sum(_product(s, tap, precision) for s, tap in zip(seen, taps, strict=True))
  return total.astype(x.dtype)


def gradients(padding, precision, residuals, cotangent):
  """Those of `convolution_on_cpu` by its (x, kernel), which are `residuals`."""
  x, kernel = residuals
  *window, inputs, outputs = kernel.shape
  back = tuple(
    (size - 1 - low, size - 1 - high) for size, (low, high) in zip(window, padding, strict=True)
  )
  mirrored = jnp.flip(kernel, tuple(range(len(window)))).swapaxes(-1, -2)
  by_x = _convolution(cotangent, mirrored, back, precision)
  if not _few_pixels(x) and max(inputs, outputs) <= _NARROW:
    by_kernel = _narrow_kernel_gradient(x, cotangent, window, padding, precision)
    return by_x, by_kernel.astype(kernel.dtype)
  flat = lambda a: a.reshape(-1, a.shape[-1])
  product = lambda a, b: _product(flat(a).T, flat(b), precision)
  if outputs < inputs:  # the narrower of the two is shifted
    seen = reversed(seen_by_taps(cotangent, window, back))
    by_kernel = product(x, jnp.concatenate([*seen], axis=-1))
    by_kernel = jnp.moveaxis(by_kernel.reshape(inputs, *window, outputs), 0, -2)
  else:
    seen = seen_by_taps(x, window, padding)
    by_kernel = jnp.stack([product(each, cotangent) for each in seen])
  return by_x, by_kernel.reshape(kernel.shape).astype(kernel.dtype)


def _narrow_kernel_gradient(x, cotangent, window, padding, precision):
  """The gradient by a kernel as a convolution in 2-D, whose window is as large as the map."""
  *depth, _, _ = window
  if depth:
    x = _depth_as_channels(x, depth[0], padding[0])
    x, cotangent = (a.reshape(-1, *a.shape[2:]) for a in (x, cotangent))
  gradient = jax.lax.conv_general_dilated(
    x,
    cotangent,
    (1, 1),
    padding[-2:],
    dimension_numbers=("CHWN", "IHWO", "HWNC"),  # it sums over examples: they are its channels
    precision=precision,
    preferred_element_type=jnp.promote_types(jnp.float32, x.dtype),
  )
  if depth:
    gradient = gradient.reshape(*window[-2:], depth[0], -1, cotangent.shape[-1])
    gradient = jnp.moveaxis(gradient, 2, 0)
  return gradient


_convolution.defvjp(
  lambda x, kernel, padding, precision: (
    _convolution(x, kernel, padding, precision),
    (x, kernel),
  ),
  gradients,
)


def _product(a, b, precision):
  """A matrix product summed, and left, in float32 at least."""
  wide = jnp.promote_types(jnp.float32, a.dtype)
  return jnp.dot(a, b, precision=precision, preferred_element_type=wide)


def seen_by_taps(x, window, padding):
  """What each tap of a window sees of x [N, *spatial, C]: one [N, *spatial', C] for each."""
  padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  sizes = [n - w + 1 for n, w in zip(padded.shape[1:-1], window, strict=True)]
  return [
    padded[(slice(None), *[slice(o, o + n) for o, n in zip(offset, sizes, strict=True)])]
    for offset in itertools.product(*map(range, window))
  ]
