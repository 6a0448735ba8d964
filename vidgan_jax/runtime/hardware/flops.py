"""How much work a function is, counted without running or compiling it.

A FLOP is a multiplication or an addition; one multiply-add is two. Only convolutions and dot
products are counted: in the networks here everything else is below one percent, and bound by memory
rather than arithmetic.
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
  (r"^TPU v3$", 61.5e12),
  (r"^TPU v4$", 275e12),
  (r"^TPU (v5e|v5 lite|v5litepod)$", 197e12),
  (r"^TPU (v5p|v5)$", 459e12),
  (r"^TPU (v6e|v6 lite)$", 918e12),
)
# How often their bodies run, or what they do, the equation alone does not tell.
_REFUSED = ("shard_map", "pallas_call", "ragged_dot_general", "custom_linear_solve")


def count(function, *args, padding: bool = True) -> int:
  """FLOPs of all convolutions and dot products in function(*args).

  The function is traced, neither compiled nor run, so full-size networks take a second. Bodies of
  `scan` count times their length, of the branches of `cond` the most expensive one. Convolutions
  are counted dense, the way papers count: every tap of the window at every output, those that fall
  on padding too, unless `padding` is off (XLA's own cost analysis leaves these out, and counts a
  scan's body once); zeros that dilation inserts are not work. Work whose result is not used counts
  as long as JAX keeps it in the trace. Factorisations (QR, SVD) are not counted.

  Args:
    function: a JAX function.
    *args: pytrees of arrays or of `jax.ShapeDtypeStruct`.
    padding: count taps that fall on padding.

  Returns:
    FLOPs, 2 x multiply-adds.

  Raises:
    ValueError: on a `while` loop with such work inside, whose number of rounds is unknown, and on
      primitives that hide theirs (`shard_map`, Pallas kernels, ragged products, linear solvers).
  """
  return count_jaxpr(jax.make_jaxpr(function)(*args).jaxpr, padding=padding)


def count_jaxpr(jaxpr, *, padding: bool = True) -> int:
  """FLOPs of a function traced already, a `jax.extend.core.Jaxpr`; see `count`."""
  return sum(_equation(equation, padding) for equation in jaxpr.eqns)


def inner_jaxprs(equation) -> list:
  """The functions inside one equation (`jax.extend.core.Jaxpr`): bodies of loops, branches, calls.

  `jax.extend.core.jaxprs_in_params` does the same, in some versions of JAX.
  """
  values = []
  for value in equation.params.values():
    values += value if isinstance(value, (list, tuple)) else [value]
  # Where JAX closes a function over its constants, the function itself is inside.
  return [getattr(value, "jaxpr", value) for value in values if hasattr(value, "eqns")]


def peak_flops(device=None) -> float | None:
  """Dense half-precision FLOP/s of one JAX device, to measure utilisation against.

  Sources: H200 790e12, a matmul of random bfloat16 numbers measured on such a card (its data sheet
  says 989e12); H100 (SXM) 989e12, A100 312e12 and V100 125e12 (float16, it has no bfloat16) are
  NVIDIA's data sheets; TPU v4 275e12, v5e 197e12, v5p 459e12 and v6e 918e12 per chip, Google's
  Cloud TPU pages; TPU v3 123e12 per chip of two cores, each of which is a JAX device: 61.5e12.

  Args:
    device: a `jax.Device`, of which `device_kind` is read; by default the first one here.

  Returns:
    FLOP/s, or None for a CPU and every device not in this list.
  """
  kind = (device or jax.devices()[0]).device_kind
  for pattern, peak in _PEAKS:
    if re.search(pattern, kind, re.IGNORECASE):
      return peak
  return None


def _equation(equation, padding) -> int:
  """FLOPs of one equation, with those of the functions inside it."""
  name, params = equation.primitive.name, equation.params
  if name == "conv_general_dilated":
    return _convolution(equation) if padding else _convolution_inside(equation)
  if name == "dot_general":
    (contracted, _), _ = params["dimension_numbers"]
    shape = equation.invars[0].aval.shape
    return 2 * equation.outvars[0].aval.size * math.prod(shape[axis] for axis in contracted)
  if name in _REFUSED:
    raise ValueError(f"cannot count the FLOPs of {name}")
  inner = [count_jaxpr(jaxpr, padding=padding) for jaxpr in inner_jaxprs(equation)]
  if name == "scan":
    return params["length"] * sum(inner)
  if name == "cond":
    return max(inner)
  if name == "while" and any(inner):
    raise ValueError("cannot count the FLOPs of a while loop: its number of rounds is unknown")
  return sum(inner)


def _convolution(equation) -> int:
  """Output size x window x input channels per group x 2, less the zeros of a dilated input."""
  _, kernel = (variable.aval.shape for variable in equation.invars)
  _, channels, *window = equation.params["dimension_numbers"].rhs_spec
  taps = math.prod(kernel[axis] for axis in window)
  # An input dilated by d (the gradient of a convolution with stride d) is zero but at 1/d of its
  # positions.
  inserted = math.prod(equation.params["lhs_dilation"])
  return 2 * equation.outvars[0].aval.size * taps * kernel[channels] // inserted


def _convolution_inside(equation) -> int:
  """As `_convolution`, but only taps that meet a number of the input."""
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
    place = np.arange(positions)[:, None] * stride + np.arange(taps) * spread - low
    inside = (place >= 0) & (place <= (size - 1) * inserted) & (place % inserted == 0)
    pairs *= int(np.sum(inside))
  batch = equation.outvars[0].aval.shape[layout.out_spec[0]]
  return 2 * pairs * batch * kernel[outputs] * kernel[channels]
