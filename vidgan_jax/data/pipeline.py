"""The batches of any iteration: order of examples, random augmentation, hosts, prefetching.

No state needs to be saved. The batch of an iteration is a function of the source, the seed and the
iteration. A run can therefore resume at any step without delay, on any number of hosts, and sees
the same bytes as an uninterrupted run.
"""

import collections
import concurrent.futures
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vidgan_jax.data.sources.base import Source
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware.cores import usable_cores

_MAX_WORKERS = 16  # more threads spend more time waiting for Python's lock than decoding
_ORDER_STREAM, _AUGMENTATION_STREAM = 0, 1


# A batch may span two epochs, and two batches may be computed at once: at most four orders in use.
@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
  """The order in which an epoch visits the examples.

  Args:
    seed: seed of the order, not negative.
    epoch: 0, 1, ...; each epoch has a different order.
    num_examples: number of examples of the source.

  Returns:
    A permutation of 0..num_examples-1, int64 [num_examples], read-only.
  """
  # Sort raw bits instead of calling Generator.permutation: NumPy guarantees the raw stream of a bit
  # generator, but may change the methods of Generator between versions.
  sequence = np.random.SeedSequence(seed, spawn_key=(_ORDER_STREAM, epoch))
  order = np.argsort(np.random.Philox(sequence).random_raw(num_examples), kind="stable")
  order.setflags(write=False)
  return order


def example_index(seed: int, ordinal: int, num_examples: int) -> int:
  """The index of the `ordinal`-th example since the start of training.

  Args:
    seed: seed of the order.
    ordinal: counts examples over all epochs, from 0.
    num_examples: number of examples of the source.

  Returns:
    An index, 0 <= index < num_examples.
  """
  epoch, position = divmod(ordinal, num_examples)
  return int(epoch_order(seed, epoch, num_examples)[position])


def augmentation_generator(seed: int, ordinal: int) -> np.random.Generator:
  """The random generator of window, crop and flip of the `ordinal`-th example.

  Args:
    seed: seed of the pipeline.
    ordinal: counts examples since the start of training, so that the same clip is augmented
      differently in each epoch.

  Returns:
    A new generator; the same arguments give the same stream.
  """
  sequence = np.random.SeedSequence(seed, spawn_key=(_AUGMENTATION_STREAM, ordinal))
  return np.random.Generator(np.random.Philox(sequence))


class Batches:
  """Computes the batches of any iteration; they do not depend on the number of hosts.

  Discriminator step s of iteration t uses a global batch whose example j has the ordinal
  shown + ((t - begin) * steps + s) * batch_size + j. Host h computes the h-th contiguous slice of
  each batch.

  Args:
    source: the clips.
    batch_size: global batch size B, a multiple of host_count.
    steps: batches per iteration (discriminator steps).
    seed: seed of order and augmentation, not negative.
    host_index: this host, 0 <= host_index < host_count.
    host_count: number of hosts.
    workers: threads that compute examples; the batches do not depend on it. 0 means one per core,
      at most 16.
    begin: first iteration. Iterations before it had batches of another size.
    shown: number of examples in all iterations before `begin`.

  Raises:
    UserError: the batch does not divide among the hosts, or an argument is outside its range.
  """

  def __init__(
    self,
    source: Source,
    batch_size: int,
    steps: int,
    seed: int,
    host_index: int = 0,
    host_count: int = 1,
    workers: int = 1,
    *,
    begin: int = 0,
    shown: int = 0,
  ):
    if batch_size < 1 or steps < 1 or seed < 0:
      raise UserError(
        "batches need batch_size >= 1, steps >= 1 and seed >= 0, not "
        f"{batch_size}, {steps} and {seed}"
      )
    if not 0 <= host_index < host_count:
      raise UserError(f"host {host_index} is not one of {host_count} hosts")
    if batch_size % host_count:
      raise UserError(f"a batch of {batch_size} clips does not divide among {host_count} hosts")
    if workers < 0:
      raise UserError(f"workers is {workers}, must be at least 0 (one for each core)")
    self.source = source
    self.batch_size = batch_size
    self.steps = steps
    self.seed = seed
    self.begin, self.shown = begin, shown
    self.host_batch_size = batch_size // host_count
    self.workers = workers or min(usable_cores(), _MAX_WORKERS)
    self._first = host_index * self.host_batch_size
    self._pool = None
    if self.workers > 1:
      self._pool = concurrent.futures.ThreadPoolExecutor(self.workers, "examples")

  def examples(self, iteration: int) -> list[tuple[int, int]]:
    """The examples of this host's part of the batches of one iteration.

    Args:
      iteration: the training step, at least `begin`.

    Returns:
      (ordinal, index) of each example, batch after batch.

    Raises:
      ValueError: the iteration is negative, or before `begin`.
    """
    if iteration < 0:
      raise ValueError(f"iteration {iteration} is negative")
    if iteration < self.begin:
      raise ValueError(f"iteration {iteration} is before the first, {self.begin}")
    done = int(iteration) - self.begin
    ordinals = (
      self.shown + (done * self.steps + step) * self.batch_size + self._first + j
      for step in range(self.steps)
      for j in range(self.host_batch_size)
    )
    size = self.source.num_examples
    return [(ordinal, example_index(self.seed, ordinal, size)) for ordinal in ordinals]

  def __call__(self, iteration: int) -> dict[str, np.ndarray]:
    """Computes this host's part of the batches of one iteration.

    Args:
      iteration: the training step, at least `begin`; every iteration takes the same time.

    Returns:
      {"clip": uint8 [steps, B/hosts, T, H, W, 3], "label": int32 [steps, B/hosts]}, in newly
      allocated arrays.

    Raises:
      ValueError: the iteration is negative.
    """
    source, examples = self.source, self.examples(iteration)
    shape = (source.frames, source.resolution, source.resolution, 3)
    clips = np.empty((len(examples), *shape), np.uint8)
    labels = np.empty(len(examples), np.int32)

    def compute(row):
      ordinal, index = examples[row]
      generator = augmentation_generator(self.seed, ordinal)
      labels[row] = source.fill(clips[row], index, generator)

    for _ in (self._pool.map if self._pool else map)(compute, range(len(examples))):
      pass  # map raises the first exception, in the order of the examples
    batch = (self.steps, self.host_batch_size)
    return {"clip": clips.reshape(*batch, *shape), "label": labels.reshape(batch)}


