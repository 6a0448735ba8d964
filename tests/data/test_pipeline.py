import threading
import time

import numpy as np
import pytest

from vidgan_jax.data.pipeline import Batches, Prefetcher, epoch_order, example_index
from vidgan_jax.data.sources.base import InMemorySource, Source
from vidgan_jax.runtime.errors import UserError


class Counting(Source):
  """Clips whose first pixel is their index, and the second a number from the generator."""

  def __init__(self, num_examples):
    self.num_examples, self.num_classes, self.class_names = num_examples, 0, ()
    self.frames, self.resolution = 1, 2

  def example(self, index, generator):
    clip = np.zeros((1, 2, 2, 3), np.uint8)
    clip[0, 0, 0, 0] = index % 256
    clip[0, 1] = generator.integers(256, size=(2, 3))
    return clip, index


def moving_clips(clips=10, frames=9):
  data = np.random.default_rng(0).integers(256, size=(clips, frames, 8, 8, 3), dtype=np.uint8)
  return InMemorySource(data, np.arange(clips) % 3, None, frames=4, stride=2, horizontal_flip=True)


def test_an_order_is_a_permutation_and_differs_by_epoch_and_seed():
  orders = [epoch_order(0, 0, 100), epoch_order(0, 1, 100), epoch_order(1, 0, 100)]
  for order in orders:
    assert sorted(order) == list(range(100))
  assert (orders[0] != orders[1]).any() and (orders[0] != orders[2]).any()
  assert (orders[0] != np.arange(100)).any()


def test_an_order_never_changes():
  """Runs are resumed with newer versions of NumPy, so these numbers must not change."""
  assert epoch_order(0, 0, 10).tolist() == [7, 6, 8, 3, 2, 4, 1, 5, 0, 9]
  assert epoch_order(3, 12345, 6).tolist() == [1, 3, 2, 5, 0, 4]


def test_a_cached_order_cannot_be_written_to():
  with pytest.raises(ValueError, match="read-only"):
    epoch_order(0, 0, 10)[0] = 3


@pytest.mark.parametrize(("examples", "batch", "steps"), [(12, 4, 1), (7, 4, 3), (3, 8, 2)])
def test_two_epochs_see_every_clip_exactly_twice(examples, batch, steps):
  batches = Batches(Counting(examples), batch, steps, seed=1)
  iterations = -(-2 * examples // (batch * steps))
  seen = np.concatenate([batches(t)["label"].ravel() for t in range(iterations)])
  assert np.bincount(seen[: 2 * examples]).tolist() == [2] * examples
  assert np.bincount(seen[:examples]).tolist() == [1] * examples


def test_ordinals_count_iterations_then_steps_then_examples():
  batches = Batches(Counting(50), batch_size=4, steps=3, seed=2)
  for iteration in (0, 1, 6):
    batch = batches(iteration)
    assert batch["clip"].shape == (3, 4, 1, 2, 2, 3) and batch["clip"].dtype == np.uint8
    assert batch["label"].shape == (3, 4) and batch["label"].dtype == np.int32
    for step in range(3):
      for j in range(4):
        index = example_index(2, (iteration * 3 + step) * 4 + j, 50)
        assert batch["label"][step, j] == index == batch["clip"][step, j, 0, 0, 0, 0]


@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_together_see_what_one_host_sees(hosts):
  source = moving_clips()
  whole = Batches(source, 8, 2, seed=3)(5)
  parts = [Batches(source, 8, 2, seed=3, host_index=h, host_count=hosts)(5) for h in range(hosts)]
  for name in ("clip", "label"):
    joined = np.concatenate([part[name] for part in parts], axis=1)
    assert (joined == whole[name]).all()
    assert parts[0][name].shape[1] == 8 // hosts


def test_a_batch_depends_on_seed_and_iteration_alone():
  first = Batches(moving_clips(), 4, 2, seed=0)
  for iteration in (3, 0, 9):
    first(iteration)
  again = Batches(moving_clips(), 4, 2, seed=0)
  assert (first(7)["clip"] == again(7)["clip"]).all()
  assert (first(7)["clip"] != Batches(moving_clips(), 4, 2, seed=1)(7)["clip"]).any()


def test_augmentation_differs_between_examples_and_epochs():
  batches = Batches(Counting(4), batch_size=4, steps=1, seed=0)
  draws = {batches(t)["clip"][0, j, 0, 1].tobytes() for t in range(50) for j in range(4)}
  assert len(draws) == 200


def test_a_far_iteration_costs_no_more():
  batches = Batches(Counting(1000), 8, 2, seed=0)
  started = time.perf_counter()
  batches(10**6)
  batches(10**15)
  assert time.perf_counter() - started < 0.5


def test_bad_divisions_are_refused():
  with pytest.raises(UserError, match="6 clips does not divide among 4 hosts"):
    Batches(Counting(9), 6, 1, seed=0, host_count=4)
  with pytest.raises(UserError, match="host 2"):
    Batches(Counting(9), 6, 1, seed=0, host_index=2, host_count=2)
  with pytest.raises(UserError, match="batch_size"):
    Batches(Counting(9), 0, 1, seed=0)
  with pytest.raises(ValueError, match="iteration -1 is negative"):
    Batches(Counting(9), 4, 1, seed=0)(-1)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_prefetching_hands_out_the_same_batches_in_order(depth):
  batches = Batches(moving_clips(), 4, 1, seed=0)
  with Prefetcher(batches, start=5, depth=depth, stop=15) as prefetcher:
    items = list(prefetcher)
  assert [iteration for iteration, _ in items] == list(range(5, 15))
  for iteration, batch in items:
    assert (batch["clip"] == batches(iteration)["clip"]).all()


def test_prefetching_works_ahead_but_not_further_than_depth():
  called = []
  with Prefetcher(lambda t: called.append(t) or t, start=0, depth=3) as prefetcher:
    next(prefetcher)
    deadline = time.monotonic() + 5
    while len(called) < 4 and time.monotonic() < deadline:
      time.sleep(0.01)
    time.sleep(0.05)
    assert called == [0, 1, 2, 3]


def test_an_exception_in_the_thread_reaches_the_consumer_in_its_turn():
  def fail(iteration):
    if iteration == 2:
      raise UserError("clip 7 is gone")
    return iteration

  with Prefetcher(fail, depth=8) as prefetcher:
    assert [next(prefetcher), next(prefetcher)] == [(0, 0), (1, 1)]
    for _ in range(2):
      with pytest.raises(UserError, match="clip 7 is gone"):
        next(prefetcher)


def test_close_ends_the_thread_at_once_even_when_the_queue_is_full():
  before = threading.active_count()
  prefetcher = Prefetcher(lambda t: t, depth=1)
  next(prefetcher)
  started = time.perf_counter()
  prefetcher.close()
  prefetcher.close()
  assert time.perf_counter() - started < 1
  assert threading.active_count() == before
  with pytest.raises(StopIteration):
    next(prefetcher)
