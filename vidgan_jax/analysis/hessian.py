"""Leading eigenvalues of the Hessian of a discriminator's loss.

"Lower Dimensional Kernels for Video Discriminators" 3.2.2: exact Hessian-vector products
(Pearlmutter 1994) and Lanczos' algorithm, on a fixed batch, by the parameters of one discriminator.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Spectrum:
  """What Lanczos' algorithm found.

  Attributes:
    eigenvalues: the leading ones, by falling magnitude.
    residuals: bounds on their errors.
    largest, smallest: the ends of the spectrum.
    end_residuals: bounds on the errors of these two.
    iterations: Hessian-vector products taken.
  """

  eigenvalues: np.ndarray
  residuals: np.ndarray
  largest: float
  smallest: float
  end_residuals: tuple[float, float]
  iterations: int


def lanczos(
  product,
  size: int,
  *,
  count: int = 10,
  iterations: int = 100,
  tolerance: float = 1e-3,
  seed: int = 0,
  dtype=np.float32,
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

  Returns:
    a `Spectrum` of min(count, size) eigenvalues, or less where the operator has fewer.
  """
  limit = min(iterations, size)
  first = np.random.default_rng(seed).standard_normal(size)
  vector = jnp.asarray(first / np.linalg.norm(first), dtype)
  basis = jnp.zeros((limit, size), dtype)  # rows that are not there yet change nothing
  diagonal, beside = [], []
  while True:
    basis = _placed(basis, vector, len(diagonal))
    alpha, beta, vector = _next(product(vector), vector, basis)
    diagonal.append(float(alpha))
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


def hessian_product(loss, parameters):
  """The function (vector) -> H vector, with H the Hessian of `loss` at `parameters`.

  Args:
    loss: maps a tree like `parameters` to a scalar; needs forward-mode derivatives, so that
      networks are to be built with `savings=False`.
    parameters: pytree.

  Returns:
    (function on vectors [N], N), forward over reverse.
  """
  flat, unravel = ravel_pytree(parameters)
  gradient = jax.grad(lambda vector: loss(unravel(vector)))
  product = jax.jit(lambda at, vector: jax.jvp(gradient, (at,), (vector,))[1])
  return functools.partial(product, flat), flat.size


def discriminator_loss(gan, state, batch, name: str, *, seed: int = 0, frozen=None):
  """The discriminators' loss as a function of the parameters of one of them.

  As in training: normalised weights, batch statistics of the batch, both sides of the game, all
  parts; the generator, the batch and all that is random are held.

  Args:
    gan: a `VideoGan` built with `savings=False`.
    state: a `TrainState`.
    batch: {"clip": uint8 [B, T, H, W, 3], "label": int32 [B]}.
    name: of the discriminator.
    seed: of what is random.
    frozen: see `Context`.

  Returns:
    (loss, parameters).

  Raises:
    UserError: on an unknown name.
  """
  if name not in gan.discriminators:
    known = ", ".join(sorted(gan.discriminators))
    raise UserError(f"unknown discriminator {name!r}; known: {known}")
  key = lambda stream: streams.key(seed, stream, state.step)
  context = Context(state.step, frozen or {})

  def normalised(network):
    return spectral_norm.normalize(network.params, network.spectral, eps=gan.spectral_eps)[0]

  def variables(network, weights):
    return {"params": weights, normalization.COLLECTION: network.batch_stats}

  @jax.jit
  def sides(batch):
    latents = gan.latents(key(streams.LATENTS), batch["label"].shape[0])
    inputs = gan.generated_inputs(key(streams.INPUTS), batch, context)
    generator = variables(state.generator, normalised(state.generator))
    samples, _ = gan.generate(generator, latents, inputs, key(streams.NOISE_GENERATOR), True)
    real_key = key(streams.REAL)
    real = Side(
      inputs=gan.real_inputs(real_key, batch, context),
      samples=gan.real_samples(real_key, batch, context),
    )
    return real, Side(inputs=inputs, samples=samples, latents=latents)

  real, generated = sides(batch)
  real_views = gan.views(key(streams.VIEWS_REAL), real.samples, real.inputs, context)
  fake_views = gan.views(key(streams.VIEWS_GENERATED), generated.samples, generated.inputs, context)
  others = {n: normalised(v) for n, v in state.discriminators.items()}

  def loss(params):
    network = state.discriminators[name].replace(params=params)
    weights = {**others, name: normalised(network)}

    def score(which, view):
      given = variables(state.discriminators[which], weights[which])
      return gan.discriminate(which, given, view, key(streams.NOISE_DISCRIMINATOR))[0]

    parts = gan.discriminator_losses(
      real.replace(scores={n: score(n, real_views[n]) for n in weights}),
      generated.replace(scores={n: score(n, fake_views[n]) for n in weights}),
      context,
    )
    parts |= gan.penalties(score, real_views, fake_views, key(streams.PENALTY), context)
    return sum(parts.values())

  return loss, state.discriminators[name].params


def spectrum(gan, state, batch, name: str, *, seed: int = 0, frozen=None, **options) -> Spectrum:
  """Leading eigenvalues of the Hessian of `discriminator_loss`; options are `lanczos`'s."""
  loss, parameters = discriminator_loss(gan, state, batch, name, seed=seed, frozen=frozen)
  product, size = hessian_product(loss, parameters)
  dtype = jax.tree.leaves(parameters)[0].dtype
  return lanczos(product, size, dtype=dtype, **options)