class Prefetcher:
  """Computes batches ahead in one background thread and returns them in order.

  An iterator over (iteration, batch) for iterations start, start + 1, ..., and a context manager.
  `next` first returns the batches before an exception in the thread, then raises it. The batches do
  not depend on `depth`.

  Args:
    batches: a function of an iteration, such as `Batches`.
    start: the first iteration.
    depth: largest number of finished batches that wait, at least 1.
    stop: the iteration after the last one, or None for no end.

  Raises:
    ValueError: depth is below 1.
  """

  def __init__(
    self, batches: Callable[[int], Any], start: int = 0, depth: int = 2, stop: int | None = None
  ):
    if depth < 1:
      raise ValueError(f"depth {depth} is below 1")
    self._batches = batches
    self._depth = depth
    self._stop = stop
    self._ready = collections.deque()
    self._changed = threading.Condition()
    self._closed = False
    self._finished = False
    self._error: BaseException | None = None
    # A daemon thread, so that a consumer that never calls close() does not keep the process alive.
    self._thread = threading.Thread(
      target=self._produce, args=(start,), name="prefetcher", daemon=True
    )
    self._thread.start()

  def _produce(self, iteration: int) -> None:
    """Computes batches until `close`, `stop` or an exception; runs in the thread."""
    error = None
    try:
      while self._stop is None or iteration < self._stop:
        with self._changed:
          self._changed.wait_for(lambda: self._closed or len(self._ready) < self._depth)
          if self._closed:
            return
        batch = self._batches(iteration)
        with self._changed:
          self._ready.append((iteration, batch))
          self._changed.notify_all()
        iteration += 1
    except BaseException as caught:  # a consumer must not wait for ever, whatever the error
      error = caught
    finally:
      with self._changed:
        self._error = error
        self._finished = True
        self._changed.notify_all()

  def __iter__(self) -> Iterator[tuple[int, Any]]:
    return self

  def __next__(self) -> tuple[int, Any]:
    with self._changed:
      self._changed.wait_for(lambda: self._ready or self._finished or self._closed)
      if self._closed:
        raise StopIteration
      if self._ready:
        item = self._ready.popleft()
        self._changed.notify_all()
        return item
      if self._error is not None:
        raise self._error
      raise StopIteration

  def close(self) -> None:
    """Drops finished batches and stops the thread, after the batch that it is computing."""
    with self._changed:
      self._closed = True
      self._ready.clear()
      self._changed.notify_all()
    if self._thread is not threading.current_thread():
      self._thread.join()

  def __enter__(self) -> "Prefetcher":
    return self

  def __exit__(self, *exception: object) -> None:
    self.close()
