"""Precision policy: which numbers are kept and computed in which type.

Parameters, optimizer, sigma, batch statistics, softmax, losses and moving averages are float32 (or
wider) under every policy. "bfloat16" lets activations and convolutions be bfloat16; "float32" turns
everything back, at the matrix units' full precision; "float64" is for numerical tests and needs
`jax_enable_x64`; "auto" is bfloat16 on accelerators and float32 on CPU.
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
  """Types of one policy; `precision` goes to convolutions and matrix products."""

  name: str
  dtype: Any
  param_dtype: Any
  precision: Any


def policy(name: str, platform: str) -> Precision:
  """Returns a policy.

  Args:
    name: of `POLICIES`.
    platform: what "auto" depends on; see `mesh.platform`.

  Raises:
    UserError: on an unknown name, or "float64" without `jax_enable_x64`.
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
  """Raises UserError where JAX computes in 64 bits and the policy `name` does not.

  JAX would draw random numbers in 64 bits then, so that a run would go on with other numbers than
  it began with.
  """
  if _CONFIG.jax_enable_x64 and name != "float64":
    raise UserError(
      f"JAX computes in 64 bits (JAX_ENABLE_X64 or jax_enable_x64), config.precision is {name}: "
      "the random numbers would be others than in 32 bits; set JAX_ENABLE_X64=0, or in a program "
      "of your own call this within jax.enable_x64(False)"
    )
