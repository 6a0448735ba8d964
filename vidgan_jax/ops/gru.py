"""The convolutional gated recurrent unit of DVD-GAN A.2, in a plain and in a faster form.

  g = (W_gh *1 h + b_gh) o (W_gx *1 x + b_gx)     multiplicative;   g = h   standard
  r = sigmoid(W_r *3 [g; x] + b_r)
  u = sigmoid(W_u *3 [g; x] + b_u)
  c = rho(W_c *3 [x; r o g] + b_c)
  h' = u o g + (1 - u) o c

*1 and *3 are SAME convolutions with windows 1x1 and 3x3, o is the elementwise product.

A convolution of a concatenation is the sum of two convolutions. Those of x do not depend on the
state. `hoisted` computes them before the loop, for all time steps at once, or only once if x is the
same at every step, as in DVD-GAN's generator. This saves nearly half of the unit's multiply-adds.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.runtime import mesh as meshes

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
# Derivatives of the activations, as functions of the activations' values.
_SLOPES = {"relu": lambda c: (c > 0).astype(c.dtype), "tanh": lambda c: 1 - c * c}

# {name: (kernel, bias [F])}: kernels "reset", "update" and "candidate" [3, 3, F + C, F] and, in the
# multiplicative unit, "gate_state" [1, 1, F, F] and "gate_input" [1, 1, C, F]. The F + C input
# channels are [state, x] in reset and update, [x, state] in candidate.
Weights = dict[str, tuple[jax.Array, jax.Array]]
Convolve = Callable[[jax.Array, jax.Array], jax.Array]
Arrays = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Steps:
  """How the unit runs through time.

  Attributes:
    activation: rho, a name in `ACTIVATIONS`.
    frames: number of steps.
    unroll: unroll the loop over the steps.
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
  """The unit as the equations say: every step convolves the concatenation [g; x].

  Args:
    weights: see `Weights`.
    x: [B, T, H, W, C], or [B, H, W, C] as the input of every step.
    state: [B, H, W, F] before the first step.
    convolve: a function (activations, kernel), a SAME convolution.
    steps: see `Steps`.

  Returns:
    The states after each step, [B, T, H, W, F].
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

  def step(state: jax.Array, now: Arrays) -> tuple[jax.Array, jax.Array]:
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
  """The unit with the convolutions of x outside the loop; see `as_written` for the arguments.

  It has a hand-written backward pass (`_Recurrence`) and no forward-mode derivatives.
  """
  features = state.shape[-1]
  kernels, inputs = _halves(weights, x, features, convolve)
  constant = x.ndim == 4
  state = meshes.like_devices(state, x)
  if not constant:
    inputs = jax.tree.map(lambda a: jnp.moveaxis(a, 1, 0), inputs)
  return jnp.moveaxis(_Recurrence(steps, constant, convolve)(kernels, inputs, state), 0, 1)


def _halves(
  weights: Weights, x: jax.Array, features: int, convolve: Convolve
) -> tuple[Arrays, Arrays]:
  """Splits the kernels into the parts for the state and for x, and computes the convolutions of x.

  Returns:
    kernels: the parts for the state, {"gates": [3, 3, F, 2F] of reset and update, "candidate":
      [3, 3, F, F]}. The multiplicative unit adds W_gh and b_gh, {"state": [1, 1, F, F],
      "state_bias": [F]}.
    inputs: the convolutions of x plus bias, {"gates": [..., 2F] of reset and update, "candidate":
      [..., F]}. The multiplicative unit adds W_gx *1 x + b_gx, {"gate": [..., F]}.
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
  joined = convolve(x, on_x) + bias.astype(x.dtype)
  inputs["gates"], inputs["candidate"] = jnp.split(joined, [2 * features], axis=-1)
  kernels = {"gates": gates[:, :, :features], "candidate": candidate_kernel[:, :, channels:]}
  if "gate_state" in weights:
    kernels["state"], kernels["state_bias"] = weights["gate_state"]
  return kernels, inputs


