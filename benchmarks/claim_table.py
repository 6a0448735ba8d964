"""What the papers claim, and verdicts on it from the results of `claims.py`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import verdicts

NOT_YET = "not yet"
ALIKE = "no test: both cases have the same scores"
KEPT = 0.9  # a score is kept if it is at least this part of the other one


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim about a score of one case, compared with a score of another.

  Attributes:
    text: the claim.
    source: paper and section.
    case: the case that the claim is about.
    other: the case it is compared with.
    metric: name of the score.
    relation: "higher" or "lower" than the other's, or "kept": at least `KEPT` of the other's.
    other_metric: name of the other's score, if it has another one.
  """

  text: str
  source: str
  case: str
  other: str
  metric: str
  relation: str
  other_metric: str = ""


_DUAL = "DVD-GAN 3.1"
_INPUT = "DVD-GAN 4.3"
_TRUNCATION = "DVD-GAN 4.4"
_DARK = "Du 4.5"
_KERNELS = "Kahembwe & Ramamoorthy 4"
_SUBSAMPLING = "TGANv2 5"
CLAIMS = (
  Claim(
    "Both discriminators are better than the spatial one alone",
    *(_DUAL, "dvd_gan", "spatial_only", "fid", "lower"),
  ),
  Claim(
    "Both discriminators are better than the temporal one alone",
    *(_DUAL, "dvd_gan", "temporal_only", "fid", "lower"),
  ),
  Claim(
    "The spatial discriminator needs several frames: 3 are better than 1",
    *(_INPUT, "dvd_gan", "k_1", "fid", "lower"),
  ),
  Claim(
    "Half of the frames are enough: 3 keep the Inception Score of all 6",
    *(_INPUT, "dvd_gan", "k_6", "is", "kept"),
  ),
  Claim(
    "The temporal discriminator can see half the resolution: 2x2 pooling keeps the Inception Score",
    *(_INPUT, "dvd_gan", "phi_identity", "is", "kept"),
  ),
  Claim("2x2 pooling is better than 4x4", _INPUT, "dvd_gan", "phi_pool4", "fid", "lower"),
  Claim(
    "2x2 pooling is better than a random crop of half the size",
    *(_INPUT, "dvd_gan", "phi_half_crop", "fid", "lower"),
  ),
  Claim(
    "Truncation 0.5 makes better clips: precision is higher",
    *(_TRUNCATION, "dvd_gan", "dvd_gan", "precision@0.5", "higher", "precision"),
  ),
  Claim(
    "Truncation 0.5 makes less varied clips: recall is lower",
    *(_TRUNCATION, "dvd_gan", "dvd_gan", "recall@0.5", "lower", "recall"),
  ),
  Claim(
    "Clips are darker if the hinge is applied to the sum of scores than to single scores",
    *(_DARK, "hinge_of_sum", "dvd_gan", "brightness", "lower"),
  ),
  Claim(
    "Clips are darker if the temporal discriminator merges time into channels, not into the batch",
    *(_DARK, "time_into_channel", "time_into_batch", "brightness", "lower"),
  ),
  Claim(
    "Without the temporal discriminator, clips are brighter",
    *(_DARK, "spatial_only", "dvd_gan", "brightness", "higher"),
  ),
  Claim(
    "The average pixel loss makes clips brighter",
    *(_DARK, "pixel_loss", "dvd_gan", "brightness", "higher"),
  ),
  Claim(
    "Curvature falls with the dimension of kernels: factorised below 3-D",
    *(_KERNELS, "tgan_f", "tgan", "curvature", "lower"),
  ),
  Claim(
    "Curvature falls with the dimension of kernels: 2-D with shifts below 3-D",
    *(_KERNELS, "tgan_tsm", "tgan", "curvature", "lower"),
  ),
  Claim("TGAN-F makes better clips than TGAN", _KERNELS, "tgan_f", "tgan", "fid", "lower"),
  Claim("TGAN-TSM makes better clips than TGAN", _KERNELS, "tgan_tsm", "tgan", "fid", "lower"),
  Claim(
    "Subsampling layers keep the Inception Score",
    *(_SUBSAMPLING, "tgan_v2", "tgan_v2_whole", "is", "kept"),
  ),
  Claim(
    "Subsampling layers make iterations faster",
    *(_SUBSAMPLING, "tgan_v2", "tgan_v2_whole", "seconds", "lower"),
  ),
  Claim(
    "Fewer clips at higher levels keep the Inception Score",
    *(_SUBSAMPLING, "tgan_v2", "tgan_v2_all_clips", "is", "kept"),
  ),
  Claim(
    "Fewer clips at higher levels make iterations faster",
    *(_SUBSAMPLING, "tgan_v2", "tgan_v2_all_clips", "seconds", "lower"),
  ),
)


