"""What `prepare` is asked for; it loads no decoder, for flags are made of it."""

import dataclasses
import os
from typing import TYPE_CHECKING

from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import choice, integer, number, text, texts
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths

if TYPE_CHECKING:
  from vidgan_jax.data.prepare import pictures

_AUTO = "auto"  # see `split_folders.parse`
_RESIZES = ("bilinear", "area")  # see `pictures`


@dataclasses.dataclass(frozen=True)
class Request:
  """One preparation. `quality` None writes PNG."""

  source: str = option(text(None, "What the input is; see above."), required=True)
  input: str = option(text(None, "Folder or file of the data."), required=True)
  output: str = option(text(None, "Folder of the prepared set."), required=True)
  name: str | None = option(text(None, "Name of the set; default the source's."))
  splits: tuple[str, ...] = option(
    texts((), "Splits, by commas; default all that are there."), flag="split"
  )
  split_number: int | None = option(
    integer(None, "Which of UCF-101's lists; default 1.", least=1, most=99)
  )
  lists: tuple[str, ...] = option(
    texts(
      (),
      "UCF-101: folder of its lists. Kinetics: csv files. Default: those in --input.",
    )
  )
  classes: str | None = option(
    text(
      None,
      "File with a class name per line, in label order; default those found, sorted.",
    )
  )
  class_level: int = option(
    integer(
      1,
      "folder, frames: which folder on a clip's path is its class, 1 the topmost. 0: no classes.",
      least=0,
      most=64,
    )
  )
  split_folders: str = option(
    text(
      _AUTO,
      "folder, frames: which folders are splits. auto: those named like train, val and test, where "
      "all beside them are; none: none; FOLDER=SPLIT,...: these.",
    )
  )
  resolution: int | None = option(
    integer(None, "Pixels of the smaller side; default as it is.", least=1, most=8192)
  )
  resize: str = option(choice("bilinear", _RESIZES, "How pictures are made smaller."))
  crop: int | None = option(
    integer(None, "First cut the middle square of so many pixels.", least=1, most=65_536)
  )
  stride: int = option(integer(1, "Keep every n-th frame.", least=1, most=10_000))
  frame_rate: float | None = option(
    number(
      None,
      "Keep so many frames per second; slower clips keep all of theirs.",
      least=0,
      above=True,
      most=1000,
    )
  )
  quality: int | None = option(integer(95, "Quality of the JPEGs.", least=1, most=100))
  clips_per_shard: int = option(
    integer(128, "Clips per file; as much is done again after a stop.", least=1, most=1_000_000)
  )
  limit: int | None = option(
    integer(None, "At most so many clips per split, for trials.", least=1, most=1_000_000_000)
  )
  workers: int | None = option(
    integer(
      None,
      "Clips worked on at once, no result depends on it; default the number of cores.",
      least=1,
      most=1024,
    )
  )

  def __post_init__(self):
    """Expands `~` in paths; UserError where one is no local path."""
    paths.localize(self, "input", "output", "lists", "classes")

  def check(self) -> None:
    """Raises UserError where the request contradicts itself or its folders do."""
    from vidgan_jax.data.formats import index
    from vidgan_jax.data.sources import split_folders

    if not index.NAME.fullmatch(self.set_name):
      raise UserError(f"the name '{self.set_name}' must be small letters, digits and underscores")
    if self.resize not in _RESIZES:
      raise UserError(f"unknown resize '{self.resize}', known are: {', '.join(_RESIZES)}")
    if self.frame_rate is not None and self.stride != 1:
      raise UserError("of stride and frame_rate only one can be taken")
    if self.frame_rate is not None and not 0 < self.frame_rate <= 1000:
      raise UserError(f"frame_rate is {self.frame_rate}, must be above 0 and at most 1000")
    if self.quality is not None and not 1 <= self.quality <= 100:
      raise UserError(f"quality is {self.quality}, must be in 1..100")
    positive = ("split_number", "resolution", "crop", "stride", "clips_per_shard", "limit")
    for field in (*positive, "workers"):
      value = getattr(self, field)
      if value is not None and value < 1:
        raise UserError(f"{field} is {value}, must be at least 1")
    if self.lists and self.source not in ("ucf101", "kinetics"):
      raise UserError(f"lists are of ucf101 and kinetics, {self.source} takes none")
    if self.split_number is not None and self.source != "ucf101":
      raise UserError(f"split_number is of ucf101's lists, {self.source} has no such numbers")
    if self.class_level > 1 and self.source not in ("folder", "frames"):
      raise UserError(
        f"class_level is of folder and frames; {self.source} knows 0 alone, no classes"
      )
    split_folders.parse(self.split_folders)
    if self.split_folders != _AUTO and self.source not in (
      "folder",
      "frames",
      "kinetics",
    ):
      raise UserError(
        f"split_folders is of trees of videos or frames, {self.source} has its own splits"
      )
    if not os.path.exists(self.input):
      raise UserError(f"{self.input}: no such file or folder")
    given, output = os.path.realpath(self.input), os.path.realpath(self.output)
    if output == given or output.startswith(given + os.sep) or given.startswith(output + os.sep):
      raise UserError(f"the output {self.output} and the input {self.input} lie in each other")

  @property
  def set_name(self) -> str:
    """The data set's name."""
    return self.source if self.name is None else self.name

  @property
  def list_number(self) -> int:
    """Which of UCF-101's lists; 1, too, of sources that have none."""
    return 1 if self.split_number is None else self.split_number

  @property
  def geometry(self) -> "pictures.Geometry":
    """How pictures are resized."""
    from vidgan_jax.data.prepare import pictures

    return pictures.Geometry(self.resolution, self.resize, self.crop)

  def settings(self) -> dict:
    """All that decides the bytes, but for the inputs and the versions of the programs."""
    # Sets of versions that did not have the switch say nothing of it.
    by_name = self.split_folders == _AUTO
    return {
      **({} if by_name else {"split_folders": self.split_folders}),
      "source": self.source,
      "split_number": self.list_number,
      "class_level": self.class_level,
      "resolution": self.resolution,
      "resize": self.resize,
      "antialias": True,
      "crop": self.crop,
      "stride": self.stride,
      "frame_rate": self.frame_rate,
      "encoding": "png" if self.quality is None else "jpeg",
      "quality": self.quality,
      "clips_per_shard": self.clips_per_shard,
      "limit": self.limit,
    }
