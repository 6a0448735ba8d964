"""Leading eigenvalues of the Hessian of a discriminator's loss.

"Lower Dimensional Kernels for Video Discriminators" 3.2.2: exact Hessian-vector products
(Pearlmutter 1994) and Lanczos' algorithm, on a fixed batch, by the parameters of one discriminator.

Of spectrally normalised weights the loss is the one that training differentiates: the vectors of
the power iteration are constants. Their turning with the weights, which the first derivative does
not see, is left out of the second.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.flatten_util import ravel_pytree

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models import contract, registry
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.ops import forms
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError

TOLERANCE = 1e-3  # an eigenvalue has converged where its residual is below this share of it


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """What Lanczos' algorithm found.

  Attributes:
    eigenvalues: the leading ones, by falling magnitude.
    residuals: bounds on their errors.
    largest, smallest: the ends of the spectrum.
    end_residuals: bounds on the errors of these two.
    iterations: Hessian-vector products taken.
    converged: all of these bounds were below the tolerance.
  """

  eigenvalues: np.ndarray
  residuals: np.ndarray
  largest: float
  smallest: float
  end_residuals: tuple[float, float]
  iterations: int
  converged: bool


class Abandoned(Exception):
  """Somebody asked to leave before the spectrum was found."""


class NotFinite(UserError):
  """A Hessian-vector product is not finite, as of a state that is not."""


def lanczos(
  product,
  size: int,
  *,
  count: int = 10,
  iterations: int = 100,
  tolerance: float = TOLERANCE,
  seed: int = 0,
  dtype=np.float32,
  stop=None,
) -> Spectrum:
  """Leading eigenvalues of a symmetric operator (Lanczos 1950).

  Every new vector is made orthogonal to all before it, twice: without that, found eigenvalues come
  again as copies.

  Args:
    product: maps a vector [size] to its product with the operator.
    size: of the vectors.
    count: how many eigenvalues, of largest magnitude.
    iterations: products at most.
    tolerance: stops once the residuals of these and of both ends of the spectrum are below this
      share of their eigenvalues.
    seed: of the first vector.
    dtype: of vectors.
    stop: a function (), asked before every product whether to give up.

  Returns:
    a `Spectrum` of min(count, size) eigenvalues, or less where the operator has fewer.

  Raises:
    Abandoned: where `stop` said so.
    NotFinite: where a product is not.
  """
  limit = min(iterations, size)
  first = np.random.default_rng(seed).standard_normal(size)
  vector = jnp.asarray(first / np.linalg.norm(first), dtype)
  basis = jnp.zeros((limit, size), dtype)  # rows that are not there yet change nothing
  diagonal, beside = [], []
  while True:
    if stop and stop():
      raise Abandoned
    basis = _placed(basis, vector, len(diagonal))
    alpha, beta, vector = _next(product(vector), vector, basis)
    diagonal.append(float(alpha))
    if not np.isfinite([diagonal[-1], float(beta)]).all():
      raise NotFinite("the Hessian of the discriminators' loss is not finite")
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    order = np.argsort(-np.abs(values))[:count]
    residuals = np.abs(float(beta) * vectors[-1])
    scale = np.max(np.abs(values)) or 1.0
    exhausted = float(beta) <= 10 * np.finfo(dtype).eps * scale  # the space is invariant
    watched = [*order, 0, -1]
    found = len(order) == min(count, size) and np.all(
      residuals[watched] <= tolerance * np.abs(values[watched])
    )
    if found or exhausted or len(diagonal) == limit:
      return Spectrum(
        values[order],
        residuals[order],
        float(values[-1]),
        float(values[0]),
        (float(residuals[-1]), float(residuals[0])),
        len(diagonal),
        bool(found or exhausted),
      )
    beside.append(float(beta))


@functools.partial(jax.jit, donate_argnums=0)
def _placed(basis, vector, index):
  return basis.at[index].set(vector)


@jax.jit
def _next(image, vector, basis):
  """alpha, beta and the next vector, orthogonal to the rows of `basis`."""
  with jax.default_matmul_precision("highest"):
    alpha = jnp.dot(vector, image)
    for _ in range(2):
      image = image - (basis @ image) @ basis
    beta = jnp.linalg.norm(image)
    return alpha, beta, image / jnp.where(beta > 0, beta, 1)


class Held(struct.PyTreeNode):
  """What stands still while one discriminator's parameters are looked at.

  Attributes:
    context: see `contract.Context`.
    real, generated: both sides, without scores.
    real_views, generated_views: what each discriminator sees of them.
    weights: {discriminator: normalised weights}; those of the one looked at are not used.
    spectral, batch_stats: {discriminator: its power-iteration vectors, its running moments}.
  """

  context: Context
  real: Side
  generated: Side
  real_views: Any
  generated_views: Any
  weights: Any
  spectral: Any
  batch_stats: Any


def for_analysis(config, platform: str) -> contract.VideoGan:
  """The system of `config` whose discriminators have second derivatives, in float32 or wider.

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
  return streams.key(seed, stream)  # of no iteration: the same throughout training