@dataclasses.dataclass(frozen=True)
class _Recurrence:
  """The loop over all steps, without the convolutions of x, and its hand-written backward pass.

  The backward pass computes only the gradients of activations step by step. The gradient of each
  kernel is one convolution over all steps together. Automatic differentiation would compute it
  separately at every step: in many small products, and on several devices with a sum over the
  devices for each.

  Attributes:
    steps: see `Steps`.
    constant: the inputs are the same at every step and have no time axis.
    convolve: a function (activations, kernel), a SAME convolution.
  """

  steps: Steps
  constant: bool
  convolve: Convolve

  def __call__(self, kernels: Arrays, inputs: Arrays, state: jax.Array) -> jax.Array:
    """Runs all steps.

    Args:
      kernels: see `_halves`.
      inputs: see `_halves`, but with time as the first axis.
      state: [B, H, W, F] before the first step.

    Returns:
      The states after each step, [T, B, H, W, F].
    """
    run = jax.custom_vjp(lambda *arguments: self._forward(*arguments)[0])
    run.defvjp(self._forward, self._backward)
    return run(kernels, inputs, state)

  def _convolve_back(self, cotangent: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient of `convolve` with respect to its input."""
    return self.convolve(cotangent, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))

  def _forward(
    self, kernels: Arrays, inputs: Arrays, state: jax.Array
  ) -> tuple[jax.Array, tuple[Arrays, Arrays, Arrays]]:
    rho = ACTIVATIONS[self.steps.activation]

    def step(state: jax.Array, step_inputs: Arrays) -> tuple[jax.Array, Arrays]:
      step_inputs = inputs if self.constant else step_inputs
      linear = g = state
      if "gate" in step_inputs:
        linear = self.convolve(state, kernels["state"]) + kernels["state_bias"].astype(state.dtype)
        g = linear * step_inputs["gate"]
      gates = self.convolve(g, kernels["gates"]) + step_inputs["gates"]
      r, u = jnp.split(jax.nn.sigmoid(gates), 2, axis=-1)
      c = rho(self.convolve(r * g, kernels["candidate"]) + step_inputs["candidate"])
      after = u * g + (1 - u) * c
      return after, {"before": state, "after": after, "linear": linear, "r": r, "u": u, "c": c}

    _, values = self.steps.scan(step, state, None if self.constant else inputs)
    return values["after"], (kernels, inputs, values)

  def _backward(
    self, residuals: tuple[Arrays, Arrays, Arrays], cotangents: jax.Array
  ) -> tuple[Arrays, Arrays, jax.Array]:
    kernels, inputs, values = residuals
    d_state, d_inputs = self._backward_in_time(kernels, inputs, values, cotangents)
    g = values["linear"]
    if "gate" in inputs:
      g = g * inputs["gate"]
    d_gates, d_candidate = d_inputs["gates"], d_inputs["candidate"]
    d_kernels = {
      "gates": self._kernel_gradient(g, d_gates, kernels["gates"]),
      "candidate": self._kernel_gradient(values["r"] * g, d_candidate, kernels["candidate"]),
    }
    if "gate" in inputs:
      d_linear = d_inputs.pop("linear")
      d_kernels["state"] = self._kernel_gradient(values["before"], d_linear, kernels["state"])
      bias = kernels["state_bias"]
      d_kernels["state_bias"] = jnp.sum(d_linear.astype(bias.dtype), axis=(0, 1, 2, 3))
    if self.constant:
      d_inputs = jax.tree.map(lambda a: jnp.sum(a, axis=0), d_inputs)
    return d_kernels, d_inputs, d_state

  def _backward_in_time(
    self, kernels: Arrays, inputs: Arrays, values: Arrays, cotangents: jax.Array
  ) -> tuple[jax.Array, Arrays]:
    """Runs the steps in reverse order.

    Args:
      kernels: see `_halves`.
      inputs: see `__call__`.
      values: intermediate values of all steps from `_forward`, time first.
      cotangents: gradients with respect to the states after each step, time first.

    Returns:
      The gradient with respect to the state before the first step, and {name: gradients of all
      steps} with respect to the inputs and to "linear". "linear" is W_gh *1 h + b_gh in the
      multiplicative unit, and h in the standard one.
    """
    slope = _SLOPES[self.steps.activation]

    def step(
      d_next: jax.Array, slices: tuple[jax.Array, Arrays, Arrays]
    ) -> tuple[jax.Array, Arrays]:
      cotangent, values, step_inputs = slices
      step_inputs = inputs if self.constant else step_inputs
      linear, r, u, c = values["linear"], values["r"], values["u"], values["c"]
      g = linear * step_inputs["gate"] if "gate" in step_inputs else linear
      d_after = cotangent + d_next
      d_candidate = d_after * (1 - u) * slope(c)
      d_reset = self._convolve_back(d_candidate, kernels["candidate"])  # by r * g
      d_gates = jnp.concatenate(
        [d_reset * g * r * (1 - r), d_after * (g - c) * u * (1 - u)], axis=-1
      )
      d_g = d_after * u + d_reset * r + self._convolve_back(d_gates, kernels["gates"])
      gradients = {"gates": d_gates, "candidate": d_candidate}
      if "gate" in step_inputs:
        gradients["gate"], gradients["linear"] = d_g * linear, d_g * step_inputs["gate"]
        d_g = self._convolve_back(gradients["linear"], kernels["state"])
      return d_g, gradients

    return self.steps.scan(
      step,
      meshes.like_devices(jnp.zeros_like(values["after"][0]), cotangents),
      (cotangents, values, None if self.constant else inputs),
      reverse=True,
    )

  def _kernel_gradient(self, x: jax.Array, cotangent: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient with respect to a kernel, summed over all steps.

    `x` and `cotangent` are [T, B, H, W, ...].
    """
    # Merging T and B with time as the slower axis would move examples between devices.
    x, cotangent = jnp.moveaxis(x, 0, 1), jnp.moveaxis(cotangent, 0, 1)
    _, pullback = jax.vjp(lambda k: self.convolve(x, k), kernel)
    return pullback(cotangent)[0]
