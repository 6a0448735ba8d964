"""The batches of prepared sets by tf.data: the same bytes as `pipeline.Batches` gives.

The only module that imports tensorflow, and only where it is used. Python plans and reads, which is
cheap; tensorflow's threads decode, cut and batch.
"""

import functools
import weakref
from collections.abc import Callable

import numpy as np

from vidgan_jax.data.formats import pictures
from vidgan_jax.data.pipeline import Batches, augmentation_generator
from vidgan_jax.data.preprocessing import Resize, View
from vidgan_jax.data.sources.prepared import DamagedClip
from vidgan_jax.data.tensorflow_import import quietly
from vidgan_jax.runtime.errors import UserError


@functools.cache
def import_tensorflow():
  """Imports tensorflow, which must not take a GPU's memory from jax."""
  with quietly():
    try:
      import tensorflow as tf
    except ImportError as error:
      raise UserError(
        "config.data.reader=tensorflow needs tensorflow: pip install -r requirements-data.txt"
      ) from error
    tf.config.set_visible_devices([], "GPU")
  return tf


class TensorFlowBatches(Batches):
  """`Batches` of a prepared set through tf.data, with the same arguments.

  Meant to be called with one iteration after the other, by one thread: work on the next goes on
  between calls. Any other iteration may be asked for; it begins anew there, which takes a fraction
  of a second.

  A batch that tensorflow cannot decode is computed by `Batches`, whose word on damage is final.

  Args:
    source: a `prepared.Prepared`.
    *arguments: see `Batches`.
    report: receives a line where a batch had to be computed the other way.
    **options: see `Batches`.

  Raises:
    UserError: tensorflow is not installed, or see `Batches`.
  """

  def __init__(self, source, *arguments, report: Callable[[str], None] = print, **options):
    self._tf = import_tensorflow()
    super().__init__(source, *arguments, **options)
    self._report = report
    self._streams, self._next = [], None  # one stream, or none
    # Before Python ends: a stream that lives longer waits for Python, and Python for it.
    weakref.finalize(self, self._streams.clear)

  def __call__(self, iteration: int) -> dict[str, np.ndarray]:
    """See `Batches`; the arrays are read-only."""
    if not self._streams or iteration != self._next:
      if iteration < 0:
        raise ValueError(f"iteration {iteration} is negative")
      self._streams[:] = [self._dataset(iteration).as_numpy_iterator()]
    self._next = iteration + 1
    try:
      clips, labels = next(self._streams[0])
    except self._tf.errors.OpError as error:
      self._streams.clear()
      batch = super().__call__(iteration)
      reason = (error.message or type(error).__name__).splitlines()[0]
      self._report(f"WARNING: iteration {iteration} was read without tensorflow: {reason}")
      return batch
    shape = (self.steps, self.host_batch_size)
    return {"clip": clips.reshape(*shape, *clips.shape[1:]), "label": labels.reshape(shape)}

  def _dataset(self, begin: int):
    """All iterations from `begin`: clips uint8 [steps * B/hosts, T, H, W, 3] and labels."""
    tf = self._tf
    frames = self.source.frames
    count = self.steps * self.host_batch_size

    def planned(iteration):
      found = tf.numpy_function(self._plan, [iteration], (tf.string, tf.int32), stateful=False)
      return tf.ensure_shape(found[0], (count, frames)), tf.ensure_shape(found[1], (count, _FIELDS))

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = self.workers
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.range(begin, np.iinfo(np.int64).max)
    dataset = dataset.map(planned, num_parallel_calls=1).prefetch(1).unbatch()
    show = shower(self.source.sizes(), self.source.resolution, frames)
    dataset = dataset.map(lambda found, plan: (show(found, plan), plan[-1]), self.workers)
    return dataset.batch(count, drop_remainder=True).prefetch(1).with_options(options)

  def _plan(self, iteration) -> tuple[np.ndarray, np.ndarray]:
    """Draws and reads the examples of an iteration; pictures object [N, T], int32 [N, _FIELDS]."""
    examples = self.examples(int(iteration))
    found = np.full((len(examples), self.source.frames), b"", object)
    plans = np.zeros((len(examples), _FIELDS), np.int32)
    for place, (ordinal, index) in enumerate(examples):
      try:
        fetched = self.source.fetch(index, augmentation_generator(self.seed, ordinal))
      except DamagedClip:
        continue  # which nothing decodes: `Batches` deals with it when its turn comes
      found[place] = fetched.pictures
      plans[place] = plan_fields(fetched.view, fetched.label)
    return found, plans


_FIELDS = 8


def plan_fields(view: View, label: int = 0) -> list[int]:
  """A view and a label as `shower` takes them: _FIELDS integers."""
  return [
    view.ratio,
    view.resized,
    view.height,
    view.width,
    view.top,
    view.left,
    view.flip,
    label,
  ]


def shower(sizes, resolution: int, frames: int):
  """Returns the function that decodes and cuts a clip with tensorflow, eagerly or in Dataset.map.

  Args:
    sizes: (height, width, whether PNG) of stored pictures, each that occurs: what does not occur
      has no place in the graph.
    resolution: height and width of what is shown, pixels.
    frames: of a clip.

  Returns:
    A function of string [T] and int32 [_FIELDS] (`plan_fields`) to uint8 [T, H, W, 3], equal to
    `pictures.show`.
  """
  tf = import_tensorflow()
  views = [Resize(resolution, not png)(View(range(0), h, w)) for h, w, png in sizes]
  ratios = sorted({view.ratio for view in views})
  resizes = any(view.resized for view in views)
  crops = any((view.height, view.width) != (resolution, resolution) for view in views)

  def decode(found, ratio):
    # PNG too. INTEGER_ACCURATE is Pillow's transform; the default is another, to save time.
    method = {"channels": 3, "ratio": ratio, "dct_method": "INTEGER_ACCURATE"}
    # A node per frame: a loop in the graph costs as much as decoding a small picture does.
    return tf.stack([tf.io.decode_jpeg(found[i], **method) for i in range(frames)])

  def show(found, plan):
    ratio, resized, height, width, top, left, flip, _ = tf.unstack(plan)
    if len(ratios) == 1:
      clip = decode(found, ratios[0])
    else:
      branches = [functools.partial(decode, found, known) for known in ratios]
      clip = tf.switch_case(tf.argmax(tf.equal(ratios, ratio), output_type=tf.int32), branches)
    if resizes:
      resize = functools.partial(tf.numpy_function, pictures.resize_frames)
      resize = functools.partial(resize, [clip, height, width], tf.uint8, stateful=False)
      clip = tf.cond(tf.cast(resized, tf.bool), resize, lambda: clip)
    if crops:
      clip = clip[:, top : top + resolution, left : left + resolution]
    # Frames under each other: tensorflow is quick at reversing the columns of one picture.
    tall = tf.reshape(clip, (frames * resolution, resolution, 3))
    tall = tf.cond(tf.cast(flip, tf.bool), lambda: tf.reverse(tall, [1]), lambda: tall)
    return tf.reshape(tall, (frames, resolution, resolution, 3))

  return show
