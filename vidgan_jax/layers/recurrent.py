"""Recurrent units over frames: DVD-GAN's ConvGRU, TGANv2's ConvLSTM and MoCoGAN's GRU cell."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Weights
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.ops import forms, gru, lstm
from vidgan_jax.runtime.errors import UserError

ACTIVATIONS = tuple(gru.ACTIVATIONS)
KINDS = ("multiplicative", "standard")
# Number of frames. Unrolled steps are 10 times faster on CPU, but take too long to compile for
# longer clips.
UNROLL_UP_TO = 16


class ConvGRU(nn.Module):
  """A convolutional GRU over the frames of a clip (DVD-GAN A.2); `ops.gru` has the equations.

  Attributes:
    features: channels F of the state.
    settings: see `LayerSettings`.
    kind: "multiplicative" or "standard".
    activation: rho, "relu" (DVD-GAN, and the text of Du's thesis) or "tanh" (the thesis' code).
    unroll: whether the program repeats the unit for each step instead of looping. None: if there
      are at most `UNROLL_UP_TO` steps.
  """

  features: int
  settings: LayerSettings
  kind: str = "multiplicative"
  activation: str = "relu"
  unroll: bool | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, frames: int | None = None, initial_state: jax.Array | None = None
  ) -> jax.Array:
    """Runs the unit.

    Args:
      x: [B, T, H, W, C], or [B, H, W, C] as the input of each of `frames` steps.
      frames: number of steps if `x` has no time axis.
      initial_state: [B, H, W, F]; None is zeros. DVD-GAN-FP passes the output of its encoder.

    Returns:
      The states after each step, [B, T, H, W, F], in the settings' dtype.

    Raises:
      UserError: the kind or the activation is unknown.
    """
    for name, value, known in (
      ("kind", self.kind, KINDS),
      ("activation", self.activation, ACTIVATIONS),
    ):
      if value not in known:
        raise UserError(f"unknown ConvGRU {name} {value!r}; known: {', '.join(known)}")
    settings = self.settings
    x = x.astype(settings.dtype)
    if x.ndim != 4:
      frames = x.shape[1]
    assert frames is not None, "an input without a time axis needs a number of frames"
    state = jnp.zeros((x.shape[0], *x.shape[-3:-1], self.features), x.dtype)
    if initial_state is not None:
      state = initial_state.astype(x.dtype)
    return forms.get(settings.ops).conv_gru(
      self._weights(x.shape[-1]),
      x,
      state,
      frames=frames,
      activation=self.activation,
      unroll=frames <= UNROLL_UP_TO if self.unroll is None else self.unroll,
      precision=settings.precision,
    )

  def _weights(self, channels: int) -> gru.Weights:
    """Declares the weights for an input with `channels` channels."""
    features, both = self.features, self.features + channels
    shapes = dict.fromkeys(("reset", "update", "candidate"), (3, 3, both, features))
    if self.kind == "multiplicative":
      shapes["gate_state"] = (1, 1, features, features)
      shapes["gate_input"] = (1, 1, channels, features)
    weights: dict[str, Any] = {}  # all have a bias
    for name, shape in shapes.items():
      weights[name] = Weights(shape, self.settings, name=name)()
    return weights


class ConvLSTM(nn.Module):
  """A convolutional LSTM whose input is a map at the first step and zero afterwards (TGANv2 4.1).

  Attributes:
    features: channels F of the state.
    settings: see `LayerSettings`.
    unroll: see `ConvGRU`.
  """

  features: int
  settings: LayerSettings
  unroll: bool | None = None

  @nn.compact
  def __call__(self, x: jax.Array, frames: int) -> jax.Array:
    """Maps the first step's input [B, H, W, C] to the states [B, frames, H, W, F]."""
    settings = self.settings
    x = x.astype(settings.dtype)
    shape = (3, 3, x.shape[-1], 4 * self.features)
    on_input, bias = Weights(shape, settings, name="input")()
    shape = (3, 3, self.features, 4 * self.features)
    on_state, _ = Weights(shape, settings, use_bias=False, name="state")()
    assert bias is not None
    return forms.get(settings.ops).conv_lstm(
      lstm.Weights(on_input, bias, on_state),
      x,
      frames=frames,
      unroll=frames <= UNROLL_UP_TO if self.unroll is None else self.unroll,
      precision=settings.precision,
    )


class GatedRecurrentUnit(nn.Module):
  """PyTorch's GRU cell, run over the time steps of a clip.

  It always computes in the parameters' type, float32, because it is small.

  Attributes:
    features: size of the state, F.
    settings: see `LayerSettings`.
  """

  features: int
  settings: LayerSettings

  @nn.compact
  def __call__(self, state: jax.Array, inputs: jax.Array) -> jax.Array:
    """Runs the cell.

    Args:
      state: [B, F] before the first step.
      inputs: [B, T, I].

    Returns:
      The states after each step, [B, T, F].
    """
    wide = dataclasses.replace(self.settings, dtype=self.settings.param_dtype, spectral=False)
    bound = 1 / jnp.sqrt(self.features)
    draw = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
    shapes = {
      "input_kernel": (inputs.shape[-1], 3 * self.features),
      "input_bias": (3 * self.features,),
      "state_kernel": (self.features, 3 * self.features),
      "state_bias": (3 * self.features,),
    }
    w = {n: self.param(n, draw, s, self.settings.param_dtype) for n, s in shapes.items()}
    product = lambda a, b: jnp.dot(a.astype(wide.dtype), b, precision=jax.lax.Precision.HIGHEST)
    from_inputs = product(inputs, w["input_kernel"]) + w["input_bias"]

    def step(state: jax.Array, from_input: jax.Array) -> tuple[jax.Array, jax.Array]:
      reset, update, candidate = jnp.split(from_input, 3, axis=-1)
      from_state = jnp.split(product(state, w["state_kernel"]) + w["state_bias"], 3, axis=-1)
      r, u = jax.nn.sigmoid(reset + from_state[0]), jax.nn.sigmoid(update + from_state[1])
      after = (1 - u) * jnp.tanh(candidate + r * from_state[2]) + u * state
      return after, after

    _, states = jax.lax.scan(step, state.astype(wide.dtype), jnp.moveaxis(from_inputs, 1, 0))
    return jnp.moveaxis(states, 0, 1)
