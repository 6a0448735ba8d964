"""Mean and covariance of features, accumulated block by block and merged in any order.

`Moments` holds the count, the mean and the sum of outer products about the mean (Chan, Golub and
LeVeque 1983), in float64 on the host. Sums of raw squares would lose digits to cancellation when
the mean is far from zero.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from vidgan_jax.runtime.errors import UserError


def as_features(features: npt.ArrayLike, name: str = "features", minimum: int = 1) -> np.ndarray:
  """Checks features and converts them to float64.

  Args:
    features: [N, d], any real type.
    name: what error messages call the features.
    minimum: the smallest number of samples allowed.

  Returns:
    float64 [N, d].

  Raises:
    UserError: the array does not have two axes, has no columns or fewer than `minimum` rows, or
      holds values that are not finite.
  """
  features = np.asarray(features)
  if features.ndim != 2 or features.shape[1] < 1:
    raise UserError(f"{name} must have shape [samples, dimensions], got {list(features.shape)}")
  if features.dtype.kind not in "fiub" and features.dtype.name != "bfloat16":
    raise UserError(f"{name} must be real numbers, got {features.dtype}")
  if len(features) < minimum:
    raise UserError(f"{name}: at least {minimum} samples are needed, got {len(features)}")
  features = features.astype(np.float64, copy=False)
  bad = len(features) - int(np.isfinite(features).all(axis=1).sum())
  if bad:
    raise UserError(f"{name}: {bad} of {len(features)} samples hold values that are not finite")
  return features


def as_pair(
  x: npt.ArrayLike,
  y: npt.ArrayLike,
  minimum: int = 1,
  names: tuple[str, str] = ("real features", "generated features"),
) -> tuple[np.ndarray, np.ndarray]:
  """Checks two sets of features of equal width and converts them to float64.

  Args:
    x: [N, d].
    y: [M, d].
    minimum: the smallest number of samples allowed in each set.
    names: what error messages call the two sets.

  Returns:
    (float64 [N, d], float64 [M, d]).

  Raises:
    UserError: as `as_features`, or the widths differ.
  """
  x, y = as_features(x, names[0], minimum), as_features(y, names[1], minimum)
  if x.shape[1] != y.shape[1]:
    raise UserError(f"{names[0]} have {x.shape[1]} dimensions, {names[1]} {y.shape[1]}")
  return x, y


def as_labels(labels: npt.ArrayLike, count: int, name: str = "labels") -> np.ndarray:
  """Checks labels, one per sample, and converts them to int64.

  Args:
    labels: integers [N].
    count: N.
    name: what error messages call the labels.

  Returns:
    int64 [N].

  Raises:
    UserError: the shape is not [N], or the type is not an integer type.
  """
  labels = np.asarray(labels)
  if labels.shape != (count,) or labels.dtype.kind not in "iu":
    raise UserError(
      f"{name} must be {count} integers, one per sample, got {labels.dtype} {list(labels.shape)}"
    )
  return labels.astype(np.int64)


def to_words(*arrays) -> np.ndarray:
  """Packs K float64 numbers into uint32 [2 K], to send them between processes.

  JAX's collectives round float64 to float32 unless x64 is enabled; they leave uint32 unchanged.
  """
  flat = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
  return np.ascontiguousarray(np.concatenate(flat)).view(np.uint32)


def from_words(words: np.ndarray) -> np.ndarray:
  """Unpacks what `to_words` packed.

  Args:
    words: uint32 [2 K].

  Returns:
    float64 [K].

  Raises:
    UserError: the type is not uint32, or the number of words is odd.
  """
  words = np.asarray(words)
  if words.dtype != np.uint32 or words.ndim != 1 or len(words) % 2:
    raise UserError(
      f"packed numbers must be uint32 of an even length, got {words.dtype} {list(words.shape)}"
    )
  return np.ascontiguousarray(words).view(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
  """Count, mean and scatter matrix of features.

  Attributes:
    count: number of samples.
    mean: float64 [d].
    m2: float64 [d, d], the sum of outer products of deviations from the mean.
  """

  count: int
  mean: np.ndarray
  m2: np.ndarray

  @classmethod
  def of(cls, features: npt.ArrayLike) -> "Moments":
    """Moments of one block of features [N, d].

    Raises:
      UserError: see `as_features`.
    """
    features = as_features(features)
    mean = features.mean(axis=0)
    deviations = features - mean
    # The computed mean has a rounding error. The mean of the deviations estimates it, and corrects
    # both results (the "corrected two-pass" algorithm of Chan, Golub and LeVeque).
    residual = deviations.mean(axis=0)
    m2 = deviations.T @ deviations - len(features) * np.outer(residual, residual)
    return cls(len(features), mean + residual, m2)

  @classmethod
  def empty(cls, dimensions: int) -> "Moments":
    """Moments of zero samples; other moments can be merged into them."""
    return cls(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

  @classmethod
  def of_blocks(cls, blocks: Iterable, rows: int = 1024) -> "Moments":
    """Moments of a stream of blocks [n_i, d].

    Blocks are concatenated until they have at least `rows` rows. A merge costs d x d operations,
    which is too much for every batch of 16.

    Raises:
      UserError: there are no blocks, their widths differ, or see `as_features`.
    """
    total, waiting, count = None, [], 0

    def absorb(total):
      block = cls.of(np.concatenate(waiting))
      return block if total is None else total.merge(block)

    for block in blocks:
      block = as_features(block, minimum=0)
      if waiting and block.shape[1] != waiting[0].shape[1]:
        raise UserError(
          f"features of {waiting[0].shape[1]} and {block.shape[1]} dimensions cannot be combined"
        )
      waiting.append(block)
      count += len(block)
      if count >= rows:
        total, waiting, count = absorb(total), [], 0
    if count:
      total = absorb(total)
    if total is None:
      raise UserError("moments need at least one block of features")
    return total

  def merge(self, other: "Moments") -> "Moments":
    """Moments of the union of both sets.

    The order of merges changes the result by at most 1e-12, relatively.

    Raises:
      UserError: the widths differ.
    """
    if self.mean.shape != other.mean.shape:
      raise UserError(
        f"features of {len(self.mean)} and {len(other.mean)} dimensions cannot be combined"
      )
    count = self.count + other.count
    if not count:
      return self
    delta = other.mean - self.mean
    mean = (self.count * self.mean + other.count * other.mean) / count
    scale = self.count * (other.count / count)
    return Moments(count, mean, self.m2 + other.m2 + scale * np.outer(delta, delta))

  def covariance(self, ddof: int = 1) -> np.ndarray:
    """Covariance float64 [d, d], with divisor count - ddof.

    Raises:
      UserError: there are too few samples.
    """
    if self.count - ddof < 1:
      raise UserError(f"a covariance with ddof {ddof} needs more than {self.count} sample(s)")
    return self.m2 / (self.count - ddof)

  def to_arrays(self) -> dict[str, np.ndarray]:
    """Arrays for a file: count int64 [], mean float64 [d], m2 float64 [d, d]."""
    return {"count": np.array(self.count, np.int64), "mean": self.mean, "m2": self.m2}

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Moments":
    """Reads the arrays of `to_arrays`; checks them, since their file may not be trusted.

    Raises:
      UserError: an array is missing, has another shape or type, or has values that are not finite,
        or `m2` cannot be a sum of outer products.
    """
    missing = [name for name in ("count", "mean", "m2") if name not in arrays]
    if missing:
      raise UserError(f"moments lack {', '.join(missing)}")
    count, mean, m2 = (np.asarray(arrays[name]) for name in ("count", "mean", "m2"))
    if count.shape or count.dtype.kind not in "iu" or count < 0:
      raise UserError("moments: count must be a non-negative integer")
    if mean.ndim != 1 or m2.shape != mean.shape * 2 or not mean.size:
      raise UserError(f"moments of shapes {list(mean.shape)} and {list(m2.shape)} do not fit")
    if mean.dtype != np.float64 or m2.dtype != np.float64:
      raise UserError(f"moments must be float64, got {mean.dtype} and {m2.dtype}")
    if not (np.isfinite(mean).all() and np.isfinite(m2).all()):
      raise UserError("moments hold values that are not finite")
    diagonal = np.diagonal(m2)
    if np.any(diagonal < 0) or np.max(np.abs(m2 - m2.T)) > 1e-9 * np.max(diagonal):
      raise UserError(
        "moments: m2 must be a sum of outer products, but is not symmetric or has a negative "
        "diagonal"
      )
    return cls(int(count), mean, m2)

  def to_words(self) -> np.ndarray:
    """uint32 [2 (2 + d + d^2)], for JAX's collectives between processes (see `to_words`)."""
    return to_words(self.count, len(self.mean), self.mean, self.m2)

  @classmethod
  def from_words(cls, words: np.ndarray) -> "Moments":
    """Unpacks what `to_words` packed.

    Raises:
      UserError: the words are not those of moments.
    """
    numbers = from_words(words)
    d = int(numbers[1]) if len(numbers) > 2 else 0
    if d < 1 or len(numbers) != 2 + d + d * d:
      raise UserError(f"these {len(numbers)} packed numbers are not moments")
    return cls(int(numbers[0]), numbers[2 : 2 + d].copy(), numbers[2 + d :].reshape(d, d).copy())


def merge_all(parts: Iterable[Moments]) -> Moments:
  """Moments of the union of all parts, for instance of one part per process.

  Raises:
    UserError: there are no parts, or their widths differ.
  """
  parts = list(parts)
  if not parts:
    raise UserError("no moments to merge")
  total = parts[0]
  for part in parts[1:]:
    total = total.merge(part)
  return total


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
  """One output of a network for a set of clips.

  Attributes:
    moments: moments of the features.
    features: float32 [N, d] in the order of the clips, or None if they were too large to store.
  """

  moments: Moments
  features: np.ndarray | None

  @property
  def count(self) -> int:
    """Number of clips."""
    return self.moments.count
