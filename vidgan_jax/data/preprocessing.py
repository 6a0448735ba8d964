"""What an example shows of its stored clip: small operations that decide, in shapes alone.

An operation takes a `View` and a generator and returns the view it makes of it; none touches a
pixel. So every random number is drawn before anything is read, and whoever decodes (`pictures`, or
tf.data in `tensorflow_pipeline`) carries out the same view.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vidgan_jax.data.sources.base import random_window, window_span
from vidgan_jax.runtime.errors import UserError

CROPS = ("random", "center")
RATIOS = (8, 4, 2, 1)  # at which JPEG decodes directly, by smaller cosine transforms


class View(NamedTuple):
  """Which pixels of a stored clip are shown, and how.

  Attributes:
    frames: numbers of the stored frames, in the order of showing.
    height: of the whole pictures at the scale of showing, pixels.
    width: of the same.
    ratio: pictures are decoded at 1/ratio of their stored height and width, rounded up.
    resized: whether they are resized from there to (height, width).
    top: first row shown.
    left: first column shown.
    side: height and width of what is shown, pixels; 0 until `Crop` decides.
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
  """Cuts out a stretch of time, uniformly: `frames` frames, `stride` apart.

  Raises:
    UserError: frames or stride is below 1.
  """

  frames: int
  stride: int = 1

  def __post_init__(self):
    window_span(self.frames, self.stride)

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """See the module."""
    window = random_window(generator, len(view.frames), self.frames, self.stride)
    return view._replace(frames=view.frames[window])


@dataclasses.dataclass(frozen=True)
class TemporalReversal:
  """Plays every second example backwards, on average."""

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """See the module."""
    return view._replace(frames=view.frames[::-1]) if generator.random() < 0.5 else view


@dataclasses.dataclass(frozen=True)
class Resize:
  """Brings the smaller side of larger pictures to `resolution`; draws nothing.

  JPEG is decoded at the smallest of 1, 1/2, 1/4, 1/8 that leaves enough, which costs less than to
  decode all and resize it; Pillow's bilinear filter (it averages over the area) does the rest.

  Args:
    resolution: the smaller side wanted, pixels.
    reducible: whether the decoder can reduce: JPEG can, PNG cannot.
  """

  resolution: int
  reducible: bool = True

  def __call__(self, view: View, generator: np.random.Generator | None = None) -> View:
    """See the module; UserError where the pictures are smaller than wanted."""
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
  """Cuts out a square of `side` pixels: anywhere, uniformly, or (kind "center") in the middle.

  Raises:
    UserError: the kind is unknown.
  """

  side: int
  kind: str = "random"

  def __post_init__(self):
    if self.kind not in CROPS:
      raise UserError(f"unknown crop '{self.kind}', known are: {', '.join(CROPS)}")

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """See the module."""
    top, left = view.height - self.side, view.width - self.side
    if self.kind == "random":
      top, left = int(generator.integers(top + 1)), int(generator.integers(left + 1))
    else:
      top, left = top // 2, left // 2
    return view._replace(top=top, left=left, side=self.side)


@dataclasses.dataclass(frozen=True)
class HorizontalFlip:
  """Exchanges left and right in every second example, on average."""

  def __call__(self, view: View, generator: np.random.Generator) -> View:
    """See the module."""
    return view._replace(flip=bool(generator.random() < 0.5))


def decide(operations: tuple[Operation, ...], view: View, generator: np.random.Generator) -> View:
  """Applies operations one after the other, each drawing what it needs.

  Args:
    operations: such as `training_operations` returns.
    view: the stored clip: its frames, height and width.
    generator: the example's own.

  Returns:
    What the example shows.
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
  """The operations of a training set, in their order.

  Args:
    frames: frames of an example.
    stride: distance between them in stored frames.
    resolution: height and width of an example, pixels.
    reducible: see `Resize`.
    crop: "random" or "center".
    horizontal_flip: see `HorizontalFlip`.
    temporal_reversal: see `TemporalReversal`.

  Returns:
    For `decide`.

  Raises:
    UserError: an argument is outside its range.
  """
  operations = [Window(frames, stride), Resize(resolution, reducible), Crop(resolution, crop)]
  if horizontal_flip:
    operations.append(HorizontalFlip())
  if temporal_reversal:
    operations.append(TemporalReversal())
  return tuple(operations)
