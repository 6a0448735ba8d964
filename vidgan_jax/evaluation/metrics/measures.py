"""From features to numbers: a protocol's measure, its interval and what real clips score."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from vidgan_jax.evaluation.features.pipeline import Gathered
from vidgan_jax.evaluation.protocols.base import Measure, has_interval
from vidgan_jax.evaluation.statistics import diversity, extrapolation, intervals, precision_recall
from vidgan_jax.evaluation.statistics.frechet import (
  Gaussian,
  frechet_distance_of_features,
  gaussian_distance,
)
from vidgan_jax.evaluation.statistics.inception_score import Epsilon, inception_score
from vidgan_jax.evaluation.statistics.kernel_distance import fixed_among, kernel_distance
from vidgan_jax.runtime.errors import UserError

LEVEL = 0.95
_QUANTILE = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
_LARGEST = 1e100  # a file of results has no larger numbers, see `json_files`
_LEAST_FOR_FLOOR = 8  # real clips, for a Frechet distance of halves
# Between real and generated clips:
DISTANCES = ("fvd", "fid", "fvd_infinity", "fid_infinity", "kvd", "prdc")
LABELLED = ("accuracy", "diversity")  # need labels
FRECHET = ("fvd", "fid")
_UNLIMITED = ("fvd_infinity", "fid_infinity")


class TooFewClips(UserError):
  """A measure that has too few clips; others may have enough."""


@dataclasses.dataclass(frozen=True)
class Score:
  """A number.

  Attributes:
    metric: its name.
    values: of each repeat.
    interval: (low, high) about the value, see `intervals`; None where `has_interval` says so.
    std: over repeats, or over splits or subsets where there is one repeat, or the standard error of
      a value of unlimited clips; None where neither.
    floor: {"value", "interval", "what"}: what real clips score, or None.
    warnings: lines.
    used: what the number depends on besides the measure's settings, for its fingerprint.
  """

  metric: str
  values: tuple[float, ...]
  interval: tuple[float, float] | None = None
  std: float | None = None
  floor: dict | None = None
  warnings: tuple[str, ...] = ()
  used: Mapping = dataclasses.field(default_factory=dict)

  @property
  def value(self) -> float:
    """Their mean."""
    return float(np.mean(self.values))


def finite(*values: float) -> bool:
  """Whether numbers can be written to a file of results and read again."""
  return all(abs(value) <= _LARGEST for value in values)


def without_overflow(found: Score) -> Score:
  """A score whose deviation, interval and floor are None where they overflow, and a warning."""
  interval, std, floor = found.interval, found.std, found.floor
  interval = interval if interval is None or finite(*interval) else None
  std = std if std is None or finite(std) else None
  if floor and not finite(floor["value"]):
    floor = None
  if floor and floor["interval"] is not None and not finite(*floor["interval"]):
    floor = {**floor, "interval": None}
  kept = dataclasses.replace(found, interval=interval, std=std, floor=floor)
  if kept == found:
    return found
  line = "a deviation, interval or floor is left out: it is out of range"
  return dataclasses.replace(kept, warnings=(*found.warnings, line))


def _gaussian(gathered: Gathered, ddof: int) -> Gaussian:
  """By its moments, but by its features where these are fewer than dimensions and were kept."""
  if gathered.features is not None and gathered.count <= gathered.moments.mean.size:
    return Gaussian.of_features(gathered.features, ddof)
  return Gaussian.of_moments(gathered.moments, ddof)


def _prdc(measure, real, generated) -> dict[str, float]:
  first, second = measure.neighbours
  return {
    **precision_recall.precision_recall(real, generated, k=first),
    **precision_recall.density_coverage(real, generated, k=second),
  }


def accuracy(logits, labels) -> float:
  """The fraction of clips [N, C] whose largest logit is that of their label."""
  return float(np.mean(np.argmax(logits, axis=1) == labels))


def _halves(real: Gathered, generated: Gathered, seed: int):
  """Indices of two disjoint sets of real clips, as large as the generated one where they can be."""
  count = min(generated.count, real.count // 2)
  return intervals.disjoint_halves(real.count, count, seed)


def _told(count: int) -> str:
  return f"two disjoint sets of {count} real clips"


def _warnings(measure, real, generated, floor) -> tuple[str, ...]:
  found, d = [], generated.moments.mean.size
  counts = [generated.count] + ([real.count] if real is not None else [])
  if measure.metric in FRECHET:
    if min(counts) <= d:
      found.append(f"{min(counts)} clips span fewer than the {d} dimensions: biased upwards")
    elif min(counts) < 10 * d:
      found.append(f"{min(counts)} clips for {d} dimensions: biased upwards, see the floor")
    kept = floor and real is not None and real.features is not None
    if kept and _LEAST_FOR_FLOOR <= real.count < 2 * generated.count:
      found.append(
        f"the floor is of {real.count // 2} clips a side, the value of {generated.count}: "
        "fewer clips make it higher"
      )
  if measure.metric in _UNLIMITED and min(counts) < 4 * d:
    # The smallest subsets have fewer than 2 d clips, where the bias is not yet c / N.
    found.append(f"{min(counts)} clips for {d} dimensions: too few to extrapolate from")
  if measure.metric == "is" and generated.count < 10 * d * measure.splits:
    per_split = generated.count // measure.splits
    found.append(f"{per_split} clips in a split of {d} classes: biased downwards")
  if measure.metric in (*FRECHET, "is") and generated.features is not None:
    copies = generated.count - len({row.tobytes() for row in generated.features})
    if copies:
      found.append(f"{copies} of the {generated.count} generated clips are copies of others")
  return tuple(found)


def score(
  measure: Measure,
  real: Gathered | None,
  generated: Sequence[Gathered],
  *,
  real_labels=None,
  labels: Sequence = (),
  bootstrap: int = 0,
  seed: int = 0,
  floor: bool = True,
  population: int | None = None,
) -> list[Score]:
  """Computes a measure.

  Args:
    measure: of a protocol.
    real: the real clips' output, or None where the measure needs none.
    generated: that of the generated clips, one for each repeat.
    real_labels: int [N] of the real clips, for "accuracy", "diversity" and "kvd", or None.
    labels: int [M] of the generated clips, for each repeat, likewise.
    bootstrap: resamplings behind an interval; 0 computes none.
    seed: of what is drawn.
    floor: whether to tell what real clips score; False where `real` is half of them already.
    population: real clips that there are, of which `real` are a random part; None where their
      labels are independent. See `kernel_distance`.

  Returns:
    scores: one, but four for "prdc".

  Raises:
    TooFewClips: where classes or neighbours have too few clips.
    UserError: where features are needed that were too many to keep, or samples are too few.
  """
  warnings = _warnings(measure, real, generated[0], floor)
  if measure.metric in FRECHET:
    return [_frechet(measure, real, generated, bootstrap, seed, warnings, floor)]
  if measure.metric == "is":
    return [_inception(measure, real if floor else None, generated, bootstrap, seed, warnings)]
  if measure.metric == "accuracy":
    return [_accuracy(real if floor else None, generated, real_labels, labels, bootstrap, seed)]
  if measure.metric == "diversity":
    return [_diversity(real if floor else None, generated, real_labels, labels)]
  if measure.metric.endswith("_infinity"):
    return [_unlimited(measure, real, generated, bootstrap, seed, warnings)]
  if measure.metric == "kvd":
    sides = (real_labels, math.inf if population is None else population), labels
    return [_kernel(measure, real, generated, *sides, bootstrap, seed, floor)]
  if measure.metric == "prdc":
    return _all_of_prdc(measure, real, generated, seed, floor)
  raise ValueError(f"unknown metric {measure.metric!r}")


def _spread(values) -> float | None:
  return float(np.std(values)) if len(values) > 1 else None  # ddof 0, as TGAN's code


def _frechet(measure, real, generated, bootstrap, seed, warnings, with_floor):
  known = _gaussian(real, measure.ddof)  # once, whatever the number of repeats
  values = tuple(gaussian_distance(known, _gaussian(each, measure.ddof)) for each in generated)
  interval, floor = None, None
  if generated[0].features is not None and len(generated) == 1:
    # A reference too large to keep is taken as known without error.
    reference = known if real.features is None else real.features
    interval = _frechet_interval(measure, reference, generated[0].features, bootstrap, seed)
  if with_floor and real.features is not None and real.count >= _LEAST_FOR_FLOOR:
    one, other = (real.features[half] for half in _halves(real, generated[0], seed))
    floor = {
      "value": frechet_distance_of_features(one, other, measure.ddof),
      "interval": _frechet_interval(measure, one, other, bootstrap, seed),
      "what": _told(len(one)),
    }
  return Score(measure.metric, values, interval, _spread(values), floor, warnings)


def _frechet_interval(measure, one, other, bootstrap, seed):
  if bootstrap < 2 or len(other) < 4 or (not isinstance(one, Gaussian) and len(one) < 4):
    return None
  return intervals.frechet_interval(one, other, LEVEL, bootstrap, seed, measure.ddof)


def _inception(measure, real, generated, bootstrap, seed, warnings):
  if any(each.features is None for each in generated):
    raise UserError("the logits of so many clips are too large to keep; --count=N takes fewer")
  found = [_inception_score(measure, each.features, seed) for each in generated]
  values = tuple(mean for mean, _ in found)
  floor = None
  if real is not None and real.features is not None and real.count >= measure.splits:
    own = real.features[: generated[0].count]
    floor = {
      "value": _inception_score(measure, own, seed)[0],
      "interval": _inception_interval(measure, own, bootstrap, seed),
      "what": f"{len(own)} real clips",
    }
  std = _spread(values) if len(values) > 1 else (found[0][1] if measure.splits > 1 else None)
  interval = None
  if len(generated) == 1:
    interval = _inception_interval(measure, generated[0].features, bootstrap, seed)
  return Score(measure.metric, values, interval, std, floor, warnings)


def _inception_score(measure, logits, seed):
  shuffled = seed if measure.splits > 1 else None  # clips may be ordered by class
  return inception_score(logits, measure.splits, shuffled, measure.eps, measure.eps_place)


def _inception_interval(measure, logits, bootstrap, seed):
  """Of one split alone: of several the deviation is told."""
  if bootstrap < 2 or measure.splits > 1 or len(logits) < 4:
    return None
  epsilon = Epsilon(measure.eps, measure.eps_place)
  return intervals.score_interval(logits, LEVEL, bootstrap, seed, epsilon=epsilon)


def _accuracy(real, generated, real_labels, labels, bootstrap, seed):
  values = tuple(accuracy(g.features, own) for g, own in zip(generated, labels, strict=True))
  single = bootstrap and len(generated) == 1
  interval = _wilson(values[0], generated[0].count) if single else None
  floor = None
  if real is not None and real.features is not None:
    value = accuracy(real.features, real_labels)
    floor = {
      "value": value,
      "interval": _wilson(value, real.count) if bootstrap else None,
      "what": f"{real.count} real clips",
    }
  return Score("accuracy", values, interval, _spread(values), floor)


def _wilson(fraction: float, count: int) -> tuple[float, float]:
  """Wilson's interval of a fraction: right near 0 and 1, where a bootstrap is not."""
  z = _QUANTILE
  middle = fraction + z * z / (2 * count)
  reach = z * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
  scale = 1 + z * z / count
  low, high = (middle - reach) / scale, (middle + reach) / scale
  return (low if fraction > 0 else 0.0, high if fraction < 1 else 1.0)


