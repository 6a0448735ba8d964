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

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vidgan_jax.layers.convolution import Weights, convolve
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.runtime import mesh as meshes
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
    prepared, inputs = self._prepare(x)
    state = meshes.like_devices(state, x)
    if not constant:
      inputs = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), inputs)
    unroll = frames <= UNROLL_UP_TO if self.unroll is None else self.unroll
    if settings.savings:
      run = _Recurrence(self.activation, frames, constant, unroll, settings.precision)
      return jnp.moveaxis(run(prepared, inputs, state), 0, 1)
    _, states = jax.lax.scan(
      lambda state, now: (prepared(state, inputs if constant else now),) * 2,
      state,
      None if constant else inputs,
      length=frames,
      unroll=frames if unroll else 1,
    )
    return jnp.moveaxis(states, 0, 1)

  def _prepare(self, x):
    """Declares the weights; returns how to step and what the steps need of x.

    As written that is a function step(state, inputs); with savings, the recurrent kernels.
    """
    settings, features, channels = self.settings, self.features, x.shape[-1]
    both = features + channels
    declare = lambda name, window, width: Weights(
      (window, window, width, features), settings, name=name
    )()
    conv = lambda a, kernel: convolve(
      a, kernel, savings=settings.savings, precision=settings.precision
    )
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
    hoisted = conv(x, on_x) + cast(bias)
    inputs["gates"], inputs["candidate"] = jnp.split(hoisted, [2 * features], axis=-1)
    kernels = {"gates": gates[:, :, :features], "candidate": candidate_kernel[:, :, channels:]}
    if self.kind == "multiplicative":
      kernels["state"], kernels["state_bias"] = state_kernel, state_bias
    return kernels, inputs


@dataclasses.dataclass(frozen=True)
class _Recurrence:
  """The recurrent half of the unit, all steps, with a backward pass of its own.

  Going back in time only activations' gradients are taken, step by step; the gradient of each
  kernel is one convolution over all steps together. Automatic differentiation would take it at
  every step: many small products, and on several devices one sum over devices for each.

  Attributes:
    activation: rho.
    frames: steps.
    constant: the inputs are the same at every step and have no time axis.
    unroll: unroll the steps into the program.
    precision: of convolutions.
  """

  activation: str
  frames: int
  constant: bool
  unroll: bool
  precision: Any

  def __call__(self, kernels, inputs, state):
    """Returns states [T, B, H, W, F] from the state before the first step [B, H, W, F].

    `inputs`, "gates" [T, B, H, W, 2F], "candidate" [T, B, H, W, F] and, for the multiplicative
    unit, "gate" [T, B, H, W, F], are the halves that see x.
    """
    run = jax.custom_vjp(lambda *arguments: self._forward(*arguments)[0])
    run.defvjp(self._forward, self._backward)
    return run(kernels, inputs, state)

  def _scan(self, function, carry, xs, reverse=False):
    unroll = self.frames if self.unroll else 1
    return jax.lax.scan(function, carry, xs, length=self.frames, unroll=unroll, reverse=reverse)

  def _conv(self, x, kernel):
    return convolve(x, kernel, savings=True, precision=self.precision)

  def _conv_back(self, cotangent, kernel):
    """The gradient of `_conv` by its input."""
    return self._conv(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))

  def _forward(self, kernels, inputs, state):
    rho = ACTIVATIONS[self.activation]

    def step(state, now):
      now = inputs if self.constant else now
      linear = g = state
      if "gate" in now:
        linear = self._conv(state, kernels["state"]) + kernels["state_bias"].astype(state.dtype)
        g = linear * now["gate"]
      r, u = jnp.split(jax.nn.sigmoid(self._conv(g, kernels["gates"]) + now["gates"]), 2, axis=-1)
      c = rho(self._conv(r * g, kernels["candidate"]) + now["candidate"])
      after = u * g + (1 - u) * c
      return after, {"before": state, "after": after, "linear": linear, "r": r, "u": u, "c": c}

    _, kept = self._scan(step, state, None if self.constant else inputs)
    return kept["after"], (kernels, inputs, kept)

  def _backward(self, residuals, cotangents):
    kernels, inputs, kept = residuals
    slope = {"relu": lambda c: (c > 0).astype(c.dtype), "tanh": lambda c: 1 - c * c}
    slope = slope[self.activation]

    def step(later, now):
      cotangent, kept, given = now
      given = inputs if self.constant else given
      linear, r, u, c = kept["linear"], kept["r"], kept["u"], kept["c"]
      g = linear * given["gate"] if "gate" in given else linear
      d_after = cotangent + later
      d_candidate = d_after * (1 - u) * slope(c)
      d_reset = self._conv_back(d_candidate, kernels["candidate"])  # by r * g
      d_gates = jnp.concatenate(
        [d_reset * g * r * (1 - r), d_after * (g - c) * u * (1 - u)], axis=-1
      )
      d_g = d_after * u + d_reset * r + self._conv_back(d_gates, kernels["gates"])
      found = {"gates": d_gates, "candidate": d_candidate}
      if "gate" in given:
        found["gate"], found["linear"] = d_g * linear, d_g * given["gate"]
        d_g = self._conv_back(found["linear"], kernels["state"])
      return d_g, found

    d_state, found = self._scan(
      step,
      meshes.like_devices(jnp.zeros_like(kept["after"][0]), cotangents),
      (cotangents, kept, None if self.constant else inputs),
      reverse=True,
    )
    g = kept["linear"]
    if "gate" in inputs:
      g = g * inputs["gate"]
    d_kernels = {
      "gates": self._kernel_gradient(g, found["gates"], kernels["gates"]),
      "candidate": self._kernel_gradient(kept["r"] * g, found["candidate"], kernels["candidate"]),
    }
    if "gate" in inputs:
      linear = found.pop("linear")
      d_kernels["state"] = self._kernel_gradient(kept["before"], linear, kernels["state"])
      bias = kernels["state_bias"]
      d_kernels["state_bias"] = jnp.sum(linear.astype(bias.dtype), axis=(0, 1, 2, 3))
    if self.constant:
      found = jax.tree.map(lambda a: jnp.sum(a, axis=0), found)
    return d_kernels, found, d_state

  def _kernel_gradient(self, x, cotangent, kernel):
    """The gradient of `_conv` at all steps [T, B, H, W, ...] by its kernel."""
    # Batch-major: folding time-major would move examples between devices.
    x, cotangent = jnp.moveaxis(x, 0, 1), jnp.moveaxis(cotangent, 0, 1)
    _, pullback = jax.vjp(lambda k: self._conv(x, k), kernel)
    return pullback(cotangent)[0]
