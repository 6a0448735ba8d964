"""Verdicts on claims of papers: whether runs with several seeds show them."""

import math
import statistics
from collections.abc import Sequence

SHOWS, DOES_NOT, UNDECIDED = "shows", "does not show", "undecided"


def of_seeds(shown: Sequence[bool], contrary: Sequence[bool]) -> str:
  """The verdict on a claim.

  Args:
    shown: for each seed, whether its interval lies where the claim puts it.
    contrary: for each seed, whether its interval lies on the other side.

  Returns:
    SHOWS if all seeds show the claim, DOES_NOT if all show its contrary, else UNDECIDED.
  """
  if shown and all(shown):
    return SHOWS
  return DOES_NOT if contrary and all(contrary) else UNDECIDED


def median(values: Sequence[float]) -> list[float]:
  """[median, low, high], with the 95 % interval of order statistics."""
  ordered = sorted(values)
  half, reach = len(ordered) / 2, 0.98 * math.sqrt(len(ordered))
  low, high = max(0, math.floor(half - reach)), min(len(ordered) - 1, math.ceil(half + reach))
  return [statistics.median(ordered), ordered[low], ordered[high]]


def spans(intervals: Sequence[tuple[float, float]]) -> str:
  """Intervals of the seeds as text."""
  return "; ".join(f"{low:.3g} to {high:.3g}" for low, high in intervals)
