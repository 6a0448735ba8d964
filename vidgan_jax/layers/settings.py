"""Settings that all layers of a network share: types, initialisation, form of the arithmetic."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import lift

from vidgan_jax.ops import ordered
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class LayerSettings:
  """Settings that a model passes to each of its layers.

  Attributes:
    spectral: apply spectral normalisation, which needs a power-iteration vector for each weight
      (DVD-GAN A.3: "all weight layers").
    initializer: distribution of initial kernels: "orthogonal" (DVD-GAN A.3), "normal02" (N(0,
      0.02), the thesis' Table 4.1), "normal01" (N(0, 0.01), VGAN's code), "lecun_normal" (N(0, 1 /
      fan in), Chainer's default), "uniform01" (U(-0.01, 0.01), TGAN's code), "fan_in_uniform"
      (U(-1, 1) / sqrt(fan in), PyTorch's default), "glorot_uniform" (U(-1, 1) sqrt(6 / (fan in +
      fan out))) or "glorot_uniform_sqrt2" (the same times sqrt(2), TGANv2's residual branches).
    equalized: gain of the equalised learning rate (Karras et al. 2018, arXiv 1710.10196, 4.1):
      initial kernels are drawn from N(0, 1), whatever `initializer` says, and are multiplied by
      gain / sqrt(fan in) before they are applied. Adam then changes all kernels at the same
      relative speed. 0 disables it.
    dtype: type of activations, to which kernels are cast before they are applied.
    param_dtype: type of the parameters.
    precision: matrix-unit precision of convolutions and products; None is the device's default.
    ops: form of the arithmetic, a name in `ops.forms.FORMS`. All forms give the same results up to
      rounding, at different speeds. "plain" computes as the papers write and is the reference that
      tests compare the others with.
    remat: which activations the forward pass stores for the backward pass; the others are computed
      again. "none" stores all, "conv_outputs" the outputs of convolutions, "block_inputs" only the
      inputs of residual blocks.
    chunks: parts of a training batch, on each device, that pass one after the other through what
      treats each clip by itself. 1 does not split the batch. See `ops.chunks`.
  """

  spectral: bool = True
  initializer: str = "orthogonal"
  equalized: float = 0.0
  dtype: Any = jnp.float32
  param_dtype: Any = jnp.float32
  precision: Any = None
  ops: str = "folded"
  remat: str = "none"
  chunks: int = 1

  def of_discriminator(self) -> "LayerSettings":
    """The settings of a discriminator without batch normalisation.

    Chunks pass through such a discriminator as a whole, and the backward pass computes each chunk
    again. Rematerialised blocks would compute it a third time.
    """
    return self if self.chunks == 1 else dataclasses.replace(self, remat="none")


def _scaled(
  scale: float,
  distribution: Literal["normal", "uniform"],
  transposed: bool,
  key: jax.Array,
  shape: Sequence[int],
  dtype: Any = jnp.float32,
) -> jax.Array:
  """Draws from a distribution with mean 0 and variance scale / fan in, without truncation."""
  inputs, outputs = (-1, -2) if transposed else (-2, -1)
  draw = nn.initializers.variance_scaling(
    scale, "fan_in", distribution, in_axis=inputs, out_axis=outputs
  )
  return draw(key, shape, dtype)


def _uniform01(key: jax.Array, shape: Sequence[int], dtype: Any = jnp.float32) -> jax.Array:
  return jax.random.uniform(key, shape, dtype, -0.01, 0.01)


INITIALIZERS: dict[str, Callable] = {
  "orthogonal": nn.initializers.orthogonal(),
  "normal02": nn.initializers.normal(0.02),
  "normal01": nn.initializers.normal(0.01),
  "lecun_normal": functools.partial(_scaled, 1, "normal"),
  "uniform01": _uniform01,
  "glorot_uniform": nn.initializers.variance_scaling(1, "fan_avg", "uniform"),
  "glorot_uniform_sqrt2": nn.initializers.variance_scaling(2, "fan_avg", "uniform"),
  "fan_in_uniform": functools.partial(_scaled, 1 / 3, "uniform"),
}
_BY_FAN = ("lecun_normal", "fan_in_uniform")


def kernel_initializer(
  settings: LayerSettings, *, transposed: bool = False
) -> nn.initializers.Initializer:
  """Returns the Flax initializer named by `settings.initializer`.

  Args:
    settings: see `LayerSettings`.
    transposed: the kernel belongs to a transposed convolution. Chainer and PyTorch store such a
      kernel with its channel axes exchanged, so that their "fan in" counts the output channels.

  Raises:
    UserError: the name is unknown.
  """
  if settings.initializer not in INITIALIZERS:
    raise UserError(
      f"unknown initializer {settings.initializer!r}; known: {', '.join(sorted(INITIALIZERS))}"
    )
  initializer = INITIALIZERS[settings.initializer]
  if settings.initializer in _BY_FAN:
    initializer = functools.partial(initializer, transposed)
  return initializer


# Where chunks save memory, the moments of batch normalisations inside a block are stored too. They
# are small, and without them the backward pass would compute the block once more as a whole.
_REMAT_POLICIES = {
  "conv_outputs": jax.checkpoint_policies.save_only_these_names("conv_output", "moment"),
  "block_inputs": jax.checkpoint_policies.save_only_these_names("moment"),
}
REMAT = ("none", *_REMAT_POLICIES)


def rematerialised(
  module_class: type[nn.Module], settings: LayerSettings, static_argnums: tuple[int, ...] = ()
) -> type[nn.Module]:
  """Wraps a block's class so that the backward pass recomputes its activations.

  The backward pass finishes the gradients of the block's parameters before it goes on to the
  preceding block, so that few blocks have recomputed activations in memory; see `ops.ordered`.

  Args:
    module_class: a Flax module class. Its instances are called with an array as first positional
      argument.
    settings: `settings.remat` says which activations are stored; see `LayerSettings`.
    static_argnums: positions of arguments that are Python values, such as `train`; `self` is 0.

  Raises:
    UserError: the policy is unknown.
  """
  if settings.remat == "none":
    return module_class
  if settings.remat not in _REMAT_POLICIES:
    raise UserError(
      f"unknown remat policy {settings.remat!r}; known: none, {', '.join(sorted(_REMAT_POLICIES))}"
    )
  policy = _REMAT_POLICIES[settings.remat]
  again = nn.remat(module_class, policy=policy, static_argnums=static_argnums)
  ordered_class = nn.transforms.lift_transform(_weights_first, again)
  # Modules without a name are called after their class.
  ordered_class.__name__ = ordered_class.__qualname__ = again.__name__
  return ordered_class


def _weights_first(function: Any) -> Any:
  """The lifted transformation that passes x and a block's parameters through `weights_first`."""

  def inner(
    scope_of: Callable,
    variables_of: Callable,
    groups: Any,
    generators: Any,
    x: Any,
    *rest: Any,
    **named: Any,
  ) -> tuple[Any, Any]:
    params, others = groups
    x, params = ordered.weights_first(x, params)
    scope = scope_of((params, others), generators)
    return function(scope, x, *rest, **named), variables_of(scope)

  filters = ("params", True), ("params", True), (True,)
  return lift.pack(inner, *filters, name="weights_first", enable_kwargs=True)
