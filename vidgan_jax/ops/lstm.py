"""The convolutional LSTM of TGANv2, as written and with a backward pass of its own.

  i, f, o, a = split(W_x * x_t + b + W_h * h)
  c' = sigmoid(f) o c + sigmoid(i) o tanh(a)
  h' = sigmoid(o) o tanh(c')

* is a SAME convolution with a 3x3 window, o the elementwise product; h and c start at zero. The
  input x is not zero at the first step alone (TGANv2 4.1), there is no peephole connection, and the
  recurrent convolution has no bias, as in pfnet-research/tgan2.

The convolution of a zero input is zero. `hoisted` computes W_x * x at the first step only, which is
exact and saves nearly half of the unit's work; `as_written` convolves the zeros as well.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vidgan_jax.runtime import mesh as meshes

Convolve = Callable[[jax.Array, jax.Array], jax.Array]
Parts = tuple[jax.Array, ...]  # i, f, o, tanh(a) and tanh(c') of one step, [B, H, W, F] each
Kept = dict[str, Any]  # what the backward pass needs of each step


@dataclasses.dataclass(frozen=True)
class Weights:
  """Weights of the unit; the 4F output channels are those of i, f, o and a, in this order.

  Attributes:
    on_input: kernel [3, 3, C, 4F].
    bias: [4F].
    on_state: kernel [3, 3, F, 4F].
  """

  on_input: jax.Array
  bias: jax.Array
  on_state: jax.Array


def as_written(
  weights: Weights, x: jax.Array, convolve: Convolve, *, frames: int, unroll: bool
) -> jax.Array:
  """Runs the unit; every step convolves its input and its state.

  Args:
    weights: see `Weights`.
    x: [B, H, W, C], the input of the first step.
    convolve: a SAME convolution of (activations, kernel).
    frames: number of steps T.
    unroll: unroll the steps into the program.

  Returns:
    the states h after each step, [B, T, H, W, F].
  """
  start = _zeros(x, weights)
  # The first of the inputs is x, the others are zero.
  inputs = jnp.pad(x[None], ((0, frames - 1), *[(0, 0)] * x.ndim))

  def step(carry: tuple[jax.Array, jax.Array], x: jax.Array) -> tuple[Any, jax.Array]:
    h, c = carry
    gates = convolve(x, weights.on_input) + weights.bias.astype(x.dtype)
    h, c, _ = _cell(gates + convolve(h, weights.on_state), c)
    return (h, c), h

  _, states = jax.lax.scan(step, (start, start), inputs, unroll=frames if unroll else 1)
  return jnp.moveaxis(states, 0, 1)


def hoisted(
  weights: Weights, x: jax.Array, convolve: Convolve, *, frames: int, unroll: bool
) -> jax.Array:
  """As `as_written`, with the convolution of the input outside the loop.

  It has reverse-mode derivatives only, by a backward pass of its own (`_Recurrence`).
  """
  bias = weights.bias.astype(x.dtype)
  first = convolve(x, weights.on_input) + bias
  run = _Recurrence(convolve, frames, unroll)
  states = run(weights.on_state, first, jnp.broadcast_to(bias, first.shape), _zeros(x, weights))
  return jnp.moveaxis(states, 0, 1)


def _zeros(x: jax.Array, weights: Weights) -> jax.Array:
  """The state before the first step, [B, H, W, F]."""
  zeros = jnp.zeros((*x.shape[:-1], weights.on_state.shape[2]), x.dtype)
  return meshes.like_devices(zeros, x)


def _cell(gates: jax.Array, c: jax.Array) -> tuple[jax.Array, jax.Array, Parts]:
  """The elementwise part of a step; returns h', c' and what its derivative needs."""
  i, f, o, a = jnp.split(gates, 4, axis=-1)
  i, f, o = (jax.nn.sigmoid(gate) for gate in (i, f, o))
  a = jnp.tanh(a)
  after = f * c + i * a
  squashed = jnp.tanh(after)
  return o * squashed, after, (i, f, o, a, squashed)


@dataclasses.dataclass(frozen=True)
class _Recurrence:
  """The recurrent half of the unit, all steps, with a backward pass of its own.

  The gradient of the recurrent kernel is one convolution over all steps together. Automatic
  differentiation takes it at every step, with one sum over devices for each.

  Attributes:
    convolve: a SAME convolution of (activations, kernel).
    frames: number of steps.
    unroll: unroll the steps into the program.
  """

  convolve: Convolve
  frames: int
  unroll: bool

  def __call__(
    self, kernel: jax.Array, first: jax.Array, later: jax.Array, start: jax.Array
  ) -> jax.Array:
    """Returns the states [T, B, H, W, F].

    Args:
      kernel: of the state, [3, 3, F, 4F].
      first: what is added to the convolved state at the first step, [B, H, W, 4F].
      later: the same at all other steps.
      start: zeros [B, H, W, F].
    """
    run = jax.custom_vjp(lambda *arguments: self._forward(*arguments)[0])
    run.defvjp(self._forward, self._backward)
    return run(kernel, first, later, start)

  def _scan(
    self, function: Callable, carry: Any, xs: Any, reverse: bool = False
  ) -> tuple[Any, Any]:
    unroll = self.frames if self.unroll else 1
    return jax.lax.scan(function, carry, xs, length=self.frames, unroll=unroll, reverse=reverse)

  def _forward(
    self, kernel: jax.Array, first: jax.Array, later: jax.Array, start: jax.Array
  ) -> tuple[jax.Array, tuple[jax.Array, Kept]]:
    is_first = jnp.arange(self.frames) == 0

    def step(carry: tuple[jax.Array, jax.Array], is_first: jax.Array) -> tuple[Any, Kept]:
      h, c = carry
      added = jnp.where(is_first, first, later)
      after_h, after_c, parts = _cell(added + self.convolve(h, kernel), c)
      return (after_h, after_c), {"before": h, "memory": c, "after": after_h, "parts": parts}

    _, kept = self._scan(step, (start, start), is_first)
    return kept["after"], (kernel, kept)

  def _backward(
    self, residuals: tuple[jax.Array, Kept], cotangents: jax.Array
  ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    kernel, kept = residuals
    mirrored = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)

    def step(
      carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, Kept]
    ) -> tuple[Any, jax.Array]:
      d_h, d_c = carry
      cotangent, kept = now
      i, f, o, a, squashed = kept["parts"]
      d_h = d_h + cotangent
      d_c = d_c + d_h * o * (1 - squashed * squashed)
      d_gates = jnp.concatenate(
        [
          d_c * a * i * (1 - i),
          d_c * kept["memory"] * f * (1 - f),
          d_h * squashed * o * (1 - o),
          d_c * i * (1 - a * a),
        ],
        axis=-1,
      )
      return (self.convolve(d_gates, mirrored), d_c * f), d_gates

    zeros = meshes.like_devices(jnp.zeros_like(kept["after"][0]), cotangents)
    (d_start, _), d_gates = self._scan(step, (zeros, zeros), (cotangents, kept), reverse=True)
    # Batch-major: folding time-major would move examples between devices.
    before, by_step = (jnp.moveaxis(array, 0, 1) for array in (kept["before"], d_gates))
    _, pullback = jax.vjp(lambda k: self.convolve(before, k), kernel)
    (d_kernel,) = pullback(by_step)
    # The start is constant: its gradient is not used.
    return d_kernel, d_gates[0], jnp.sum(d_gates[1:], axis=0), d_start
