"""Records: each number with all that it was computed from, as plain values for files."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.features.extractor import Extractor, unverified
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.metrics.base import LEVEL, Metric, Score
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Scores:
  """What one set of generated clips scored: records and per-class entries, plain values."""

  records: list[dict]
  per_class: list[dict]


@dataclasses.dataclass(frozen=True, eq=False)
class Circumstances:
  """What all numbers of one evaluation depend on, besides metric and network.

  Attributes:
    protocol: see `protocols.base.Protocol`.
    shape: (T, H, W, 3) of the clips.
    about: of the generated clips, see `evaluation.clips`.
    reference: the real clips, or None.
    count: generated clips of one repeat.
    repeats: sets of generated clips.
    seed: of splits, subsets and resamplings.
  """

  protocol: Protocol
  shape: tuple[int, int, int, int]
  about: Mapping
  reference: Reference | None
  count: int
  repeats: int
  seed: int

  def records(self, metric: Metric, extractor: Extractor, scores: Sequence[Score]) -> list[dict]:
    """A record of each number of a metric."""
    common = self._fields(metric, extractor)
    warnings = [
      *self._unusual_size(),
      *clips.other_stride(self.reference),
      *clips.other_data(self.reference, [metric.network]),
      *unverified(extractor),
    ]
    found = []
    for score in scores:
      fields = {**common, "metric": score.metric, **score.extra_fields}
      found.append(self._record(metric, score, fields, [*score.warnings, *warnings]))
    return found

  def class_records(self, metric: Metric, by_class: Mapping[int, dict], digits: str) -> list[dict]:
    """Entries of a metric's numbers of single classes, see `Metric.by_class`.

    Args:
      metric: the metric.
      by_class: its numbers.
      digits: fingerprint of its number of all clips.
    """
    names = self.reference.class_names
    return [
      {
        "step": self.about.get("step"),
        "truncation": self.about.get("truncation"),
        "metric": metric.name,
        "class": label,
        "name": names[label] if label < len(names) else str(label),
        **entry,
        "fingerprint": digits,
      }
      for label, entry in by_class.items()
    ]

  def _fields(self, metric, extractor) -> dict:
    """All that the numbers of a metric depend on."""
    protocol, reference = self.protocol, self.reference
    frames, height, width, _ = self.shape
    usual = (protocol.generated_count, protocol.repeats)
    fields = {
      "format": FORMAT,
      "protocol": protocol.name,
      **metric.fields(),
      "weights": extractor.weights_hash,
      "constants": fingerprint.of_constants(extractor.constants),
      "frames": frames,
      "resolution": [height, width],
      "quantisation": protocol.quantisation,
      "count_generated": self.count,
      "repeats": self.repeats,
      "trial": (self.count, self.repeats) != usual,
      "seed": self.seed,
      **self.about,
    }
    if fields["seed"] != self.seed:  # the clips were drawn with another seed
      fields["seed_of_draws"] = self.seed
    if metric.compares:
      fields["reference"] = reference.hashes[(metric.network, metric.preprocess)]
      fields["count_real"] = reference.count
      # Left out at the values that all older results have, so that numbers compare with those.
      taken = {"stride": reference.stride, "split": reference.split}
      fields |= {name: value for name, value in taken.items() if value not in (None, "train")}
      if protocol.real_count not in (None, reference.count):
        fields["trial"] = True
    return fingerprint.plain(fields)

  def _record(self, metric, score, fields, warnings) -> dict:
    floor = score.floor and {
      "value": score.floor.value,
      "interval": _listed(score.floor.interval),
      "what": score.floor.what,
    }
    return {
      "step": self.about.get("step"),
      "metric": score.metric,
      "network": metric.network,
      "output": metric.output,
      "value": score.value,
      "values": list(score.values),
      "std": score.std,
      "interval": _listed(score.interval),
      "level": LEVEL,
      "count_real": self.reference.count if metric.compares else None,
      "count_generated": self.count,
      "truncation": self.about.get("truncation"),
      "ema": self.about.get("ema"),
      "floor": floor,
      "fingerprint": fingerprint.of_column(fields),
      "number": fingerprint.of_number(fields),
      "fields": fields,
      "warnings": warnings,
    }

  def _unusual_size(self) -> list[str]:
    """A warning where the protocol's source evaluates clips of other sizes."""
    side, usual = self.shape[1], self.protocol.resolutions
    if not usual or side in usual:
      return []
    sizes = " and ".join(f"{size}x{size}" for size in usual)
    return [f"clips of {side}x{side}; the protocol's source scored {sizes}"]


def heading(protocol: Protocol, reference: Reference | None, run: Mapping) -> dict:
  """What stands above the records in a file of results; see `results`."""
  about = reference and {
    "description": reference.description,
    "hash": fingerprint.digest(sorted(reference.hashes.values())),
    "count": reference.count,
  }
  return {
    "format": FORMAT,
    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "versions": _versions(),
    "run": dict(run),
    "protocol": fingerprint.plain(protocol.describe()),
    "reference": about,
  }


def _listed(interval):
  return interval and list(interval)


def _versions() -> dict:
  import vidgan_jax

  return {
    "vidgan_jax": vidgan_jax.__version__,
    "jax": jax.__version__,
    "numpy": np.__version__,
    "device": jax.devices()[0].device_kind,
  }
