"""The convolutional gated recurrent unit of DVD-GAN A.2, as written and with a backward pass.

  g = (W_gh *1 h + b_gh) o (W_gx *1 x + b_gx)     multiplicative;   g = h   standard
  r = sigmoid(W_r *3 [g; x] + b_r)
  u = sigmoid(W_u *3 [g; x] + b_u)
  c = rho(W_c *3 [x; r o g] + b_c)
  h' = u o g + (1 - u) o c

*1 and *3 are SAME convolutions with windows 1x1 and 3x3, o is the elementwise product.

A convolution of a concatenation is the sum of two convolutions. The halves that see x need no
recurrence: `hoisted` computes them for all time steps at once, or only once where x is the same at
every step, as in DVD-GAN's generator. That saves nearly half of the unit's work.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.runtime import mesh as meshes

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
_SLOPES = {"relu": lambda c: (c > 0).astype(c.dtype), "tanh": lambda c: 1 - c * c}

# {name: (kernel, bias [F])}: kernels "reset", "update" and "candidate" [3, 3, F + C, F] and, in the
# multiplicative unit, "gate_state" [1, 1, F, F] and "gate_input" [1, 1, C, F]. The F + C input
# channels are [state, x] in reset and update, [x, state] in candidate.
Weights = dict[str, tuple[jax.Array, jax.Array]]
Convolve = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Steps:
  """How the unit runs through time.

  Attributes:
    activation: rho, a name in `ACTIVATIONS`.
    frames: number of steps.
    unroll: unroll the steps into the program.
  """

  activation: str
  frames: int
  unroll: bool

  def scan(self, function: Callable, carry: Any, xs: Any, reverse: bool = False) -> tuple[Any, Any]:
    """`jax.lax.scan` over all steps."""
    unroll = self.frames if self.unroll else 1
    return jax.lax.scan(function, carry, xs, length=self.frames, unroll=unroll, reverse=reverse)


def as_written(
  weights: Weights, x: jax.Array, state: jax.Array, convolve: Convolve, steps: Steps
) -> jax.Array:
  """The unit as written: every step convolves [g; x].

  Args:
    weights: see `Weights`.
    x: [B, T, H, W, C], or [B, H, W, C] as the input of every step.
    state: [B, H, W, F] before the first step.
    convolve: a SAME convolution of (activations, kernel).
    steps: see `Steps`.

  Returns:
    the states after each step, [B, T, H, W, F].
  """
  rho = ACTIVATIONS[steps.activation]
  affine = lambda name, a: convolve(a, weights[name][0]) + weights[name][1].astype(x.dtype)
  multiplicative = "gate_state" in weights
  inputs = {"gate": affine("gate_input", x)} if multiplicative else {}
  inputs["x"] = x
  constant = x.ndim == 4
  state = meshes.like_devices(state, x)
  if not constant:
    inputs = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), inputs)

  def step(state, now):
    now = inputs if constant else now
    g = affine("gate_state", state) * now["gate"] if multiplicative else state
    joined = jnp.concatenate([g, now["x"]], axis=-1)
    r = jax.nn.sigmoid(affine("reset", joined))
    u = jax.nn.sigmoid(affine("update", joined))
    joined = jnp.concatenate([now["x"], r * g], axis=-1)
    c = rho(affine("candidate", joined))
    after = u * g + (1 - u) * c
    return after, after

  _, states = steps.scan(step, state, None if constant else inputs)
  return jnp.moveaxis(states, 0, 1)


def hoisted(
  weights: Weights, x: jax.Array, state: jax.Array, convolve: Convolve, steps: Steps
) -> jax.Array:
  """The unit with the halves that see x outside the loop; see `as_written` for the arguments.

  It has reverse-mode derivatives only, by a backward pass of its own (`_Recurrence`).
  """
  features = state.shape[-1]
  kernels, inputs = _halves(weights, x, features, convolve)
  constant = x.ndim == 4
  state = meshes.like_devices(state, x)
  if not constant:
    inputs = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), inputs)
  return jnp.moveaxis(_Recurrence(steps, constant, convolve)(kernels, inputs, state), 0, 1)


def _halves(weights, x, features, convolve):
  """The recurrent halves of the kernels, and the results of those that see x.

  Returns:
    kernels: {"gates": [3, 3, F, 2F] of reset and update, "candidate": [3, 3, F, F]}, and in the
      multiplicative unit {"state": [1, 1, F, F], "state_bias": [F]}.
    inputs: {"gates": [..., 2F], "candidate": [..., F]}, and in the multiplicative unit
      {"gate": [..., F]}.
  """
  channels = x.shape[-1]
  (reset_kernel, reset_bias), (update_kernel, update_bias) = weights["reset"], weights["update"]
  candidate_kernel, candidate_bias = weights["candidate"]
  inputs = {}
  if "gate_input" in weights:
    kernel, bias = weights["gate_input"]
    inputs["gate"] = convolve(x, kernel) + bias.astype(x.dtype)
  gates = jnp.concatenate([reset_kernel, update_kernel], axis=-1)
  on_x = jnp.concatenate([gates[:, :, features:], candidate_kernel[:, :, :channels]], axis=-1)
  bias = jnp.concatenate([reset_bias, update_bias, candidate_bias])
  seen = convolve(x, on_x) + bias.astype(x.dtype)
  inputs["gates"], inputs["candidate"] = jnp.split(seen, [2 * features], axis=-1)
  kernels = {"gates": gates[:, :, :features], "candidate": candidate_kernel[:, :, channels:]}
  if "gate_state" in weights:
    kernels["state"], kernels["state_bias"] = weights["gate_state"]
  return kernels, inputs


@dataclasses.dataclass(frozen=True)
class _Recurrence:
  """The recurrent half of the unit, all steps, with a backward pass of its own.

  The backward pass takes only the gradients of activations step by step. The gradient of each
  kernel is one convolution over all steps together. Automatic differentiation would take it at
  every step: many small products, and on several devices one sum over devices for each.

  Attributes:
    steps: see `Steps`.
    constant: the inputs are the same at every step and have no time axis.
    convolve: a SAME convolution of (activations, kernel).
  """

  steps: Steps
  constant: bool
  convolve: Convolve

  def __call__(self, kernels, inputs, state):
    """Returns states [T, B, H, W, F] from the state before the first step [B, H, W, F].

    `kernels` and `inputs` are those of `_halves`, the inputs with time as their first axis.
    """
    run = jax.custom_vjp(lambda *arguments: self._forward(*arguments)[0])
    run.defvjp(self._forward, self._backward)
    return run(kernels, inputs, state)

  def _convolve_back(self, cotangent, kernel):
    """The gradient of `convolve` by its input."""
    return self.convolve(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))

  def _forward(self, kernels, inputs, state):
    rho = ACTIVATIONS[self.steps.activation]

    def step(state, now):
      now = inputs if self.constant else now
      linear = g = state
      if "gate" in now:
        linear = self.convolve(state, kernels["state"]) + kernels["state_bias"].astype(state.dtype)
        g = linear * now["gate"]
      gates = self.convolve(g, kernels["gates"]) + now["gates"]
      r, u = jnp.split(jax.nn.sigmoid(gates), 2, axis=-1)
      c = rho(self.convolve(r * g, kernels["candidate"]) + now["candidate"])
      after = u * g + (1 - u) * c
      return after, {"before": state, "after": after, "linear": linear, "r": r, "u": u, "c": c}

    _, kept = self.steps.scan(step, state, None if self.constant else inputs)
    return kept["after"], (kernels, inputs, kept)

  def _backward(self, residuals, cotangents):
    kernels, inputs, kept = residuals
    d_state, d_inputs = self._backward_in_time(kernels, inputs, kept, cotangents)
    g = kept["linear"]
    if "gate" in inputs:
      g = g * inputs["gate"]
    d_gates, d_candidate = d_inputs["gates"], d_inputs["candidate"]
    d_kernels = {
      "gates": self._kernel_gradient(g, d_gates, kernels["gates"]),
      "candidate": self._kernel_gradient(kept["r"] * g, d_candidate, kernels["candidate"]),
    }
    if "gate" in inputs:
      d_linear = d_inputs.pop("linear")
      d_kernels["state"] = self._kernel_gradient(kept["before"], d_linear, kernels["state"])
      bias = kernels["state_bias"]
      d_kernels["state_bias"] = jnp.sum(d_linear.astype(bias.dtype), axis=(0, 1, 2, 3))
    if self.constant:
      d_inputs = jax.tree.map(lambda a: jnp.sum(a, axis=0), d_inputs)
    return d_kernels, d_inputs, d_state

  def _backward_in_time(self, kernels, inputs, kept, cotangents):
    """The gradients by the first state and, at each step, by the inputs and by "linear"."""
    slope = _SLOPES[self.steps.activation]

    def step(later, now):
      cotangent, kept, given = now
      given = inputs if self.constant else given
      linear, r, u, c = kept["linear"], kept["r"], kept["u"], kept["c"]
      g = linear * given["gate"] if "gate" in given else linear
      d_after = cotangent + later
      d_candidate = d_after * (1 - u) * slope(c)
      d_reset = self._convolve_back(d_candidate, kernels["candidate"])  # by r * g
      d_gates = jnp.concatenate(
        [d_reset * g * r * (1 - r), d_after * (g - c) * u * (1 - u)], axis=-1
      )
      d_g = d_after * u + d_reset * r + self._convolve_back(d_gates, kernels["gates"])
      gradients = {"gates": d_gates, "candidate": d_candidate}
      if "gate" in given:
        gradients["gate"], gradients["linear"] = d_g * linear, d_g * given["gate"]
        d_g = self._convolve_back(gradients["linear"], kernels["state"])
      return d_g, gradients

    return self.steps.scan(
      step,
      meshes.like_devices(jnp.zeros_like(kept["after"][0]), cotangents),
      (cotangents, kept, None if self.constant else inputs),
      reverse=True,
    )

  def _kernel_gradient(self, x, cotangent, kernel):
    """The gradient of `convolve` at all steps [T, B, H, W, ...] by its kernel."""
    # Batch-major: folding time-major would move examples between devices.
    x, cotangent = jnp.moveaxis(x, 0, 1), jnp.moveaxis(cotangent, 0, 1)
    _, pullback = jax.vjp(lambda k: self.convolve(x, k), kernel)
    return pullback(cotangent)[0]
