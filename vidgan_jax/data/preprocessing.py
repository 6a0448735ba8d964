"""Operations that decide which frames and pixels of a stored clip an example shows.

An operation takes a `View` and a random generator, and returns a changed view. It works on shapes
alone and reads no pixels, so all random numbers are drawn before any file is read. The decoders
(`pictures.decode_view`, or tf.data in `tensorflow_pipeline`) then produce the pixels of the view.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vidgan_jax.data.sources.base import random_window, window_span
from vidgan_jax.runtime.errors import UserError

CROPS = ("random", "center")
RATIOS = (8, 4, 2, 1)  # JPEG decodes directly at 1/ratio, with a smaller cosine transform


class View(NamedTuple):
  """The frames and pixels of a stored clip that an example shows.

  Attributes:
    frames: numbers of the stored frames, in the order of the example.
    height: height of the whole pictures after decoding and resizing, pixels.
    width: width of the same.
    ratio: pictures are decoded at 1/ratio of their stored height and width, rounded up.
    resized: whether the decoded pictures are then resized to (height, width).
    top: first row of the crop.
    left: first column of the crop.
    side: height and width of the crop, pixels; 0 before `Crop`.
    flip: whether left and right are exchanged.
  """

  frames: range
  height: int
  width: int
  ratio: int = 1
  resized: bool = False
  top: int = 0
  left: int = 0
  side: int = 0
  flip: bool = False


Operation = Callable[[View, np.random.Generator], View]


@dataclasses.dataclass(frozen=True)
class Window:
  """Draws a temporal window uniformly: `frames` frames, `stride` stored frames apart.

  Raises:
    UserError: frames or stride is below 1.
  """

  frames: int
  stride: int = 1

  def __post_init__(self):
    window_span(self.frames, self.stride)

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """Returns the view with the frames of the window."""
    window = random_window(generator, len(view.frames), self.frames, self.stride)
    return view._replace(frames=view.frames[window])


@dataclasses.dataclass(frozen=True)
class TemporalReversal:
  """Reverses the order of frames with probability 1/2."""

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """Returns the view, reversed in time or not."""
    return view._replace(frames=view.frames[::-1]) if generator.random() < 0.5 else view


@dataclasses.dataclass(frozen=True)
class Resize:
  """Reduces larger pictures so that their smaller side is `resolution`; draws nothing.

  JPEGs are decoded at the smallest of the scales 1, 1/2, 1/4 and 1/8 that is still large enough,
  which is faster than decoding all pixels. Pillow's bilinear filter, which averages over the area,
  then resizes to the exact size.

  Args:
    resolution: smaller side of the result, pixels.
    reducible: whether the decoder can reduce pictures, as for JPEG but not for PNG.
  """

  resolution: int
  reducible: bool = True

  def __call__(self, view: View, generator: np.random.Generator | None = None) -> View:
    """Returns the view with the new size; UserError if the pictures are smaller than that."""
    del generator
    height, width, wanted = view.height, view.width, self.resolution
    if min(height, width) < wanted:
      raise UserError(f"pictures of {height}x{width} pixels are smaller than {wanted}")
    ratios = RATIOS if self.reducible else (1,)
    ratio = next(ratio for ratio in ratios if -(-min(height, width) // ratio) >= wanted)
    height, width = -(-height // ratio), -(-width // ratio)
    resized = min(height, width) > wanted
    if resized:
      scale = wanted / min(height, width)
      height, width = (max(wanted, round(side * scale)) for side in (height, width))
    return view._replace(height=height, width=width, ratio=ratio, resized=resized)


@dataclasses.dataclass(frozen=True)
class Crop:
  """Crops a square of `side` pixels: at a uniformly random position, or in the middle ("center").

  Raises:
    UserError: the kind is unknown.
  """

  side: int
  kind: str = "random"

  def __post_init__(self):
    if self.kind not in CROPS:
      raise UserError(f"unknown crop '{self.kind}', known are: {', '.join(CROPS)}")

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """Returns the view with the position of the crop."""
    top, left = view.height - self.side, view.width - self.side
    if self.kind == "random":
      top, left = int(generator.integers(top + 1)), int(generator.integers(left + 1))
    else:
      top, left = top // 2, left // 2
    return view._replace(top=top, left=left, side=self.side)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
  """Exchanges left and right with probability 1/2."""

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """Returns the view, flipped or not."""
    return view._replace(flip=bool(generator.random() < 0.5))


def decide(operations: tuple[Operation, ...], view: View, generator: np.random.Generator) -> View:
  """Applies operations in order; each draws its random numbers from the same generator.

  Args:
    operations: such as `training_operations` returns.
    view: the whole stored clip: its frames, height and width.
    generator: the random generator of this example.

  Returns:
    The view that the example shows.
  """
  for operation in operations:
    view = operation(view, generator)
  return view


def training_operations(
  *,
  frames: int,
  stride: int,
  resolution: int,
  reducible: bool,
  crop: str = "random",
  horizontal_flip: bool = False,
  temporal_reversal: bool = False,
) -> tuple[Operation, ...]:
  """Returns the operations of a training set, in their order.

  Args:
    frames: frames of an example.
    stride: distance between frames of an example, in stored frames.
    resolution: height and width of an example, pixels.
    reducible: see `Resize`.
    crop: "random" or "center".
    horizontal_flip: see `HorizontalFlip`.
    temporal_reversal: see `TemporalReversal`.

  Returns:
    The operations, for `decide`.

  Raises:
    UserError: an argument is outside its range.
  """
  operations: list[Operation] = [
    Window(frames, stride),
    Resize(resolution, reducible),
    Crop(resolution, crop),
  ]
  if horizontal_flip:
    operations.append(HorizontalFlip())
  if temporal_reversal:
    operations.append(TemporalReversal())
  return tuple(operations)
