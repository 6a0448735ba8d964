"""Fast Frechet distances and inception scores of many resamples of one set.

A resample is given as a vector of weights: how often it contains each sample. A bootstrap resample
has random weights, a half of the set has weights 0 and 1. All that does not depend on the weights
is computed once.
"""

from collections.abc import Iterable

import numpy as np

from vidgan_jax.evaluation.statistics.frechet import Gaussian
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, terms_of
from vidgan_jax.evaluation.statistics.moments import as_features
from vidgan_jax.runtime.errors import UserError


def bootstrap_weights(random: np.random.Generator, count: int) -> np.ndarray:
  """Weights of a bootstrap resample of `count` samples, int64 [count]; they add up to `count`."""
  return np.bincount(random.integers(count, size=count), minlength=count)


def half_weights(
  random: np.random.Generator, count: int, labels: np.ndarray | None = None
) -> np.ndarray:
  """Weights of two random disjoint halves, int64 [2, count]; an odd count leaves one sample out.

  Args:
    random: generator of random numbers.
    count: number of samples.
    labels: integers [count]. If given, the halves have equally many samples of each class, up to a
      difference of 1.
  """
  order, half = random.permutation(count), count // 2
  weights = np.zeros((2, count), np.int64)
  if labels is None:
    parts = order[:half], order[half : 2 * half]
  else:
    order = order[np.argsort(labels[order], kind="stable")]
    parts = order[: 2 * half : 2], order[1 : 2 * half : 2]
  weights[0, parts[0]] = 1
  weights[1, parts[1]] = 1
  return weights


def _weighted(points, weights, ddof):
  """Mean [d] and root of the covariance [u, d] of weighted points; u weights are above 0."""
  positive = weights > 0
  points, weights = points[positive], weights[positive].astype(np.float64)
  count = weights.sum()
  if count - ddof <= 0:
    raise UserError(f"a covariance with ddof {ddof} needs more than {count:.0f} sample(s)")
  mean = weights @ points / count
  return mean, (points - mean) * np.sqrt(weights / (count - ddof))[:, None]


def _compressed(root):
  """A root of the same covariance with at most d rows."""
  if len(root) <= root.shape[1]:
    return root
  try:
    return np.linalg.cholesky(root.T @ root).T
  except np.linalg.LinAlgError:  # the covariance is singular
    return np.linalg.qr(root, mode="r")


def _fidelity(cross):
  """Sum of singular values, from the smaller Gram matrix in a third of the time of an SVD."""
  product = cross @ cross.T if len(cross) < cross.shape[1] else cross.T @ cross
  return np.sqrt(np.maximum(np.linalg.eigvalsh(product), 0.0)).sum()


def weighted_frechet(
  x: np.ndarray | Gaussian, y: np.ndarray, weights: Iterable, ddof: int = 1
) -> np.ndarray:
  """Squared Frechet distances of resamples, with errors of about 1e-6 of the covariances' traces.

  Args:
    x: features [N, d], or a `Gaussian` that is not resampled.
    y: features [M, d].
    weights: pairs (weights of x [N], weights of y [M]). If x is a `Gaussian`, the first is ignored.
    ddof: see `frechet.frechet_distance`.

  Returns:
    float64, one distance per pair.

  Raises:
    UserError: the shapes are wrong, or a resample has too few samples.
  """
  y = as_features(y, "generated features", minimum=2)
  if isinstance(x, Gaussian):
    width, origin = x.mean.size, x.mean
  else:
    x = as_features(x, "real features", minimum=2)
    width, origin = x.shape[1], x.mean(axis=0)
  if width != y.shape[1]:
    raise UserError(f"real features have {width} dimensions, generated features {y.shape[1]}")
  y = y - origin
  if isinstance(x, Gaussian):
    projected, trace_x, mean_x = y @ x.root.T, np.sum(x.root * x.root), 0.0
  else:
    x = x - origin
  distances = []
  for weights_x, weights_y in weights:
    mean_y, root_y = _weighted(y, weights_y, ddof)
    if isinstance(x, Gaussian):
      fidelity = _fidelity(_weighted(projected, weights_y, ddof)[1])
    else:
      mean_x, root_x = _weighted(x, weights_x, ddof)
      trace_x = np.sum(root_x * root_x)
      fidelity = _fidelity(_compressed(root_x) @ _compressed(root_y).T)
    spread = trace_x + np.sum(root_y * root_y) - 2.0 * fidelity
    distances.append(max(float(np.sum((mean_x - mean_y) ** 2) + spread), 0.0))
  return np.array(distances)


def weighted_scores(
  values: np.ndarray, weights: Iterable, kind: str = "logits", epsilon: Epsilon | None = None
) -> np.ndarray:
  """Inception scores (one split) of resamples.

  Args:
    values: [N, C], see `inception_score.probabilities_of`.
    weights: vectors of weights [N].
    kind, epsilon: see `inception_score.terms_of`.

  Returns:
    float64, one score per vector of weights.

  Raises:
    UserError: see `inception_score.probabilities_of`.
  """
  epsilon = epsilon or Epsilon()
  p, terms = terms_of(values, kind, epsilon)
  shares = np.array([w / w.sum() for w in weights])
  q = shares @ p
  return np.exp(shares @ terms - (q * epsilon.logs(q)).sum(axis=1))
