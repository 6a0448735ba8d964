"""The shares of a process's time."""

import pytest

from vidgan_jax.training import clock


@pytest.fixture
def now(monkeypatch):
  """A list with the time in seconds, which a test sets."""
  time = [100.0]
  monkeypatch.setattr(clock.time, "perf_counter", lambda: time[0])
  return time


def test_shares_of_a_run(now):
  goodput = clock.Goodput()
  now[0] += 1
  with goodput.part("compiling"):
    now[0] += 4
  now[0] += 1
  goodput.started()
  now[0] += 10
  goodput.add("input", 2)
  with goodput.part("hooks"):
    now[0] += 3
    with goodput.part("compiling"):  # counted once, as hooks
      now[0] += 1
  expected = {"starting": 2, "compiling": 4, "input": 2, "hooks": 4, "saving": 0, "training": 8}
  assert goodput.shares() == {name: pytest.approx(s / 20) for name, s in expected.items()}
  assert str(goodput) == (
    "after 0.3 minutes: training 40%, starting 10%, compiling 20%, input 10%, hooks 20%"
  )


def test_an_error_ends_a_part(now):
  goodput = clock.Goodput()
  with pytest.raises(OSError), goodput.part("saving"):
    now[0] += 5
    raise OSError
  now[0] += 5
  assert goodput.shares()["saving"] == pytest.approx(0.5)
  with goodput.part("hooks"):
    now[0] += 10
  assert goodput.shares()["hooks"] == pytest.approx(0.5)