def _normalized(network, vectors, eps):
  return spectral_norm.normalize(network, vectors, eps=eps)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def hold(gan, seed: int, state, batch, frozen=None) -> Held:
  """Draws generated clips beside a batch, in training mode, and holds all that is random.

  Args:
    gan: from `for_analysis`.
    seed: of latents, windows, noise; the same at every iteration.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    frozen: see `Context`.
  """
  key = functools.partial(_key, seed)
  context = Context(state.step, frozen or {})
  latents = gan.latents(key(streams.LATENTS), batch["label"].shape[0])
  inputs = gan.generated_inputs(key(streams.INPUTS), batch, context)
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
  view = lambda stream, side: gan.views(key(stream), side.samples, side.inputs, context)
  networks = state.discriminators.items()
  return Held(
    context,
    real,
    generated,
    view(streams.VIEWS_REAL, real),
    view(streams.VIEWS_GENERATED, generated),
    {n: _normalized(network.params, network.spectral, gan.spectral_eps) for n, network in networks},
    {n: network.spectral for n, network in networks},
    {n: network.batch_stats for n, network in networks},
  )


def discriminator_loss(gan, name: str, seed: int, held: Held, params, of_generated=None):
  """The discriminators' loss by the parameters of one of them.

  As in training: normalised weights, batch statistics of the batch, all parts.

  Args:
    gan: from `for_analysis`.
    name: of the discriminator.
    seed: see `hold`.
    held: from `hold`.
    params: parameters of the discriminator.
    of_generated: those to score generated clips with, to tell the two sides' gradients apart; None
      is `params`. Penalties are the part of `params`.
  """
  key = functools.partial(_key, seed)

  def weights(params):
    return {**held.weights, name: _normalized(params, held.spectral[name], gan.spectral_eps)}

  def score(given, which, view):
    variables = {"params": given[which], normalization.COLLECTION: held.batch_stats[which]}
    return gan.discriminate(which, variables, view, key(streams.NOISE_DISCRIMINATOR))[0]

  own = weights(params)
  others = own if of_generated is None else weights(of_generated)
  parts = gan.discriminator_losses(
    held.real.replace(scores={n: score(own, n, held.real_views[n]) for n in own}),
    held.generated.replace(scores={n: score(others, n, held.generated_views[n]) for n in own}),
    held.context,
  )
  parts |= gan.penalties(
    functools.partial(score, own),
    held.real_views,
    held.generated_views,
    key(streams.PENALTY),
    held.context,
  )
  return sum(parts.values())


def check_name(gan, name: str) -> None:
  """UserError where `gan` has no discriminator of this name."""
  contract.check("discriminator", name, sorted(gan.discriminators))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def hessian_product(gan, name: str, seed: int, held: Held, params, vector):
  """H `vector`, H the Hessian of `discriminator_loss` at `params`: forward over reverse.

  Args:
    gan, name, seed, held, params: see `discriminator_loss`.
    vector: [N], in the order of `jax.flatten_util.ravel_pytree`.
  """
  flat, unravel = ravel_pytree(params)
  loss = lambda flat: discriminator_loss(gan, name, seed, held, unravel(flat))
  return jax.jvp(jax.grad(loss), (flat,), (vector,))[1]


def spectrum(gan, state, batch, name: str, *, seed: int = 0, frozen=None, **options) -> Spectrum:
  """Leading eigenvalues of the Hessian of `discriminator_loss`.

  Args:
    gan: from `for_analysis`.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    name: of the discriminator.
    seed: of what is random, and of the first vector.
    frozen: see `Context`.
    **options: `lanczos`'s.

  Raises:
    UserError: on an unknown name.
  """
  check_name(gan, name)
  held = hold(gan, seed, state, batch, frozen)
  params = state.discriminators[name].params
  leaves = jax.tree.leaves(params)
  return lanczos(
    lambda vector: hessian_product(gan, name, seed, held, params, vector),
    sum(leaf.size for leaf in leaves),
    dtype=leaves[0].dtype,
    seed=seed,
    **options,
  )
