"""Squared Frechet distance between two Gaussians: FVD or FID, depending on the features.

  d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

(Heusel et al. 2017, Unterthiner et al. 2018; papers report the squared distance.) For any roots
S = R^T R, the last trace is the sum of the singular values of R1 R2^T. This avoids the matrix
square root of S1 S2, which is not symmetric and becomes complex when the rank is deficient. R may
be the centred features themselves, so fewer samples than dimensions need no special case.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from vidgan_jax.evaluation.statistics.moments import (
  Moments,
  as_features,
  as_labels,
  as_pair,
)
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Gaussian:
  """A Gaussian: its mean and a root of its covariance. Compute it once for a fixed reference.

  Attributes:
    count: number of samples that it was fitted to.
    mean: float64 [d].
    root: float64 [r, d] with r <= d; root^T root is the covariance.
  """

  count: int
  mean: np.ndarray
  root: np.ndarray

  @classmethod
  def of_features(cls, features: np.ndarray, ddof: int = 1, name: str = "features") -> "Gaussian":
    """Fits features [N, d], N at least 2, in O(min(N, d) N d).

    Raises:
      UserError: see `moments.as_features`.
    """
    _check_ddof(ddof)
    features = as_features(features, name, minimum=2)
    mean = features.mean(axis=0)
    root = (features - mean) / np.sqrt(len(features) - ddof)
    if len(root) > root.shape[1]:
      root = np.asarray(np.linalg.qr(root, mode="r"))
    return cls(len(features), mean, root)

  @classmethod
  def of_moments(cls, moments: Moments, ddof: int = 1) -> "Gaussian":
    """Converts moments of at least 2 samples, with one eigendecomposition, O(d^3).

    If the features are available and there are fewer of them than dimensions, `of_features` is
    cheaper.

    Raises:
      UserError: there are too few samples, values are not finite, or m2 has eigenvalues that are
        negative beyond rounding.
    """
    _check_ddof(ddof)
    if moments.count < 2:
      raise UserError(f"a Frechet distance needs at least 2 samples, got {moments.count}")
    covariance = moments.covariance(ddof)
    if not (np.isfinite(covariance).all() and np.isfinite(moments.mean).all()):
      raise UserError("moments hold values that are not finite")
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -1e-6 * max(values[-1], 0.0):
      raise UserError(f"a covariance cannot have the negative eigenvalue {values[0]:.3g}")
    # Eigenvalues below rounding are noise, and their square roots would be large: 1e-16 -> 1e-8.
    # N samples span at most N - 1 dimensions, so only that many eigenvalues are kept.
    keep = values > len(values) * np.finfo(np.float64).eps * values[-1]
    keep[: max(len(values) - (moments.count - 1), 0)] = False
    return cls(moments.count, moments.mean, np.sqrt(values[keep])[:, None] * vectors[:, keep].T)


def _check_ddof(ddof):
  if ddof not in (0, 1):
    raise UserError(f"ddof must be 0 or 1, not {ddof}")


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
  """Squared Frechet distance between two Gaussians (see the module).

  Raises:
    UserError: their dimensions differ, or their squares overflow.
  """
  if a.mean.shape != b.mean.shape:
    raise UserError(f"features of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared")
  with np.errstate(over="ignore", invalid="ignore"):
    cross = a.root @ b.root.T
  if not np.isfinite(cross).all():
    raise UserError("features are too large: their covariances overflow")
  fidelity = np.linalg.svd(cross, compute_uv=False).sum() if cross.size else 0.0
  shift = a.mean - b.mean
  spread = np.sum(a.root * a.root) + np.sum(b.root * b.root)
  return max(float(shift @ shift + spread - 2.0 * fidelity), 0.0)


def frechet_distance(a: Moments, b: Moments, ddof: int = 1) -> float:
  """Squared Frechet distance between two sets, from their moments.

  Args:
    a: moments of the first set, at least 2 samples.
    b: moments of the second set, at least 2 samples.
    ddof: divisor N - ddof of the covariances: 1 as in the reference implementation of FVD
      (unbiased), 0 as in StyleGAN-V and cd-fvd.

  Returns:
    The squared distance, at least 0.

  Raises:
    UserError: see `Gaussian.of_moments` and `gaussian_distance`.
  """
  return gaussian_distance(Gaussian.of_moments(a, ddof), Gaussian.of_moments(b, ddof))


def frechet_distance_of_features(x: np.ndarray, y: np.ndarray, ddof: int = 1) -> float:
  """Squared Frechet distance between two sets of features, accurate at any count and width.

  Args:
    x: [N, d], N at least 2.
    y: [M, d], M at least 2.
    ddof: see `frechet_distance`.

  Returns:
    The squared distance, at least 0.

  Raises:
    UserError: see `moments.as_pair`.
  """
  x, y = as_pair(x, y, minimum=2)
  return gaussian_distance(Gaussian.of_features(x, ddof), Gaussian.of_features(y, ddof))


def frechet_by_class(
  x: np.ndarray,
  labels_x: np.ndarray,
  y: np.ndarray,
  labels_y: np.ndarray,
  ddof: int = 1,
  classes: Iterable[int] | None = None,
) -> dict[int, float]:
  """Squared Frechet distance within each class (SSW-GAN, Appendix G).

  A class has few clips, often fewer than the features have dimensions. Compare such numbers only
  at equal counts of clips, because the bias depends on the count.

  Args:
    x: real features [N, d].
    labels_x: integers [N].
    y: generated features [M, d].
    labels_y: integers [M].
    ddof: see `frechet_distance`.
    classes: the classes to compare; None for all that occur in either set.

  Returns:
    {class: squared distance}, in ascending order of classes.

  Raises:
    UserError: a class has fewer than 2 samples in one of the sets; see `moments.as_pair`.
  """
  x, y = as_pair(x, y, minimum=2)
  labels_x = as_labels(labels_x, len(x), "labels of real features")
  labels_y = as_labels(labels_y, len(y), "labels of generated features")
  if classes is None:
    classes = np.union1d(labels_x, labels_y)
  distances = {}
  for label in sorted(int(c) for c in classes):
    real, generated = x[labels_x == label], y[labels_y == label]
    if min(len(real), len(generated)) < 2:
      raise UserError(
        f"class {label} has {len(real)} real and {len(generated)} generated samples; "
        "at least 2 of each are needed"
      )
    distances[label] = frechet_distance_of_features(real, generated, ddof)
  return distances
