"""Mean and covariance of features, gathered in blocks and merged in any order.

Kept are the count, the mean and the sum of outer products about the mean (Chan, Golub and LeVeque
1983), in float64 on the host: sums of raw squares would cancel where the mean is far from zero.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from vidgan_jax.runtime.errors import UserError


def as_features(features, what: str = "features", least: int = 1) -> np.ndarray:
  """Features as float64, or why they are none.

  Args:
    features: [N, d], any real type.
    what: how a message calls them.
    least: the fewest samples that will do.

  Returns:
    float64 [N, d].

  Raises:
    UserError: not two axes, no columns, fewer than `least` rows, or values that are not finite.
  """
  features = np.asarray(features)
  if features.ndim != 2 or features.shape[1] < 1:
    raise UserError(f"{what} must have shape [samples, dimensions], got {list(features.shape)}")
  if features.dtype.kind not in "fiub" and features.dtype.name != "bfloat16":
    raise UserError(f"{what} must be real numbers, got {features.dtype}")
  if len(features) < least:
    raise UserError(f"{what}: at least {least} samples are needed, got {len(features)}")
  features = features.astype(np.float64, copy=False)
  bad = len(features) - int(np.isfinite(features).all(axis=1).sum())
  if bad:
    raise UserError(f"{what}: {bad} of {len(features)} samples hold values that are not finite")
  return features


def as_pair(x, y, least: int = 1, names=("real features", "generated features")):
  """Two sets of features of one width as float64 (see `as_features`).

  Args:
    x: [N, d].
    y: [M, d].
    least: the fewest samples that will do, of each.
    names: how a message calls the two.

  Returns:
    (float64 [N, d], float64 [M, d]).

  Raises:
    UserError: as `as_features`, or the widths differ.
  """
  x, y = as_features(x, names[0], least), as_features(y, names[1], least)
  if x.shape[1] != y.shape[1]:
    raise UserError(f"{names[0]} have {x.shape[1]} dimensions, {names[1]} {y.shape[1]}")
  return x, y


def as_labels(labels, count: int, what: str = "labels") -> np.ndarray:
  """Labels as integers, one per sample.

  Args:
    labels: integers [N].
    count: N.
    what: how a message calls them.

  Returns:
    int64 [N].

  Raises:
    UserError: another shape, or not integers.
  """
  labels = np.asarray(labels)
  if labels.shape != (count,) or labels.dtype.kind not in "iu":
    raise UserError(
      f"{what} must be {count} integers, one per sample, got {labels.dtype} {list(labels.shape)}"
    )
  return labels.astype(np.int64)


def to_words(*arrays) -> np.ndarray:
  """Packs float64 numbers into uint32 [K], to be sent between processes.

  JAX's collectives turn float64 into float32 unless x64 is switched on; words pass unharmed.
  """
  flat = [np.asarray(a, np.float64).reshape(-1) for a in arrays]
  return np.ascontiguousarray(np.concatenate(flat)).view(np.uint32)


def from_words(words) -> np.ndarray:
  """Undoes `to_words`.

  Args:
    words: uint32 [2 K].

  Returns:
    float64 [K].

  Raises:
    UserError: another type, or an odd number of words.
  """
  words = np.asarray(words)
  if words.dtype != np.uint32 or words.ndim != 1 or len(words) % 2:
    raise UserError(f"not packed numbers: {words.dtype} {list(words.shape)}")
  return np.ascontiguousarray(words).view(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Moments:
  """Count, mean and spread of features.

  Attributes:
    count: samples.
    mean: float64 [d].
    m2: float64 [d, d], the sum of outer products of deviations from the mean.
  """

  count: int
  mean: np.ndarray
  m2: np.ndarray

  @classmethod
  def of(cls, features) -> "Moments":
    """Moments of one block of features [N, d].

    Raises:
      UserError: see `as_features`.
    """
    features = as_features(features)
    mean = features.mean(axis=0)
    deviations = features - mean
    # The mean is rounded; what is left of it goes back (Chan, Golub and LeVeque, "corrected").
    rest = deviations.mean(axis=0)
    m2 = deviations.T @ deviations - len(features) * np.outer(rest, rest)
    return cls(len(features), mean + rest, m2)

  @classmethod
  def empty(cls, dimensions: int) -> "Moments":
    """Moments of no samples, to which others may be merged."""
    return cls(0, np.zeros(dimensions), np.zeros((dimensions, dimensions)))

  @classmethod
  def of_blocks(cls, blocks: Iterable, rows: int = 1024) -> "Moments":
    """Moments of a stream of blocks [n_i, d].

    Blocks are gathered until there are `rows` of them: a merge touches d x d numbers, much for a
    batch of 16.

    Raises:
      UserError: no blocks, blocks of different widths, or see `as_features`.
    """
    total, waiting, count = None, [], 0

    def absorb(total):
      block = cls.of(np.concatenate(waiting))
      return block if total is None else total.merge(block)

    for block in blocks:
      block = as_features(block, least=0)
      if waiting and block.shape[1] != waiting[0].shape[1]:
        raise UserError(
          f"features of {waiting[0].shape[1]} and of {block.shape[1]} dimensions do not mix"
        )
      waiting.append(block)
      count += len(block)
      if count >= rows:
        total, waiting, count = absorb(total), [], 0
    if count:
      total = absorb(total)
    if total is None:
      raise UserError("no features to take moments of")
    return total

  def merge(self, other: "Moments") -> "Moments":
    """Moments of both sets together, the same to 1e-12 in any order.

    Raises:
      UserError: the widths differ.
    """
    if self.mean.shape != other.mean.shape:
      raise UserError(
        f"features of {len(self.mean)} and of {len(other.mean)} dimensions do not mix"
      )
    count = self.count + other.count
    if not count:
      return self
    delta = other.mean - self.mean
    mean = (self.count * self.mean + other.count * other.mean) / count
    scale = self.count * (other.count / count)
    return Moments(count, mean, self.m2 + other.m2 + scale * np.outer(delta, delta))

  def covariance(self, ddof: int = 1) -> np.ndarray:
    """Covariance float64 [d, d], of divisor count - ddof.

    Raises:
      UserError: too few samples.
    """
    if self.count - ddof < 1:
      raise UserError(f"a covariance with ddof {ddof} needs more than {self.count} sample(s)")
    return self.m2 / (self.count - ddof)

  def to_arrays(self) -> dict[str, np.ndarray]:
    """Arrays for a file: count int64 [], mean float64 [d], m2 float64 [d, d]."""
    return {"count": np.int64(self.count), "mean": self.mean, "m2": self.m2}

  @classmethod
  def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Moments":
    """Undoes `to_arrays`, for arrays that may come from anywhere.

    Raises:
      UserError: an array is missing, of another shape or type, not finite, or cannot be what it
        says.
    """
    missing = [name for name in ("count", "mean", "m2") if name not in arrays]
    if missing:
      raise UserError(f"moments lack {', '.join(missing)}")
    count, mean, m2 = (np.asarray(arrays[name]) for name in ("count", "mean", "m2"))
    if count.shape or count.dtype.kind not in "iu" or count < 0:
      raise UserError("moments: count must be an integer that is not negative")
    if mean.ndim != 1 or m2.shape != mean.shape * 2 or not mean.size:
      raise UserError(f"moments of shapes {list(mean.shape)} and {list(m2.shape)} do not fit")
    if mean.dtype != np.float64 or m2.dtype != np.float64:
      raise UserError(f"moments must be float64, got {mean.dtype} and {m2.dtype}")
    if not (np.isfinite(mean).all() and np.isfinite(m2).all()):
      raise UserError("moments hold values that are not finite")
    diagonal = np.diagonal(m2)
    if np.any(diagonal < 0) or np.max(np.abs(m2 - m2.T)) > 1e-9 * np.max(diagonal):
      raise UserError("moments: m2 is no sum of outer products (not symmetric, or negative)")
    return cls(int(count), mean, m2)

  def to_words(self) -> np.ndarray:
    """uint32 [2 (2 + d + d^2)], for JAX's collectives between processes (see `to_words`)."""
    return to_words(self.count, len(self.mean), self.mean, self.m2)

  @classmethod
  def from_words(cls, words) -> "Moments":
    """Undoes `to_words`.

    Raises:
      UserError: not the words of moments.
    """
    numbers = from_words(words)
    d = int(numbers[1]) if len(numbers) > 2 else 0
    if d < 1 or len(numbers) != 2 + d + d * d:
      raise UserError(f"{len(numbers)} packed numbers are no moments")
    return cls(int(numbers[0]), numbers[2 : 2 + d].copy(), numbers[2 + d :].reshape(d, d).copy())


def merge_all(parts: Iterable[Moments]) -> Moments:
  """Moments of all parts together, for instance one per process.

  Raises:
    UserError: no parts, or their widths differ.
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
    moments: of the features.
    features: float32 [N, d] in the order of the clips, or None where they were too many to keep.
  """

  moments: Moments
  features: np.ndarray | None

  @property
  def count(self) -> int:
    """Number of clips."""
    return self.moments.count
