"""Arithmetic of the independent training loops of this folder, and their comparison with a run.

The loops use no layers, operations, losses or optimizers of vidgan_jax. Their networks use jax.lax,
their optimizers and averages NumPy. Parameters are flat: {"path/of/layer/kernel": array}. The
project gives what a loop begins with and draws: the first state, latents, labels and the numbers of
frames.
"""

import re
import types
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.step import Iteration

Flat = dict[str, np.ndarray]


def flat(tree) -> Flat:
  """The arrays of nested dicts by path."""
  return {
    "/".join(str(entry.key) for entry in path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def convolution(x, kernel, strides, padding):
  """Correlation of the last axes of x [..., *spatial, in] with a kernel [*window, in, out].

  Args:
    x: activations; axes in front of the window's axes are batch.
    kernel: see above.
    strides: one number for all axes of the window.
    padding: zeros at both ends, one number for all axes, or one number per axis.
  """
  rank = kernel.ndim - 2
  padding = (padding,) * rank if isinstance(padding, int) else padding
  lead, inner = x.shape[: x.ndim - rank - 1], x.shape[x.ndim - rank - 1 :]
  strides = (strides,) * rank if isinstance(strides, int) else strides
  letters = "DHW"[3 - rank :]
  out = jax.lax.conv_general_dilated(
    x.reshape(-1, *inner),
    kernel,
    strides,
    [(pad, pad) for pad in padding],
    dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
  )
  return out.reshape(*lead, *out.shape[1:])


def transposed_convolution(x, kernel):
  """Transposed convolution with window 4, stride 2 and padding 1: it doubles every axis.

  Input i adds to output 2 i - 1 + k its product with the kernel's entry k.
  """
  rank = kernel.ndim - 2
  lead, inner = x.shape[: x.ndim - rank - 1], x.shape[x.ndim - rank - 1 :]
  letters = "DHW"[3 - rank :]
  out = jax.lax.conv_general_dilated(
    x.reshape(-1, *inner),
    jnp.flip(kernel, tuple(range(rank))),
    (1,) * rank,
    [(2, 2)] * rank,
    lhs_dilation=(2,) * rank,
    dimension_numbers=(f"N{letters}C", f"{letters}IO", f"N{letters}C"),
  )
  return out.reshape(*lead, *out.shape[1:])


def normalized(x, epsilon: float, axes=None):
  """(x - mean) / sqrt(variance + epsilon), and {"mean", "variance"} without the axes of size 1.

  Args:
    x: activations [..., C].
    epsilon: see above.
    axes: axes that mean and variance are taken over; None is all but the channels.
  """
  axes = tuple(range(x.ndim - 1)) if axes is None else axes
  mean = jnp.mean(x, axes, keepdims=True)
  variance = jnp.mean((x - mean) ** 2, axes, keepdims=True)
  moments = {"mean": jnp.squeeze(mean, axes), "variance": jnp.squeeze(variance, axes)}
  return (x - mean) / jnp.sqrt(variance + epsilon), moments


def relu(x):
  """max(x, 0), with derivative 0 at 0."""
  return jnp.where(x > 0, x, 0)


def leaky_relu(x, slope: float = 0.2):
  """x where it is positive, otherwise slope * x."""
  return jnp.where(x > 0, x, slope * x)


def sigmoid(x):
  """1 / (1 + e^-x)."""
  return 1 / (1 + jnp.exp(-x))


class RmsProp:
  """Chainer's RMSprop: decay 0.99, and epsilon 1e-8 outside the root of squares that begin at 0."""

  def __init__(self, params: Flat, rate: float):
    self.rate = rate
    self.moments = {"nu": {name: np.zeros_like(p) for name, p in params.items()}}

  def step(self, params: Flat, gradients: Mapping) -> Flat:
    """The parameters after one update."""
    squares, after = self.moments["nu"], {}
    for name, value in params.items():
      slope = np.asarray(gradients[name])
      squares[name] = 0.99 * squares[name] + 0.01 * slope**2
      after[name] = value - self.rate * slope / (np.sqrt(squares[name]) + 1e-8)
    return after


class Adam:
  """Adam with epsilon outside the root of the corrected second moment, as in PyTorch.

  Args:
    params: parameters to update.
    rate: learning rate.
    beta1: decay of the first moment; that of the second is 0.999.
    weight_decay: times the parameter, added to its gradient.
  """

  def __init__(self, params: Flat, rate: float, beta1: float, weight_decay: float = 0.0):
    self.rate, self.beta1, self.weight_decay, self.number = rate, beta1, weight_decay, 0
    zeros = lambda: {name: np.zeros_like(p) for name, p in params.items()}
    self.moments = {"mu": zeros(), "nu": zeros()}

  def step(self, params: Flat, gradients: Mapping) -> Flat:
    """The parameters after one update."""
    self.number += 1
    first, second, after = self.moments["mu"], self.moments["nu"], {}
    for name, value in params.items():
      slope = np.asarray(gradients[name]) + self.weight_decay * value
      first[name] = self.beta1 * first[name] + (1 - self.beta1) * slope
      second[name] = 0.999 * second[name] + 0.001 * slope**2
      m = first[name] / (1 - self.beta1**self.number)
      v = second[name] / (1 - 0.999**self.number)
      after[name] = value - self.rate * m / (np.sqrt(v) + 1e-8)
    return after


def blended(running: Flat, reported: Mapping) -> Flat:
  """Running statistics after a batch: 0.9 of the old ones, 0.1 of those of the batch."""
  return {name: 0.9 * old + 0.1 * np.asarray(reported[name]) for name, old in running.items()}


def averaged(average: Flat, new: Flat, number: int, start: int, decay: float) -> Flat:
  """The moving average after update `number` (1 is the first): a copy before update `start`."""
  if number < start:
    return dict(new)
  return {name: decay * old + (1 - decay) * new[name] for name, old in average.items()}


def started(config) -> tuple:
  """The system of a config, its iteration as training runs it, and a state to begin with.

  Faults hide behind initial biases of 0, gains of 1 and weights of attention of 0, so that here all
  parameters are random. To draw the system's own initial values would also take long to compile.
  """
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  shapes = jax.eval_shape(lambda: states.create(gan, transforms, config.seed))
  random = np.random.default_rng(7)

  def fill(path, shape):
    names = [str(getattr(entry, "name", getattr(entry, "key", ""))) for entry in path]
    normal = random.normal(size=shape.shape)
    if "optimizer" in names or names[-1] in ("step", "mean"):
      return jnp.zeros(shape.shape, shape.dtype)
    if names[-1] == "variance":
      return jnp.ones(shape.shape, shape.dtype)
    if "params" not in names or names[-1] == "embedding":
      return jnp.asarray(normal)
    if names[-1].endswith("kernel"):
      return jnp.asarray(1.5 * normal / np.sqrt(np.prod(shape.shape[:-1])))
    return jnp.asarray((names[-1] == "gain") + 0.1 * normal)

  state = jax.tree_util.tree_map_with_path(fill, shapes)
  average = states.Average(state.generator.params, state.generator.batch_stats)
  return gan, Iteration(gan, transforms, config), state.replace(ema=average)


def trained(config, iterations: int) -> types.SimpleNamespace:
  """Trains with the project's step.

  Args:
    config: the whole config.
    iterations: number of iterations.

  Returns:
    gan; batches, {"clip": uint8 [D steps, B, T, H, W, 3], "label": int [D steps, B]} of each
    iteration; the state before and after; the metrics of each iteration.
  """
  gan, iteration, before = started(config)
  draw, batches = np.random.default_rng(3), []
  shape = (gan.schedule.discriminator_steps, config.batch_size)
  size = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
  for _ in range(iterations):
    label = draw.integers(0, max(1, gan.num_classes), shape, dtype=np.int32)
    batches.append({"clip": draw.integers(0, 256, size, dtype=np.uint8), "label": label})
  step, state, metrics = jax.jit(iteration), before, []
  for batch in batches:
    state, values = step(state, batch)
    metrics.append({name: float(value) for name, value in values.items()})
  return types.SimpleNamespace(
    gan=gan, batches=batches, before=before, after=state, metrics=metrics
  )


def chosen_frames(gan, key, batch_size: int, name: str) -> np.ndarray:
  """The numbers [B, k] of the frames that discriminator `name` sees of each clip."""
  numbers = np.broadcast_to(np.arange(gan.frames)[:, None, None, None], (gan.frames, 2, 2, 3))
  clips = np.broadcast_to(numbers, (batch_size, *numbers.shape)).astype(np.float64)
  inputs = {"label": np.zeros(batch_size, np.int32)}
  views = gan.views(key, {"clip": jnp.asarray(clips)}, inputs, Context(0))
  return np.asarray(views[name]["clip"])[:, :, 0, 0, 0].astype(int)


def frames_of(clips, numbers):
  """The frames `numbers` [B, k] of clips [B, T, H, W, C]."""
  return clips[jnp.arange(len(clips))[:, None], numbers]


def real_clips(batch: dict, step: int) -> np.ndarray:
  """The clips of discriminator update `step` in [-1, 1]."""
  return batch["clip"][step].astype(np.float64) / 127.5 - 1


def arrays(state) -> dict[str, Flat]:
  """The arrays of a state in groups, such as "generator/params", "video/nu" and "ema/params"."""
  groups = {f"ema/{name}": flat(getattr(state.ema, name)) for name in ("params", "batch_stats")}
  for name, network in {"generator": state.generator, **state.discriminators}.items():
    for part in ("params", "spectral", "batch_stats"):
      groups[f"{name}/{part}"] = flat(getattr(network, part))
    for moment in ("mu", "nu"):
      groups[f"{name}/{moment}"] = flat(optax.tree_utils.tree_get(network.optimizer, moment) or {})
  return {name: group for name, group in groups.items() if group}


def check(run, losses: list[dict], expected: dict[str, Flat], *, limit: float, idle: str):
  """Compares a run of the project with an independent one.

  Differences are relative to the largest entry of an array, or to 1e-4 of the largest of its group
  if that is more. A bias in front of a batch norm changes
  nothing, as do others of which the loss takes a difference: their gradients are 0 but for rounding
  errors, which optimizers divide by 1e-8. They, and the means behind them, are compared with the
  limit 1e-8 and by absolute differences.

  Args:
    run: the result of `trained`.
    losses: {name of a metric: value} of each iteration.
    expected: the groups of `arrays` after the last iteration.
    limit: largest accepted relative difference of arrays; that of losses is 1e-13.
    idle: regular expression of the paths of such biases and means.
  """
  start, actual = arrays(run.before), arrays(run.after)
  assert actual.keys() == expected.keys()
  found = {}
  for name in losses[0]:
    pairs = [(m[name], float(one[name])) for m, one in zip(run.metrics, losses, strict=True)]
    found[name] = max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs), 1e-13
  still = []
  for name, group in expected.items():
    assert actual[name].keys() == group.keys()
    floor = 1e-4 * max(np.max(np.abs(value)) for value in group.values())
    for path, value in group.items():
      got = actual[name][path]
      assert got.shape == value.shape
      loose = bool(re.fullmatch(idle, path))
      scale = 1.0 if loose else max(np.max(np.abs(value)), floor)
      largest = np.max(np.abs(got - value)) / scale
      part = f"{name}, idle" if loose else name
      before, _ = found.get(part, (0.0, 0.0))
      found[part] = max(before, float(largest)), 1e-8 if loose else limit
      if not loose and np.array_equal(got, start[name][path]):
        still.append(f"{name}/{path}")
  print("\n".join(f"{part}: {value:.1e}" for part, (value, _) in found.items()))
  assert all(value <= bound for value, bound in found.values()), found
  assert not still, still  # a comparison of what does not change shows nothing
