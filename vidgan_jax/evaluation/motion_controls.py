"""Scores of real clips with spoilt motion: do a protocol's metrics see motion at all?

The reference is halved as for the floor. The second half is spoilt and compared with the first.
Unharmed it scores the floor; the difference shows what a metric sees of motion. Comparing clips
with a reference that holds them would score better than any generator can: that is done only where
there are too few clips to halve, and the result says so.
"""

import numpy as np

from vidgan_jax.evaluation.statistics import controls

UNHARMED = "unharmed"
_LEAST = 6  # clips of a set: neighbours are counted up to the fifth


class Spoilt:
  """Real clips made worse in their motion, see `controls`.

  Args:
    real: `clips.RealClips` or `clips.ArrayClips`.
    name: of `controls.MOTIONS`, or UNHARMED.
    numbers: of the clips; None is all.
    seed: of what is drawn.
  """

  def __init__(self, real, name: str, numbers=None, seed: int = 0):
    self._real, self._name, self._seed = real, name, seed
    self._numbers = range(real.count) if numbers is None else numbers
    self.count, self.shape = len(self._numbers), real.shape
    self.about = {"checkpoint": f"{name} real clips"}

  def __call__(self, begin: int, end: int):
    """Its clips begin..end-1 and their labels."""
    found, labels = self._real.take(self._numbers[begin:end])
    if self._name == UNHARMED:
      return found, labels
    return controls.apply(self._name, found, None, self._seed, begin), labels


def score(evaluator, real, reference, *, count=None, labelled=True, seed: int = 0) -> list[dict]:
  """Scores spoilt real clips by an evaluator's protocol.

  Args:
    evaluator: see `evaluator.Evaluator`.
    real: the clips that `reference` is of.
    reference: see `references.Reference`.
    count: generated clips of one evaluation; None is the protocol's.
    labelled, seed: see `Evaluator.score`.

  Returns:
    records as of `Scores`, with "control", how the clips were spoilt, and "against", which clips
    they were compared with.

  Raises:
    UserError: see `Evaluator.score`.
  """
  count = count or evaluator.protocol.generated_count
  halves = reference.halves(count, seed) if _enough(evaluator.protocol, reference) else None
  if halves and _of_one_class(evaluator.protocol, reference, *halves):
    against, numbers = halves
    names, told = (UNHARMED, *controls.MOTIONS), f"{against.count} other real clips"
  else:
    against, numbers = reference, range(min(count, real.count))
    names, told = controls.MOTIONS, "the reference, which holds the same clips unharmed"
  records = []
  for name in names:
    found = evaluator.score(
      Spoilt(real, name, numbers, seed),
      against,
      count=len(numbers),
      labelled=labelled,
      seed=seed,
      repeats=1,
      description=f"{name} real clips",
      floor=False,
    )
    records += [{**record, "control": name, "against": told} for record in found.records]
  return records


def _of_one_class(protocol, reference, first, numbers) -> bool:
  """Whether both halves have two clips of one class, if a protocol asks how much these differ."""
  if reference.labels is None or not any(metric.needs_pairs for metric in protocol.metrics):
    return True
  return all(np.bincount(some).max() > 1 for some in (first.labels, reference.labels[numbers]))


def _enough(protocol, reference) -> bool:
  """Whether a reference kept the features of enough clips to be halved."""
  outputs = [found for own in reference.gathered.values() for found in own.values()]
  kept = all(found.features is not None for found in outputs)
  return kept and reference.count // 2 >= max(_LEAST, protocol.min_clips)
