"""Convolutional gated recurrent units (DVD-GAN A.2).

  g = (W_gh *1 h + b_gh) o (W_gx *1 x + b_gx)     multiplicative;   g = h   standard
  r = sigmoid(W_r *3 [g; x] + b_r)
  u = sigmoid(W_u *3 [g; x] + b_u)
  c = rho(W_c *3 [x; r o g] + b_c)
  h' = u o g + (1 - u) o c

A convolution of a concatenation is the sum of two convolutions, so the halves that see x need no
recurrence: they are computed for all time steps at once, or only once where x is the same at every
step, as in DVD-GAN's generator (an exact saving of nearly half the unit's work).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Weights, convolve
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime.errors import UserError

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
KINDS = ("multiplicative", "standard")
UNROLL_UP_TO = (
  16  # frames; on CPU unrolled steps are 10 times faster, beyond it compilation is slow
)


class ConvGRU(nn.Module):
  """A convolutional GRU over the frames of a clip.

  Attributes:
    features: channels F of the state.
    settings: see `LayerSettings`; `savings` off convolves [g; x] at every step as written.
    kind: "multiplicative" or "standard".
    activation: rho, "relu" (DVD-GAN, thesis text) or "tanh" (thesis code).
    unroll: unroll the steps into the program; None decides by length (`UNROLL_UP_TO`).
  """

  features: int
  settings: LayerSettings
  kind: str = "multiplicative"
  activation: str = "relu"
  unroll: bool | None = None

  @nn.compact
  def __call__(self, x, frames: int | None = None, initial_state=None):
    """Runs the unit.

    Args:
      x: [B, T, H, W, C], or [B, H, W, C] fed at every one of `frames` steps.
      frames: number of steps where `x` has no time axis.
      initial_state: [B, H, W, F]; None is zeros (DVD-GAN-FP feeds its encoder's output).

    Returns:
      the states [B, T, H, W, F].

    Raises:
      UserError: on an unknown kind or activation.
    """
    if self.kind not in KINDS:
      raise UserError(f"unknown ConvGRU kind {self.kind!r}; known: {', '.join(KINDS)}")
    if self.activation not in ACTIVATIONS:
      raise UserError(
        f"unknown ConvGRU activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}"
      )
    settings = self.settings
    x = x.astype(settings.dtype)
    constant = x.ndim == 4
    frames = frames if constant else x.shape[1]
    state = jnp.zeros((x.shape[0], *x.shape[-3:-1], self.features), x.dtype)
    if initial_state is not None:
      state = initial_state.astype(x.dtype)
    step, inputs = self._prepare(x)
    if constant:
      step_at = lambda state, _: step(state, inputs)
      inputs_by_time = None
    else:
      step_at = step
      inputs_by_time = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), inputs)
    unroll = frames <= UNROLL_UP_TO if self.unroll is None else self.unroll
    _, states = jax.lax.scan(
      lambda state, now: (step_at(state, now),) * 2,
      state,
      inputs_by_time,
      length=frames,
      unroll=frames if unroll else 1,
    )
    return jnp.moveaxis(states, 0, 1)

  def _prepare(self, x):
    """Declares the weights; returns step(state, inputs) and what the steps need of x."""
    settings, features, channels = self.settings, self.features, x.shape[-1]
    both = features + channels
    declare = lambda name, window, width: Weights(
      (window, window, width, features), settings, name=name
    )()
    conv = lambda a, kernel: convolve(a, kernel, precision=settings.precision)
    cast = lambda bias: bias.astype(x.dtype)
    rho = ACTIVATIONS[self.activation]
    reset_kernel, reset_bias = declare("reset", 3, both)
    update_kernel, update_bias = declare("update", 3, both)
    candidate_kernel, candidate_bias = declare("candidate", 3, both)
    inputs = {}
    gate_state = lambda state, _: state
    if self.kind == "multiplicative":
      state_kernel, state_bias = declare("gate_state", 1, features)
      input_kernel, input_bias = declare("gate_input", 1, channels)
      inputs["gate"] = conv(x, input_kernel) + cast(input_bias)
      gate_state = lambda state, now: (conv(state, state_kernel) + cast(state_bias)) * now["gate"]

    if not settings.savings:
      inputs["x"] = x

      def step(state, now):
        g = gate_state(state, now)
        joined = jnp.concatenate([g, now["x"]], axis=-1)
        r = jax.nn.sigmoid(conv(joined, reset_kernel) + cast(reset_bias))
        u = jax.nn.sigmoid(conv(joined, update_kernel) + cast(update_bias))
        joined = jnp.concatenate([now["x"], r * g], axis=-1)
        c = rho(conv(joined, candidate_kernel) + cast(candidate_bias))
        return u * g + (1 - u) * c

      return step, inputs

    # [g; x] puts the state's half first, [x; r o g] second.
    gates = jnp.concatenate([reset_kernel, update_kernel], axis=-1)
    on_x = jnp.concatenate([gates[:, :, features:], candidate_kernel[:, :, :channels]], axis=-1)
    bias = jnp.concatenate([reset_bias, update_bias, candidate_bias])
    inputs["hoisted"] = conv(x, on_x) + cast(bias)

    def step(state, now):
      g = gate_state(state, now)
      x_gates, x_candidate = jnp.split(now["hoisted"], [2 * features], axis=-1)
      r, u = jnp.split(jax.nn.sigmoid(conv(g, gates[:, :, :features]) + x_gates), 2, axis=-1)
      c = rho(conv(r * g, candidate_kernel[:, :, channels:]) + x_candidate)
      return u * g + (1 - u) * c

    return step, inputs
