"""Scores of real clips with damaged motion, which show whether a protocol's metrics see motion.

The reference is split into halves, as for "real against real". The second half is damaged and
compared with the first. Undamaged ("unharmed"), it has the score of real against real; the
difference from that is what a metric sees of motion. If there are too few clips for halves, the
clips are compared with a reference that contains them. That scores better than any generator can,
so the records name it.
"""

from typing import Any

import numpy as np

from vidgan_jax.evaluation.evaluator import Evaluator
from vidgan_jax.evaluation.features.references import Reference
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.report.results import SAME_CLIPS
from vidgan_jax.evaluation.statistics import controls

UNHARMED = "unharmed"
_LEAST = 6  # clips of each half, because metrics use each clip's five nearest neighbours


class DamagedClips:
  """Real clips with damaged motion, as a source of clips; see `evaluation.clips` and `controls`.

  Args:
    real: `clips.RealClips` or `clips.ArrayClips`.
    name: one of `controls.MOTIONS`, or UNHARMED.
    indices: which clips; None takes all.
    seed: of random damage.
  """

  def __init__(self, real: Any, name: str, indices: Any = None, seed: int = 0):
    self._real, self._name, self._seed = real, name, seed
    self._indices = range(real.count) if indices is None else indices
    self.count, self.shape = len(self._indices), real.shape
    self.about = {"checkpoint": f"{name} real clips"}

  def __call__(self, begin: int, end: int):
    """Clips begin..end-1 and their labels."""
    clips, labels = self._real.take(self._indices[begin:end])
    if self._name == UNHARMED:
      return clips, labels
    return controls.apply(self._name, clips, None, self._seed, begin), labels


def score(
  evaluator: Evaluator,
  real: Any,
  reference: Reference,
  *,
  count: int | None = None,
  seed: int = 0,
) -> list[dict]:
  """Scores real clips with damaged motion by an evaluator's protocol.

  Args:
    evaluator: see `evaluator.Evaluator`.
    real: the clips whose features `reference` contains.
    reference: see `references.Reference`.
    count: number of generated clips in one evaluation; None is the protocol's.
    seed: see `Evaluator.score`.

  Returns:
    records as in `Scores`, with "control" (the damage) and "against" (the clips that they were
    compared with).

  Raises:
    UserError: see `Evaluator.score`.
  """
  count = count or evaluator.protocol.generated_count
  halves = reference.halves(count, seed) if _enough(evaluator.protocol, reference) else None
  if halves and _have_pairs(evaluator.protocol, reference, *halves):
    against, indices = halves
    names, description = (UNHARMED, *controls.MOTIONS), f"{against.count} other real clips"
  else:
    against, indices = reference, range(min(count, real.count))
    names, description = controls.MOTIONS, SAME_CLIPS
  records = []
  for name in names:
    scores = evaluator.score(
      DamagedClips(real, name, indices, seed),
      against,
      count=len(indices),
      seed=seed,
      repeats=1,
      description=f"{name} real clips",
      floor=False,
    )
    assert scores is not None  # nothing stops the computation here
    records += [{**record, "control": name, "against": description} for record in scores.records]
  return records


def _have_pairs(
  protocol: Protocol, reference: Reference, first: Reference, second: np.ndarray
) -> bool:
  """Whether both halves have two clips of one class, if a metric needs such pairs.

  Args:
    protocol: the protocol.
    reference: all real clips.
    first: the first half.
    second: indices of the clips of the second half.
  """
  if reference.labels is None or not any(metric.needs_pairs for metric in protocol.metrics):
    return True
  assert first.labels is not None  # it is a part of `reference`
  return all(np.bincount(labels).max() > 1 for labels in (first.labels, reference.labels[second]))


def _enough(protocol: Protocol, reference: Reference) -> bool:
  """Whether a reference contains the features of enough clips for two halves."""
  feature_sets = [each for outputs in reference.gathered.values() for each in outputs.values()]
  complete = all(each.features is not None for each in feature_sets)
  return complete and reference.count // 2 >= max(_LEAST, protocol.min_clips)
