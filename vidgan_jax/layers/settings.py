"""What every layer of a network shares: numerics, initialisation and the form of its arithmetic."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class LayerSettings:
  """Settings that every layer of a network gets unchanged.

  Attributes:
    spectral: declare a power-iteration vector for each weight (DVD-GAN A.3: "all weight layers").
    initializer: "orthogonal" (DVD-GAN A.3), "normal02" (N(0, 0.02), the thesis' Table 4.1),
      "normal01" (N(0, 0.01), VGAN's code), "lecun_normal" (N(0, 1 / fan in), Chainer's default),
      "uniform01" (U(-0.01, 0.01), TGAN's code), "fan_in_uniform" (U(-1, 1) / sqrt(fan in),
      PyTorch's default).
    dtype: type of activations and of the kernels they meet.
    param_dtype: type of the parameters.
    precision: matrix-unit precision of convolutions and products; None is the device's default.
    ops: the form of the arithmetic, a name in `ops.forms.FORMS`. All forms give the same results up
      to rounding; they differ in speed on a given kind of device. "plain" is the network as the
      papers write it, the tested reference.
    remat: "none", "conv_outputs" (keep convolution outputs, recompute the rest) or "block_inputs"
      (keep only what enters a residual block).
  """

  spectral: bool = True
  initializer: str = "orthogonal"
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32
  precision: Any = None
  ops: str = "folded"
  remat: str = "none"


def _scaled(scale, distribution, transposed, key, shape, dtype=jnp.float32):
  """Zero mean and variance scale / fan in, not truncated."""
  inputs, outputs = (-1, -2) if transposed else (-2, -1)
  draw = nn.initializers.variance_scaling(
    scale, "fan_in", distribution, in_axis=inputs, out_axis=outputs
  )
  return draw(key, shape, dtype)


def _uniform01(key, shape, dtype=jnp.float32):
  return jax.random.uniform(key, shape, dtype, -0.01, 0.01)


INITIALIZERS: dict[str, Callable] = {
  "orthogonal": nn.initializers.orthogonal(),
  "normal02": nn.initializers.normal(0.02),
  "normal01": nn.initializers.normal(0.01),
  "lecun_normal": functools.partial(_scaled, 1, "normal"),
  "uniform01": _uniform01,
  "fan_in_uniform": functools.partial(_scaled, 1 / 3, "uniform"),
}
_BY_FAN = ("lecun_normal", "fan_in_uniform")


def kernel_initializer(
  settings: LayerSettings, *, transposed: bool = False
) -> nn.initializers.Initializer:
  """Returns the Flax initializer named by `settings.initializer`.

  Args:
    settings: see `LayerSettings`.
    transposed: of a transposed convolution. Chainer and PyTorch store its kernel with the output
      channels first, so their "fan in" counts the output channels.

  Raises:
    UserError: on an unknown name.
  """
  if settings.initializer not in INITIALIZERS:
    raise UserError(
      f"unknown initializer {settings.initializer!r}; known: {', '.join(sorted(INITIALIZERS))}"
    )
  initializer = INITIALIZERS[settings.initializer]
  if settings.initializer in _BY_FAN:
    initializer = functools.partial(initializer, transposed)
  return initializer


_REMAT_POLICIES = {
  "conv_outputs": jax.checkpoint_policies.save_only_these_names("conv_output"),
  "block_inputs": None,
}
REMAT = ("none", *_REMAT_POLICIES)


def rematerialised(
  module_class: type[nn.Module], settings: LayerSettings, static_argnums: tuple[int, ...] = ()
) -> type[nn.Module]:
  """Wraps a block's class so that its activations are recomputed in the backward pass.

  Args:
    module_class: a Flax module class whose instances are called positionally.
    settings: `settings.remat` chooses what is kept.
    static_argnums: positions, counting `self` as 0, of Python arguments such as `train`.

  Raises:
    UserError: on an unknown policy.
  """
  if settings.remat == "none":
    return module_class
  if settings.remat not in _REMAT_POLICIES:
    raise UserError(
      f"unknown remat policy {settings.remat!r}; known: none, {', '.join(sorted(_REMAT_POLICIES))}"
    )
  return nn.remat(
    module_class, policy=_REMAT_POLICIES[settings.remat], static_argnums=static_argnums
  )
