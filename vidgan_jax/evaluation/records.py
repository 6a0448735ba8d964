"""Records: each value with everything it was computed from, as plain values for files."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.features.extractor import Extractor, random_note, unverified
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.metrics.base import LEVEL, Metric, Score
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.report.columns import random_mark

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Scores:
  """Scores of one set of generated clips, as plain values.

  Attributes:
    records: one for each value, see `Circumstances.records`.
    per_class: values of single classes, see `Circumstances.class_records`.
  """

  records: list[dict]
  per_class: list[dict]


@dataclasses.dataclass(frozen=True, eq=False)
class Circumstances:
  """What all values of one evaluation depend on, besides metric and network.

  Attributes:
    protocol: see `protocols.base.Protocol`.
    shape: (T, H, W, 3) of the clips.
    about: values that identify the generated clips, see `evaluation.clips`.
    reference: the real clips, or None.
    count: number of generated clips of one repeat.
    repeats: number of sets of generated clips.
    seed: seed of splits, subsets and resamplings.
  """

  protocol: Protocol
  shape: tuple[int, int, int, int]
  about: Mapping
  reference: Reference | None
  count: int
  repeats: int
  seed: int

  def records(self, metric: Metric, extractor: Extractor, scores: Sequence[Score]) -> list[dict]:
    """A record of each score of a metric."""
    common = self._fields(metric, extractor)
    warnings = [
      *self._unusual_size(),
      *clips.other_stride(self.reference),
      *clips.other_data(self.reference, [metric.network]),
      *unverified(extractor),
    ]
    records = []
    for score in scores:
      fields = {**common, "metric": score.metric, **score.extra_fields}
      records.append(self._record(metric, score, fields, [*score.warnings, *warnings]))
    return records

  def class_records(
    self, metric: Metric, by_class: Mapping[int, dict], fingerprint_of_all: str
  ) -> list[dict]:
    """Entries for the values of single classes.

    Args:
      metric: the metric.
      by_class: its values by label, see `Metric.by_class`.
      fingerprint_of_all: fingerprint of its value over all clips.
    """
    names = () if self.reference is None else self.reference.class_names
    return [
      {
        "step": self.about.get("step"),
        "truncation": self.about.get("truncation"),
        "metric": metric.name,
        "class": label,
        "name": names[label] if label < len(names) else str(label),
        **entry,
        "fingerprint": fingerprint_of_all,
      }
      for label, entry in by_class.items()
    ]

  def _fields(self, metric: Metric, extractor: Extractor) -> dict[str, Any]:
    """Everything that the values of a metric depend on; the fingerprint is computed from it."""
    protocol, reference = self.protocol, self.reference
    frames, height, width, _ = self.shape
    usual = (protocol.generated_count, protocol.repeats)
    random = random_note(extractor)
    fields = {
      "format": FORMAT,
      "protocol": protocol.name,
      **metric.fields(),
      "weights": extractor.weights_hash,
      **({"random_weights": random} if random else {}),
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
    if metric.compares and reference is not None:
      fields["reference"] = reference.hashes[(metric.network, metric.preprocess)]
      fields["count_real"] = reference.count
      # Older results lack these fields and have the values None and "train". Leaving the fields
      # out at these values keeps the fingerprints equal.
      chosen = {"stride": reference.stride, "split": reference.split}
      fields |= {name: value for name, value in chosen.items() if value not in (None, "train")}
      if protocol.real_count not in (None, reference.count):
        fields["trial"] = True
    return fingerprint.plain(fields)

  def _record(
    self, metric: Metric, score: Score, fields: dict[str, Any], warnings: list[str]
  ) -> dict[str, Any]:
    real_count = self.reference.count if metric.compares and self.reference is not None else None
    floor = score.floor and {
      "value": score.floor.value,
      "interval": _listed(score.floor.interval),
      "what": score.floor.what,
    }
    return {
      "step": self.about.get("step"),
      "metric": score.metric,
      "network": metric.network + random_mark(fields, " with "),
      "output": metric.output,
      "value": score.value,
      "values": list(score.values),
      "std": score.std,
      "interval": _listed(score.interval),
      "level": LEVEL,
      "count_real": real_count,
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
    """A warning if the protocol's source evaluates clips of other sizes."""
    side, usual = self.shape[1], self.protocol.resolutions
    if not usual or side in usual:
      return []
    sizes = " and ".join(f"{size}x{size}" for size in usual)
    return [f"clips of {side}x{side}; the protocol's source scored {sizes}"]


def heading(
  protocol: Protocol, reference: Reference | None, run: Mapping[str, str]
) -> dict[str, Any]:
  """The part of results.json above the records.

  Args:
    protocol: see `protocols.base.Protocol`.
    reference: the real clips, or None.
    run: "workdir" and "name" of the run.
  """
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


def _listed(interval: Sequence[float] | None) -> list[float] | None:
  return None if interval is None else list(interval)


def _versions() -> dict[str, str]:
  import vidgan_jax

  return {
    "vidgan_jax": vidgan_jax.__version__,
    "jax": jax.__version__,
    "numpy": np.__version__,
    "device": jax.devices()[0].device_kind,
  }
