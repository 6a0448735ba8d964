"""Guards stop failing runs, and no others."""

import pytest

from vidgan_jax.runtime.errors import Stopped
from vidgan_jax.training.guards import DarkGuard, check_finite


def dark(fraction):
  return {"pixel/generated_dark": fraction}


def test_dark_guard_counts_in_a_row():
  guard = DarkGuard(0.9, 3)
  for step, fraction in enumerate([1.0, 1.0, 0.5, 1.0, 1.0]):
    guard.metrics(step, dark(fraction))
  with pytest.raises(Stopped, match="at iteration 5"):
    guard.metrics(5, dark(1.0))


def test_dark_guard_without_patience_never_stops():
  guard = DarkGuard(0.9, 0)
  for step in range(100):
    guard.metrics(step, dark(1.0))
  assert guard.healthy()  # checkpoints may be saved


def test_non_finite_is_named():
  check_finite(3, 1.0)
  with pytest.raises(Stopped, match="iteration 7: loss/generator is not finite"):
    check_finite(7, 0.0, {"loss/discriminator": 1.0, "loss/generator": float("nan")})