def _kernel(measure, real, generated, real_side, labels, bootstrap, seed, with_floor):
  _check_kept(real, *generated)
  with_floor = with_floor and real.count >= 4  # two clips in each half
  most = real.count // 2 if with_floor else real.count  # of one size with the floor's subsets
  size = min(measure.subset_size, most, generated[0].count)
  options = dict(subsets=measure.subsets, subset_size=size, seed=seed)
  sides = [_sides(measure, *real_side, own) for own in labels or [None] * len(generated)]
  found = [
    kernel_distance(real.features, each.features, estimator=measure.estimator, **options, **side)
    for each, side in zip(generated, sides, strict=True)
  ]
  values = tuple(mean for mean, _ in found)
  floor = None
  if with_floor:
    # Of halves drawn at random the published estimate is 0 on average, whatever their classes.
    one, other = (real.features[half] for half in _halves(real, generated[0], seed))
    interval = _kernel_interval(measure, one, other, bootstrap, seed)
    value, _ = kernel_distance(one, other, estimator="unbiased", **options)
    floor = {"value": value, "interval": interval, "what": _told(len(one))}
  std, interval = _spread(values), None
  if len(generated) == 1:
    std = found[0][1]
    both = real.features, generated[0].features
    interval = _kernel_interval(measure, *both, bootstrap, seed, **sides[0])
  warnings, used = (), {}
  if measure.subsets is not None:
    used["subset_size_used"] = size
    if size < measure.subset_size:
      asked = f"the protocol asks for subsets of {measure.subset_size}"
      warnings = (f"{measure.subsets} subsets of {size} clips: {asked}",)
  return Score("kvd", values, interval, std, floor, warnings, used)