def effect(claim: Claim, score: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
  """The 95 % interval of the effect that a claim is about.

  Args:
    claim: the claim.
    score: (value, low, high) of its case, with a 95 % interval.
    other: the same of the other case. The errors of both are taken as independent. Each side of an
      interval counts for itself (Newcombe 1998, method 10): those of shares reach further to one
      side.

  Returns:
    the interval of the difference of the values, or of their ratio for "kept".
  """
  (value, low, high), (reference, other_low, other_high) = score, other
  if claim.relation == "kept":
    ratio = value / reference
    below = ratio * math.hypot(1 - low / value, other_high / reference - 1)
    above = ratio * math.hypot(high / value - 1, 1 - other_low / reference)
    return ratio - below, ratio + above
  difference = value - reference
  below = math.hypot(value - low, other_high - reference)
  above = math.hypot(high - value, reference - other_low)
  return difference - below, difference + above


def verdict(claim: Claim, effects: Sequence[tuple[float, float]]) -> str:
  """The verdict on a claim from its effect with each seed; see `verdicts.of_seeds`."""
  bound = KEPT if claim.relation == "kept" else 0.0
  above, below = [low > bound for low, _ in effects], [high < bound for _, high in effects]
  if claim.relation == "lower":
    return verdicts.of_seeds(below, above)
  return verdicts.of_seeds(above, below)


def _alike(scores: Mapping, others: Mapping) -> bool:
  """Whether all scores of two cases are equal, except times and what one of them lacks."""
  shared = [metric for metric in scores if metric in others and metric != "seconds"]
  return len(shared) > 1 and all(scores[metric] == others[metric] for metric in shared)


def rows(results: Sequence[Mapping]) -> list[list[str]]:
  """Rows (claim, source, comparison, verdict, effect by seed), without a header.

  Args:
    results: lines of the file of results: {"case", "seed", "scores": {metric: [value, low, high]}}.
      Later lines replace earlier ones of the same case and seed. A seed counts if both cases have
      it.
  """
  scores = {(r["case"], r["seed"]): r["scores"] for r in results}
  table = []
  for claim in CLAIMS:
    second = claim.other_metric or claim.metric
    seeds = sorted(s for case, s in scores if case == claim.case and (claim.other, s) in scores)
    effects = [
      effect(claim, scores[claim.case, s][claim.metric], scores[claim.other, s][second])
      for s in seeds
    ]
    said = verdict(claim, effects) if effects else NOT_YET
    # A case that changes nothing trains to the same bits.
    alike = [_alike(scores[claim.case, s], scores[claim.other, s]) for s in seeds]
    if alike and all(alike) and claim.case != claim.other:
      said = ALIKE
    if len(effects) == 1:
      said += " (one seed)"
    of = f"`{claim.case}` over" if claim.relation == "kept" else f"`{claim.case}` minus"
    comparison = f"{claim.metric}: {of} `{claim.other}`"
    if claim.case == claim.other:
      comparison = f"`{claim.case}`: {claim.metric} minus {second}"
    table.append([claim.text, claim.source, comparison, said, verdicts.spans(effects) or "-"])
  return table
