"""Penalties on weights and on gradients."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import traverse_util
from flax.core import unfreeze

from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class R1:
  """Mescheder et al.'s penalty on the gradients of discriminators at real clips (1801.04406).

  For one discriminator D with n real views x_i the penalty is

    weight * reference_count * sum_i |grad D(x_i)|^2 / n.

  TGANv2 (equation 10) sums over the clips of one device instead of averaging. A mean does not
  depend on the number of devices and micro-batches; `reference_count` is the number of clips that
  the sum is taken over there.

  Attributes:
    weight: lambda; 0 is no penalty.
    reference_count: see above; 1 is the usual mean.
  """

  weight: float = 0.0
  reference_count: int = 1


def squared_gradient_norms(
  score: Callable[[Mapping[str, jax.Array]], jax.Array], view: Mapping[str, jax.Array]
) -> jax.Array:
  """The squared norms [N] of the gradients of N scores by the arrays of `view`.

  Args:
    score: maps a view to scores [N]. Score i depends on example i of the view; with batch
      normalisation in the discriminator also on the others, and the gradient is that of the sum of
      the scores, as in the authors' code.
    view: arrays [N, ...]; only those of floating-point numbers with more than one axis are
      differentiated by, so neither labels nor numbers such as how far a level has faded in.
  """
  differentiable = lambda a: a.ndim > 1 and jnp.issubdtype(a.dtype, jnp.floating)
  clips = {name: array for name, array in view.items() if differentiable(array)}
  gradients = jax.grad(lambda clips: jnp.sum(score({**view, **clips})))(clips)
  wide = lambda a: a.astype(jnp.promote_types(jnp.float32, a.dtype))
  norm = lambda a: jnp.sum(jnp.square(wide(a)), axis=tuple(range(1, a.ndim)))
  return sum(map(norm, gradients.values()))  # type: ignore[return-value]  # of at least one array


def orthogonal_gradient(params: Any, weight: float) -> Any:
  """Gradient of BigGAN's orthogonal penalty, 2 beta ((W W^T) o (1 - I)) W, for each kernel.

  W is a parameter named "kernel", flattened to [out, in * window]. The gradient of all other
  parameters (embedding tables, gains, biases) is zero. BigGAN also leaves out the shared embedding.

  Args:
    params: nested dict of parameters.
    weight: beta, 1e-4 in BigGAN.

  Returns:
    The gradients, with the structure of `params`.
  """
  gradients = {}
  for path, leaf in traverse_util.flatten_dict(unfreeze(params)).items():
    if path[-1] != "kernel":
      gradients[path] = jnp.zeros_like(leaf)
      continue
    rows = leaf.reshape(-1, leaf.shape[-1]).T
    product = lambda a, b: jnp.dot(a, b, precision=jax.lax.Precision.HIGHEST)
    gram = product(rows, rows.T)
    off_diagonal = gram * (1 - jnp.eye(gram.shape[0], dtype=gram.dtype))
    gradients[path] = (2 * weight * product(off_diagonal, rows)).T.reshape(leaf.shape)
  return traverse_util.unflatten_dict(gradients)


def mix(real: jax.Array, generated: jax.Array, share: jax.Array) -> jax.Array:
  """Blends each real example with a generated one: real + share (generated - real).

  Args:
    real, generated: [B, ...].
    share: [B], the share of the generated example.
  """
  share = share.reshape(-1, *[1] * (real.ndim - 1)).astype(real.dtype)
  return real + share * (generated - real)


def wgan_gradient_penalty(
  score: Callable[[jax.Array], jax.Array],
  real: jax.Array,
  generated: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """The gradient penalty of WGAN-GP (Gulrajani et al. 2017, arXiv 1704.00028), without its weight.

  Args:
    score: maps clips [B, T, H, W, C] to scores [B].
    real, generated: clips.
    share: [B], uniform in [0, 1); see `mix`.

  Returns:
    the mean over clips of (|gradient of the score by the mixed clip| - 1)^2.
  """
  return jnp.mean(jnp.square(jnp.sqrt(_squared_norms(score, mix(real, generated, share))) - 1))


def zero_centred_gradient_penalty(
  score: Callable[[jax.Array], jax.Array],
  real: jax.Array,
  generated: jax.Array,
  share: jax.Array,
) -> jax.Array:
  """The gradient penalty of the sliced Wasserstein GAN's code, without its weight.

  Wu et al. 2019 (arXiv 1706.02631); the factor (1 - share) is their code's.

  Args:
    score: maps clips [B, T, H, W, C] to scores [B].
    real, generated: clips.
    share: [B], uniform in [0, 1); see `mix`.

  Returns:
    the mean over clips of |(1 - share) gradient of the score by the mixed clip|^2.
  """
  squares = _squared_norms(score, mix(real, generated, share))
  return jnp.mean(jnp.square(1 - share) * squares)


def _squared_norms(score: Callable[[jax.Array], jax.Array], clips: jax.Array) -> jax.Array:
  """[B]: the squared norm of the gradient of the sum of the scores by each clip."""
  gradient = jax.grad(lambda x: jnp.sum(score(x)))(clips)
  squares = jnp.sum(jnp.square(gradient), axis=tuple(range(1, gradient.ndim)))
  # The root has no derivative at 0. Where a gradient vanishes, so does that of the maximum.
  return jnp.maximum(squares, jnp.finfo(squares.dtype).tiny)


PROJECTION_FORMS = ("released", "derivative")


def projection_penalty(
  real: jax.Array,
  generated: jax.Array,
  scale: jax.Array,
  share: jax.Array,
  *,
  slope: float,
  form: str,
) -> jax.Array:
  """The penalty on the projections of the sliced Wasserstein GAN, without its weight.

  A projection k of features f is F_k(f) = leaky ReLU(a) with a = scale_k (W f)_k + offset_k. The
  paper penalises how far the derivative of F_k by (W f)_k is from 0.01 (Wu et al. 2019, algorithm
  2). Where that derivative has 1 or the slope, the released code has |leaky ReLU(F_k)|.

  Args:
    real, generated: a of the features of both sides, [B, K]. Since a is affine in f, the blend of
      two a is that of the blended features.
    scale: [B, K] or [K].
    share: [B], uniform in [0, 1); see `mix`.
    slope: of the leaky ReLU below 0.
    form: "released" as the code has it, or "derivative" as the paper has it.

  Returns:
    the mean over clips and projections of (scale m - 0.01)^2. For the blended a, m is
    |leaky ReLU(F_k)| ("released") or the derivative of the leaky ReLU at a ("derivative").

  Raises:
    UserError: on an unknown form.
  """
  if form not in PROJECTION_FORMS:
    raise UserError(f"unknown projection penalty {form!r}; known: {', '.join(PROJECTION_FORMS)}")
  mixed = mix(real, generated, share)
  if form == "released":
    factor = jnp.abs(jax.nn.leaky_relu(jax.nn.leaky_relu(mixed, slope), slope))
  else:
    factor = jnp.where(mixed < 0, slope, 1.0)
  return jnp.mean(jnp.square(scale * factor - 0.01))
