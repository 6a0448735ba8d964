"""Batches of prepared sets through tf.data, with the same bytes as `pipeline.Batches`.

Only this module imports tensorflow for training, and only when it is used. Python draws the random
numbers and reads the encoded pictures, which is cheap. TensorFlow's threads decode, crop and batch.
"""

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from vidgan_jax.data.formats import pictures
from vidgan_jax.data.pipeline import Batches, augmentation_generator
from vidgan_jax.data.preprocessing import Resize, View
from vidgan_jax.data.sources.prepared import DamagedClip, Prepared
from vidgan_jax.data.tensorflow_import import quietly
from vidgan_jax.runtime.errors import UserError


@functools.cache
def import_tensorflow() -> Any:
  """Imports tensorflow and hides the GPUs from it, so that it leaves their memory to jax."""
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
  """`Batches` of a prepared set, decoded by tf.data.

  Call it from one thread, for one iteration after the other: tf.data prepares the next iteration
  between calls. A call for any other iteration restarts the stream there, which takes a fraction of
  a second.

  If tensorflow cannot decode a batch, `Batches` computes it, and decides whether a clip is damaged.

  Args:
    source: the prepared set.
    *arguments: see `Batches`.
    report: called with a line of text for each batch that tensorflow could not decode.
    **options: see `Batches`.

  Raises:
    UserError: tensorflow is not installed, or see `Batches`.
  """

  source: Prepared

  def __init__(
    self, source: Prepared, *arguments: Any, report: Callable[[str], None] = print, **options: Any
  ):
    self._tf = import_tensorflow()
    super().__init__(source, *arguments, **options)
    self._report = report
    self._streams: list[Iterator] = []  # at most one
    self._next = -1  # iteration that the stream gives next
    # Close the stream before Python exits; otherwise each of the two waits for the other.
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
    """A dataset of all iterations from `begin`: uint8 [steps * B/hosts, T, H, W, 3] and labels."""
    tf = self._tf
    frames = self.source.frames
    count = self.steps * self.host_batch_size

    def planned(iteration):
      encoded, plans = tf.numpy_function(
        self._plan, [iteration], (tf.string, tf.int32), stateful=False
      )
      return tf.ensure_shape(encoded, (count, frames)), tf.ensure_shape(plans, (count, _FIELDS))

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = self.workers
    options.threading.max_intra_op_parallelism = 1
    dataset = tf.data.Dataset.range(begin, np.iinfo(np.int64).max)
    dataset = dataset.map(planned, num_parallel_calls=1).prefetch(1).unbatch()
    decode = view_decoder(self.source.sizes(), self.source.resolution, frames)
    dataset = dataset.map(lambda encoded, plan: (decode(encoded, plan), plan[-1]), self.workers)
    return dataset.batch(count, drop_remainder=True).prefetch(1).with_options(options)

  def _plan(self, iteration) -> tuple[np.ndarray, np.ndarray]:
    """Draws and reads the N examples of one iteration of this host.

    Returns:
      The encoded pictures, object [N, T], and the plans (`plan_fields`), int32 [N, _FIELDS].
    """
    examples = self.examples(int(iteration))
    encoded = np.full((len(examples), self.source.frames), b"", object)
    plans = np.zeros((len(examples), _FIELDS), np.int32)
    for row, (ordinal, index) in enumerate(examples):
      try:
        fetched = self.source.fetch(index, augmentation_generator(self.seed, ordinal))
      except DamagedClip:
        continue  # empty pictures do not decode, so `Batches` computes this batch
      encoded[row] = fetched.pictures
      plans[row] = plan_fields(fetched.view, fetched.label)
    return encoded, plans


_FIELDS = 8


def plan_fields(view: View, label: int = 0) -> list[int]:
  """Encodes a view and a label as _FIELDS integers, the input of a `view_decoder` function."""
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


def view_decoder(sizes: Iterable[tuple[int, int, bool]], resolution: int, frames: int) -> Callable:
  """Returns a function that decodes, resizes, crops and flips a clip with tensorflow.

  Args:
    sizes: (height, width, whether PNG) of all stored pictures. The graph contains only the
      operations that these sizes need.
    resolution: height and width of the result, pixels.
    frames: frames T of a clip.

  Returns:
    A function of the encoded frames, string [T], and a plan, int32 [_FIELDS] (`plan_fields`), that
    returns uint8 [T, H, W, 3]. It works eagerly and in Dataset.map, and gives the same bytes as
    `pictures.decode_view`.
  """
  tf = import_tensorflow()
  views = [Resize(resolution, not png)(View(range(0), h, w)) for h, w, png in sizes]
  ratios = sorted({view.ratio for view in views})
  resizes = any(view.resized for view in views)
  crops = any((view.height, view.width) != (resolution, resolution) for view in views)

  def decode(encoded, ratio):
    # decode_jpeg accepts PNG too. INTEGER_ACCURATE is the transform of Pillow; the default is
    # a faster, less accurate one.
    method = {"channels": 3, "ratio": ratio, "dct_method": "INTEGER_ACCURATE"}
    # One node per frame: a loop in the graph takes as long as decoding a small picture.
    return tf.stack([tf.io.decode_jpeg(encoded[i], **method) for i in range(frames)])

  def decode_view(encoded, plan):
    ratio, resized, height, width, top, left, flip, _ = tf.unstack(plan)
    if len(ratios) == 1:
      clip = decode(encoded, ratios[0])
    else:
      branches = [functools.partial(decode, encoded, known) for known in ratios]
      clip = tf.switch_case(tf.argmax(tf.equal(ratios, ratio), output_type=tf.int32), branches)
    if resizes:
      resize = functools.partial(tf.numpy_function, pictures.resize_frames)
      resize = functools.partial(resize, [clip, height, width], tf.uint8, stateful=False)
      clip = tf.cond(tf.cast(resized, tf.bool), resize, lambda: clip)
    if crops:
      clip = clip[:, top : top + resolution, left : left + resolution]
    # Stack the frames vertically: tensorflow is fast at reversing the columns of one tall picture.
    tall = tf.reshape(clip, (frames * resolution, resolution, 3))
    tall = tf.cond(tf.cast(flip, tf.bool), lambda: tf.reverse(tall, [1]), lambda: tall)
    return tf.reshape(tall, (frames, resolution, resolution, 3))

  return decode_view
