"""Counts the FLOPs of a function without compiling or running it.

A FLOP is a multiplication or an addition; one multiply-add is two. Only convolutions and dot
products are counted. In the networks here, all other operations are below one percent, and their
time depends on memory bandwidth rather than arithmetic.
"""

import math
import re

import jax
import numpy as np

# Dense half-precision peaks in FLOP/s of one JAX device; `peak_flops` names the sources.
_PEAKS = (
  (r"\bH200\b", 790e12),
  (r"\bH100\b", 989e12),
  (r"\bA100\b", 312e12),
  (r"\bV100\b", 125e12),
  (r"\bRTX 4090$", 165e12),
  (r"^TPU v3$", 61.5e12),
  (r"^TPU v4$", 275e12),
  (r"^TPU (v5e|v5 lite|v5litepod)$", 197e12),
  (r"^TPU (v5p|v5)$", 459e12),
  (r"^TPU (v6e|v6 lite)$", 918e12),
  (r"^TPU7x$", 1153.5e12),
)
# Primitives whose equation does not say what they compute, or how often.
_UNCOUNTABLE = ("shard_map", "pallas_call", "ragged_dot_general", "custom_linear_solve")


def count(function, *args, padding: bool = True) -> int:
  """FLOPs of all convolutions and dot products in function(*args).

  The function is traced, but neither compiled nor run; a full-size network takes a second. The body
  of a `scan` counts once per iteration, a `cond` as much as its most expensive branch. Convolutions
  are counted as papers count them: every tap of the kernel at every output position. This includes
  taps on padding, unless `padding` is False. It excludes the zeros that dilation inserts. (XLA's
  cost analysis excludes taps on padding, and counts the body of a scan once.) Results that are not
  used count if JAX keeps them in the trace. Factorisations (QR, SVD) are not counted.

  Args:
    function: a JAX function.
    *args: pytrees of arrays or of `jax.ShapeDtypeStruct`.
    padding: whether taps on padding count.

  Returns:
    FLOPs, two per multiply-add.

  Raises:
    ValueError: the function has a `while` loop with convolutions or dot products, whose number of
      iterations is unknown, or a primitive whose work is hidden (`shard_map`, Pallas kernels,
      ragged products, linear solvers).
  """
  return count_jaxpr(jax.make_jaxpr(function)(*args).jaxpr, padding=padding)


def count_jaxpr(jaxpr, *, padding: bool = True) -> int:
  """FLOPs of a function that is traced already, a `jax.extend.core.Jaxpr`; see `count`."""
  return sum(_equation(equation, padding) for equation in jaxpr.eqns)


def inner_jaxprs(equation) -> list:
  """The functions inside one equation: bodies of loops, branches and calls.

  `jax.extend.core.jaxprs_in_params` does the same, but not all versions of JAX have it.

  Returns:
    A list of `jax.extend.core.Jaxpr`.
  """
  values = []
  for value in equation.params.values():
    values += value if isinstance(value, (list, tuple)) else [value]
  # A ClosedJaxpr, a function with its constants, has the function in its attribute `jaxpr`.
  return [getattr(value, "jaxpr", value) for value in values if hasattr(value, "eqns")]


def peak_flops(device=None) -> float | None:
  """Dense half-precision FLOP/s of one JAX device, the reference for utilisation.

  Sources:
    H200 790e12: measured with a matmul of random bfloat16 numbers (its data sheet says 989e12).
    H100 (SXM) 989e12, A100 312e12, V100 125e12 (float16, as it has no bfloat16), RTX 4090 165e12
      (sums in float32): NVIDIA's data sheets.
    TPU v4 275e12, v5e 197e12, v5p 459e12, v6e 918e12 per chip: Google's Cloud TPU pages.
    TPU v3 61.5e12, TPU7x 1153.5e12: Google states 123e12 and 2307e12 per chip, and each of its two
      cores is a JAX device.

  Args:
    device: a `jax.Device`, whose `device_kind` is read; by default the first device of this
      process.

  Returns:
    FLOP/s, or None for CPUs and for devices that are not listed above.
  """
  kind = (device or jax.devices()[0]).device_kind
  for pattern, peak in _PEAKS:
    if re.search(pattern, kind, re.IGNORECASE):
      return peak
  return None


def _equation(equation, padding) -> int:
  """FLOPs of one equation, including the functions inside it."""
  name, params = equation.primitive.name, equation.params
  if name == "conv_general_dilated":
    return _convolution(equation) if padding else _convolution_inside(equation)
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
  if name in _UNCOUNTABLE:
    raise ValueError(f"cannot count the FLOPs of {name}")
  inner = [count_jaxpr(jaxpr, padding=padding) for jaxpr in inner_jaxprs(equation)]
  if name == "scan":
    return params["length"] * sum(inner)
  if name == "cond":
    return max(inner)
  if name == "while" and any(inner):
    raise ValueError("cannot count the FLOPs of a while loop: its number of iterations is unknown")
  return sum(inner)


def _convolution(equation) -> int:
  """2 x output size x kernel window x input channels per group, without zeros of dilation."""
  _, kernel = (variable.aval.shape for variable in equation.invars)
  _, channels, *window = equation.params["dimension_numbers"].rhs_spec
  taps = math.prod(kernel[axis] for axis in window)
  # Of an input dilated by d (as in the gradient of a convolution with stride d), only one position
  # in d is not zero.
  inserted = math.prod(equation.params["lhs_dilation"])
  return 2 * equation.outvars[0].aval.size * taps * kernel[channels] // inserted


def _convolution_inside(equation) -> int:
  """As `_convolution`, but without taps on padding."""
  data, kernel = (variable.aval.shape for variable in equation.invars)
  params = equation.params
  layout = params["dimension_numbers"]
  outputs, channels, *window = layout.rhs_spec
  rows = zip(
    (data[axis] for axis in layout.lhs_spec[2:]),
    (kernel[axis] for axis in window),
    (equation.outvars[0].aval.shape[axis] for axis in layout.out_spec[2:]),
    params["window_strides"],
    params["padding"],
    params["lhs_dilation"],
    params["rhs_dilation"],
    strict=True,
  )
  pairs = 1
  for size, taps, positions, stride, (low, _), inserted, spread in rows:
    # Position of each tap in the dilated input, [positions, taps].
    position = np.arange(positions)[:, None] * stride + np.arange(taps) * spread - low
    inside = (position >= 0) & (position <= (size - 1) * inserted) & (position % inserted == 0)
    pairs *= int(np.sum(inside))
  batch = equation.outvars[0].aval.shape[layout.out_spec[0]]
  return 2 * pairs * batch * kernel[outputs] * kernel[channels]
