"""Precision policies: the number types of parameters and activations.

Parameters, optimizer, sigma (of spectral normalisation), batch statistics, softmax, losses and
moving averages are float32 or wider under every policy. The policies:

  bfloat16  activations and convolutions in bfloat16
  float32   everything in float32, at full precision on matrix units
  float64   for numerical tests; needs `jax_enable_x64`
  auto      bfloat16 on accelerators, float32 on CPU
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.runtime.errors import UserError

_CONFIG: Any = jax.config  # its options are defined at run time
POLICIES = ("auto", "bfloat16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class Precision:
  """The types of one policy.

  Attributes:
    name: of the policy, never "auto".
    dtype: type of activations.
    param_dtype: type of parameters.
    precision: the argument `precision` of convolutions and matrix products.
  """

  name: str
  dtype: Any
  param_dtype: Any
  precision: Any


def policy(name: str, platform: str) -> Precision:
  """Returns a policy.

  Args:
    name: one of `POLICIES`.
    platform: kind of devices, which decides "auto"; see `mesh.platform`.

  Raises:
    UserError: the name is unknown, or it is "float64" without `jax_enable_x64`.
  """
  if name not in POLICIES:
    raise UserError(f"unknown precision {name!r}; known: {', '.join(POLICIES)}")
  if name == "auto":
    name = "float32" if platform == "cpu" else "bfloat16"
  if name == "bfloat16":
    return Precision(name, jnp.bfloat16, jnp.float32, None)
  if name == "float64" and not _CONFIG.jax_enable_x64:
    raise UserError("precision float64 needs JAX_ENABLE_X64=1")
  dtype = jnp.float64 if name == "float64" else jnp.float32
  return Precision(name, dtype, dtype, jax.lax.Precision.HIGHEST)


def check_width(name: str) -> None:
  """Raises UserError if JAX computes in 64 bits and the policy `name` does not.

  JAX then draws different random numbers, so a run that resumes would differ from its beginning.
  """
  if _CONFIG.jax_enable_x64 and name != "float64":
    raise UserError(
      f"JAX computes in 64 bits (JAX_ENABLE_X64 or jax_enable_x64), but config.precision is "
      f"{name}: random numbers would differ from those in 32 bits; set JAX_ENABLE_X64=0, or, in "
      "your own program, call this within jax.enable_x64(False)"
    )