def _sides(measure, real_labels, population, labels) -> dict:
  """What `kernel_distance` needs to know of both sets for the estimator "classes"."""
  if measure.estimator != "classes":
    return {}
  drawn = None if labels is None else fixed_among(labels)
  return {"labels": (real_labels, labels), "populations": (population, drawn)}


def _kernel_interval(measure, one, other, bootstrap, seed, **sides):
  """Of all clips at once alone: of subsets the deviation is told."""
  if bootstrap < 2 or measure.subsets is not None or min(len(one), len(other)) < 4:
    return None
  return intervals.kernel_interval(one, other, LEVEL, bootstrap, seed, **sides)


def _all_of_prdc(measure, real, generated, seed, with_floor):
  _check_kept(real, *generated)
  most, drawn = max(measure.neighbours), min(each.count for each in generated)
  if min(real.count, drawn) <= most:
    raise TooFewClips(
      f"distances to {most} nearest neighbours need more than {most} clips, got {drawn} generated "
      f"and {real.count} real ones (--count, --real_count)"
    )
  found = [_prdc(measure, real.features, each.features) for each in generated]
  one, other = (real.features[half] for half in _halves(real, generated[0], seed))
  enough = with_floor and len(one) > most  # the numbers themselves may need no more
  floors = _prdc(measure, one, other) if enough else None
  return [
    Score(
      name,
      tuple(each[name] for each in found),
      None,
      _spread([each[name] for each in found]),
      floors and {"value": floors[name], "interval": None, "what": _told(len(one))},
    )
    for name in found[0]
  ]


