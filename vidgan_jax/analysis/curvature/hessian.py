"""Leading eigenvalues of the Hessian of a discriminator's loss.

"Lower Dimensional Kernels for Video Discriminators" 3.2.2: second derivatives are taken with
respect to the parameters of one discriminator, on a fixed batch. Lanczos' algorithm needs only
products of the Hessian with vectors, which are exact (Pearlmutter 1994).

With spectral normalisation, the loss is the function that training differentiates: the vectors of
the power iteration are constants in it. In fact these vectors depend on the weights. The first
derivative of the loss is the same with and without this dependence, but the second is not. This
module leaves the dependence out.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.flatten_util import ravel_pytree
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models import contract, registry
from vidgan_jax.models.contract import Arrays, Context, Side, VideoGan
from vidgan_jax.ops import forms
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training.state import TrainState

TOLERANCE = 1e-3  # an eigenvalue has converged if its residual is at most this fraction of it


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """The result of Lanczos' algorithm.

  Attributes:
    eigenvalues: the leading eigenvalues, largest magnitude first.
    residuals: upper bounds of their errors.
    largest, smallest: the largest and the smallest eigenvalue.
    end_residuals: upper bounds of the errors of these two.
    iterations: number of Hessian-vector products.
    converged: whether all these errors are within the tolerance.
  """

  eigenvalues: np.ndarray
  residuals: np.ndarray
  largest: float
  smallest: float
  end_residuals: tuple[float, float]
  iterations: int
  converged: bool


class Abandoned(Exception):
  """`stop` ended the computation before it was complete."""


class NotFinite(UserError):
  """A Hessian-vector product or a gradient is not finite, for example due to infinite weights."""


def lanczos(
  product: Callable[[jax.Array], jax.Array],
  size: int,
  *,
  count: int = 10,
  iterations: int = 100,
  tolerance: float = TOLERANCE,
  seed: int = 0,
  dtype: Any = np.float32,
  stop: Callable[[], bool] | None = None,
) -> Spectrum:
  """Leading eigenvalues of a symmetric operator (Lanczos 1950).

  Each new vector is orthogonalised twice against all earlier ones. Without this, rounding errors
  make converged eigenvalues appear again as copies.

  Args:
    product: maps a vector [size] to its product with the operator.
    size: length of the vectors.
    count: number of eigenvalues, those of largest magnitude.
    iterations: maximum number of products.
    tolerance: the iteration ends when the residuals of these eigenvalues and of both ends of the
      spectrum are at most this fraction of the eigenvalues.
    seed: of the first vector.
    dtype: of the vectors.
    stop: called before every product; the iteration is abandoned if it returns true.

  Returns:
    a `Spectrum` of min(count, size) eigenvalues, or of fewer if the vectors span an invariant
    subspace earlier.

  Raises:
    Abandoned: `stop` returned true.
    NotFinite: a product is not finite.
  """
  limit = min(iterations, size)
  first = np.random.default_rng(seed).standard_normal(size)
  vector = jnp.asarray(first / np.linalg.norm(first), dtype)
  basis = jnp.zeros((limit, size), dtype)  # rows that are still zero have no effect in `_next`
  diagonal, off_diagonal = [], []
  while True:
    if stop and stop():
      raise Abandoned
    basis = _with_row(basis, vector, len(diagonal))
    alpha, beta, vector = _next(product(vector), vector, basis)
    diagonal.append(float(alpha))
    if not np.isfinite([diagonal[-1], float(beta)]).all():
      raise NotFinite("the Hessian of the discriminators' loss is not finite")
    matrix = np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values))[:count]
    residuals = np.abs(float(beta) * vectors[-1])
    scale = np.max(np.abs(values)) or 1.0
    # The vectors so far span an invariant subspace: no product leaves it.
    exhausted = float(beta) <= 10 * np.finfo(dtype).eps * scale
    checked = [*order, 0, -1]
    converged = len(order) == min(count, size) and np.all(
      residuals[checked] <= tolerance * np.abs(values[checked])
    )
    if converged or exhausted or len(diagonal) == limit:
      return Spectrum(
        values[order],
        residuals[order],
        float(values[-1]),
        float(values[0]),
        (float(residuals[-1]), float(residuals[0])),
        len(diagonal),
        bool(converged or exhausted),
      )
    off_diagonal.append(float(beta))


@functools.partial(jax.jit, donate_argnums=0)
def _with_row(basis, vector, index):
  return basis.at[index].set(vector)


@jax.jit
def _next(image, vector, basis):
  """One step of Lanczos' algorithm.

  Args:
    image: product of the operator with `vector`.
    vector: the current vector.
    basis: all vectors so far, as rows, the current one included.

  Returns:
    alpha and beta, the next elements on and beside the diagonal of the tridiagonal matrix, and the
    next vector, which is orthogonal to the rows of `basis`.
  """
  with jax.default_matmul_precision("highest"):
    alpha = jnp.dot(vector, image)
    for _ in range(2):
      image = image - (basis @ image) @ basis
    beta = jnp.linalg.norm(image)
    return alpha, beta, image / jnp.where(beta > 0, beta, 1)


class FixedInputs(struct.PyTreeNode):
  """Everything that stays fixed while the parameters of one discriminator vary.

  Attributes:
    context: see `contract.Context`.
    real, generated: both sides, without scores.
    real_views, generated_views: the views of both sides, see `VideoGan.views`.
    weights: {discriminator: normalised weights}. Those of the analyzed discriminator are not used.
    spectral: {discriminator: vectors of the power iteration}.
    batch_stats: {discriminator: running statistics of batch normalisation}.
  """

  context: Context
  real: Side
  generated: Side
  real_views: Any
  generated_views: Any
  weights: Any
  spectral: Any
  batch_stats: Any


def for_analysis(config: ConfigDict, platform: str) -> VideoGan:
  """Builds the system of `config` in float32 or float64, with second derivatives.

  Args:
    config: of the run.
    platform: of the devices that the analysis runs on; see `runtime.mesh.platform`.
  """
  config = config.copy_and_resolve_references()
  with config.unlocked():
    if config.precision != "float64":
      config.precision = "float32"
  ops = forms.choose(platform, config.model.savings, forward_mode=True)
  return registry.build(config, platform=platform, ops=ops)


def _key(seed, stream):
  return streams.key(seed, stream)  # without a step: the same key at every iteration


def _normalized(network, vectors, eps):
  return spectral_norm.normalize(network, vectors, eps=eps)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def fix_inputs(
  gan: VideoGan, seed: int, state: TrainState, batch: Arrays, frozen: Any = None
) -> FixedInputs:
  """Generates as many clips as `batch` has, in training mode, and draws the views of both sides.

  Args:
    gan: from `for_analysis`.
    seed: of latents, views and noise. With one seed they are the same at every iteration.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    frozen: see `Context`.
  """
  key = functools.partial(_key, seed)
  context = Context(state.step, frozen or {})
  latents = gan.latents(key(streams.LATENTS), batch["label"].shape[0])
  inputs = gan.generated_inputs(key(streams.INPUTS), batch, context)
  inputs = gan.derive(context.frozen, latents, inputs)
  generator = {
    "params": _normalized(state.generator.params, state.generator.spectral, gan.spectral_eps),
    normalization.COLLECTION: state.generator.batch_stats,
  }
  samples, _ = gan.generate(generator, latents, inputs, key(streams.NOISE_GENERATOR), True)
  generated = Side(inputs=inputs, samples=samples, latents=latents)
  real = Side(
    inputs=gan.real_inputs(key(streams.REAL), batch, context),
    samples=gan.real_samples(key(streams.REAL), batch, context),
  )
  view = lambda stream, side: gan.augmented_views(key(stream), side.samples, side.inputs, context)
  networks = state.discriminators.items()
  return FixedInputs(
    context,
    real,
    generated,
    view(streams.VIEWS_REAL, real),
    view(streams.VIEWS_GENERATED, generated),
    {n: _normalized(network.params, network.spectral, gan.spectral_eps) for n, network in networks},
    {n: network.spectral for n, network in networks},
    {n: network.batch_stats for n, network in networks},
  )


def discriminator_loss(
  gan: VideoGan,
  name: str,
  seed: int,
  fixed: FixedInputs,
  params: Any,
  params_for_generated: Any = None,
) -> jax.Array:
  """The discriminators' loss as a function of the parameters of one discriminator.

  It is the loss of training: weights are normalised, batch normalisation uses the statistics of the
  batch, and penalties are included.

  Args:
    gan: from `for_analysis`.
    name: of the discriminator.
    seed: see `fix_inputs`.
    fixed: from `fix_inputs`.
    params: parameters of the discriminator.
    params_for_generated: parameters that score the generated clips, None for `params`. Passing them
      separately gives separate gradients for the two sides. Penalties use `params`.
  """
  key = functools.partial(_key, seed)

  def weights(params):
    return {**fixed.weights, name: _normalized(params, fixed.spectral[name], gan.spectral_eps)}

  def scores(weights, views):
    return {name: score(weights, name, views[name]) for name in weights}

  def score(weights, name, view):
    variables = {"params": weights[name], normalization.COLLECTION: fixed.batch_stats[name]}
    return gan.discriminate(name, variables, view, key(streams.NOISE_DISCRIMINATOR))[0]

  for_real = weights(params)
  for_generated = for_real if params_for_generated is None else weights(params_for_generated)
  parts: dict[str, Any] = gan.discriminator_losses(
    fixed.real.replace(scores=scores(for_real, fixed.real_views)),
    fixed.generated.replace(scores=scores(for_generated, fixed.generated_views)),
    fixed.context,
  )
  parts |= gan.penalties(
    functools.partial(score, for_real),
    fixed.real_views,
    fixed.generated_views,
    key(streams.PENALTY),
    fixed.context,
  )
  return sum(parts.values())


def check_name(gan: VideoGan, name: str) -> None:
  """Raises UserError if `gan` has no discriminator of this name."""
  contract.check("discriminator", name, sorted(gan.discriminators))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def hessian_product(
  gan: VideoGan, name: str, seed: int, fixed: FixedInputs, params: Any, vector: jax.Array
) -> jax.Array:
  """Product of the Hessian of `discriminator_loss` at `params` with a vector.

  Computed as the forward-mode derivative of the reverse-mode gradient.

  Args:
    gan, name, seed, fixed, params: see `discriminator_loss`.
    vector: [N], N the number of parameters, in the order of `jax.flatten_util.ravel_pytree`.
  """
  flat, unravel = ravel_pytree(params)
  loss = lambda flat: discriminator_loss(gan, name, seed, fixed, unravel(flat))
  return jax.jvp(jax.grad(loss), (flat,), (vector,))[1]


def spectrum(
  gan: VideoGan,
  state: TrainState,
  batch: Arrays,
  name: str,
  *,
  seed: int = 0,
  frozen: Any = None,
  **options: Any,
) -> Spectrum:
  """Leading eigenvalues of the Hessian of `discriminator_loss`.

  Args:
    gan: from `for_analysis`.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    name: of the discriminator.
    seed: of latents, views and noise, and of Lanczos' first vector.
    frozen: see `Context`.
    **options: further arguments of `lanczos`.

  Raises:
    UserError: on an unknown name.
  """
  check_name(gan, name)
  fixed = fix_inputs(gan, seed, state, batch, frozen)
  params = state.discriminators[name].params
  leaves = jax.tree.leaves(params)
  return lanczos(
    lambda vector: hessian_product(gan, name, seed, fixed, params, vector),
    sum(leaf.size for leaf in leaves),
    dtype=leaves[0].dtype,
    seed=seed,
    **options,
  )
