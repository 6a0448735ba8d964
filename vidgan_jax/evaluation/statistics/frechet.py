"""Frechet distance of two Gaussians: FVD and FID, by the features that are handed in.

  d^2 = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)

(Heusel et al. 2017, Unterthiner et al. 2018; the squared distance is what everybody reports). With
any roots S = R^T R the last trace is the sum of the singular values of R1 R2^T. It needs no matrix
square root of a product, which is not symmetric and where rank is lacking turns imaginary; and R
may be the centred features themselves, so that fewer samples than dimensions are no special case.
"""

import dataclasses

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
  """A Gaussian by its mean and a root of its covariance; worth keeping for a fixed reference.

  Attributes:
    count: samples that it was made of.
    mean: float64 [d].
    root: float64 [r, d], root^T root is the covariance, r at most d.
  """

  count: int
  mean: np.ndarray
  root: np.ndarray

  @classmethod
  def of_features(cls, features, ddof: int = 1, what: str = "features") -> "Gaussian":
    """From features [N, d], N at least 2; costs min(N, d) N d.

    Raises:
      UserError: see `moments.as_features`.
    """
    _check_ddof(ddof)
    features = as_features(features, what, least=2)
    mean = features.mean(axis=0)
    root = (features - mean) / np.sqrt(len(features) - ddof)
    if len(root) > root.shape[1]:
      root = np.linalg.qr(root, mode="r")
    return cls(len(features), mean, root)

  @classmethod
  def of_moments(cls, moments: Moments, ddof: int = 1) -> "Gaussian":
    """From moments of at least 2 samples; costs an eigendecomposition, d^3.

    Where features are at hand and fewer than dimensions, `of_features` is cheaper.

    Raises:
      UserError: too few samples, not finite, or m2 has clearly negative eigenvalues.
    """
    _check_ddof(ddof)
    if moments.count < 2:
      raise UserError(f"a Frechet distance needs at least 2 samples, got {moments.count}")
    covariance = moments.covariance(ddof)
    if not (np.isfinite(covariance).all() and np.isfinite(moments.mean).all()):
      raise UserError("moments hold values that are not finite")
    values, vectors = np.linalg.eigh(covariance)
    if values[0] < -1e-6 * max(values[-1], 0.0):
      raise UserError(f"no covariance: it has the eigenvalue {values[0]:.3g}")
    # Below rounding an eigenvalue is noise, of which the root would be large: 1e-16 -> 1e-8.
    # And N samples span N - 1 dimensions at most.
    keep = values > len(values) * np.finfo(np.float64).eps * values[-1]
    keep[: max(len(values) - (moments.count - 1), 0)] = False
    return cls(moments.count, moments.mean, np.sqrt(values[keep])[:, None] * vectors[:, keep].T)


def _check_ddof(ddof):
  if ddof not in (0, 1):
    raise UserError(f"ddof must be 0 or 1, not {ddof}")


def gaussian_distance(a: Gaussian, b: Gaussian) -> float:
  """Squared Frechet distance of two Gaussians (see the module).

  Raises:
    UserError: their dimensions differ, or numbers are too large to be squared.
  """
  if a.mean.shape != b.mean.shape:
    raise UserError(f"features of {len(a.mean)} and of {len(b.mean)} dimensions do not compare")
  with np.errstate(over="ignore", invalid="ignore"):
    cross = a.root @ b.root.T
  if not np.isfinite(cross).all():
    raise UserError("features are too large: their covariances overflow")
  fidelity = np.linalg.svd(cross, compute_uv=False).sum() if cross.size else 0.0
  shift = a.mean - b.mean
  spread = np.sum(a.root * a.root) + np.sum(b.root * b.root)
  return max(float(shift @ shift + spread - 2.0 * fidelity), 0.0)


def frechet_distance(a: Moments, b: Moments, ddof: int = 1) -> float:
  """Squared Frechet distance of two sets by their moments.

  Args:
    a: of one set, at least 2 samples.
    b: of the other.
    ddof: 1 for unbiased covariances (the reference implementation of FVD), 0 for those of
      StyleGAN-V and cd-fvd.

  Returns:
    The distance, not negative.

  Raises:
    UserError: see `Gaussian.of_moments` and `gaussian_distance`.
  """
  return gaussian_distance(Gaussian.of_moments(a, ddof), Gaussian.of_moments(b, ddof))


def frechet_distance_of_features(x, y, ddof: int = 1) -> float:
  """Squared Frechet distance of two sets of features; as accurate for any count and width.

  Args:
    x: [N, d], N at least 2.
    y: [M, d], M at least 2.
    ddof: see `frechet_distance`.

  Returns:
    The distance, not negative.

  Raises:
    UserError: see `moments.as_pair`.
  """
  x, y = as_pair(x, y, least=2)
  return gaussian_distance(Gaussian.of_features(x, ddof), Gaussian.of_features(y, ddof))


def frechet_by_class(x, labels_x, y, labels_y, ddof: int = 1, classes=None) -> dict[int, float]:
  """Squared Frechet distance within each class (SSW-GAN, Appendix G).

  A class has few clips, often fewer than dimensions: compare such numbers at equal counts only.

  Args:
    x: real features [N, d].
    labels_x: integers [N].
    y: generated features [M, d].
    labels_y: integers [M].
    ddof: see `frechet_distance`.
    classes: which; None is all that occur in either set.

  Returns:
    {class: distance}, by rising class.

  Raises:
    UserError: a class has fewer than 2 samples in one of the sets; see `moments.as_pair`.
  """
  x, y = as_pair(x, y, least=2)
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