def _unlimited(measure, real, generated, bootstrap, seed, warnings):
  """Extrapolations; of one set of clips with their standard error."""
  needed = generated if real is None else [real, *generated]
  _check_kept(*needed)
  if (fewest := min(each.count for each in needed)) < 4:
    raise TooFewClips(f"its subsets need 4 clips, not {fewest} (--count, --real_count)")

  single = has_interval(measure, len(generated), bootstrap)
  options = {"seed": seed} if single else {"seed": seed, "halvings": 0}

  def fit(x, y):
    if measure.metric.startswith("is"):
      epsilon = Epsilon(measure.eps, measure.eps_place)
      return extrapolation.inception_score_infinity(y, epsilon=epsilon, **options)
    return extrapolation.frechet_infinity(x, y, ddof=measure.ddof, both=True, **options)

  found = [fit(real and real.features, each.features) for each in generated]
  values = tuple(each.value for each in found)
  std, interval = _spread(values) if len(values) > 1 else found[0].error, None
  if single and std is not None:
    interval = (values[0] - _QUANTILE * std, values[0] + _QUANTILE * std)
  return Score(measure.metric, values, interval, std, warnings=warnings)


def _diversity(real, generated, real_labels, labels):
  _check_kept(*generated)
  values = tuple(
    diversity.mean_within_classes(each.features, own)
    for each, own in zip(generated, labels, strict=True)
  )
  if None in values:
    raise TooFewClips("no class has two clips (--count, --real_count)")
  floor, warnings = None, ()
  if real is not None and real.features is not None:
    value = diversity.mean_within_classes(real.features, real_labels)
    if value is None:
      warnings = ("the floor is left out: no class has two real clips (--real_count)",)
    else:
      floor = {"value": value, "interval": None, "what": f"{real.count} real clips"}
  return Score("diversity", values, None, _spread(values), floor, warnings)


def _check_kept(*gathered):
  if any(each.features is None for each in gathered):
    raise UserError(
      "the features of so many clips are too large to keep; --real_count=N takes fewer"
    )
