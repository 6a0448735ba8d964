"""What is asked of one preparation."""

import dataclasses
import os

from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import pictures
from vidgan_jax.data.sources import split_folders
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths


@dataclasses.dataclass(frozen=True)
class Request:
  """One preparation; see the flags of `vidgan_jax.prepare`.

  Attributes:
    source: which adapter reads the input (`run.SOURCES`).
    input: folder or file of the data.
    output: folder of the prepared set.
    name: of the set; None is the source's.
    splits: which splits; empty is all that are there.
    split_number: which of UCF-101's lists; None is the first.
    lists: UCF-101's folder of lists, or Kinetics' csv files; empty looks in the input.
    classes: file that names a class per line, in label order; None takes those that are found.
    class_level: which folder on a clip's path is its class, 1 for the topmost; 0 drops the classes
      of any source.
    split_folders: which folders are splits; see `split_folders.parse`.
    resolution, resize, crop: see `pictures.Geometry`.
    stride, frame_rate: see `pictures.Selection`.
    quality: of the JPEGs, 1..100; None writes PNG.
    clips_per_shard: inputs per file.
    limit: at most so many inputs per split.
    workers: how many clips are worked on at once; no result depends on it.
  """

  source: str
  input: str
  output: str
  name: str | None = None
  splits: tuple[str, ...] = ()
  split_number: int | None = None
  lists: tuple[str, ...] = ()
  classes: str | None = None
  class_level: int = 1
  split_folders: str = split_folders.AUTO
  resolution: int | None = None
  resize: str = "bilinear"
  crop: int | None = None
  stride: int = 1
  frame_rate: float | None = None
  quality: int | None = 95
  clips_per_shard: int = 128
  limit: int | None = None
  workers: int | None = None

  def __post_init__(self):
    """Expands `~` in paths; UserError where one is no local path."""
    paths.localize(self, "input", "output", "lists", "classes")

  def check(self) -> None:
    """Raises UserError where the request contradicts itself or its folders do."""
    if not index.NAME.fullmatch(self.set_name):
      raise UserError(f"the name '{self.set_name}' must be small letters, digits and underscores")
    if self.resize not in pictures.RESIZES:
      raise UserError(f"unknown resize '{self.resize}', known are: {', '.join(pictures.RESIZES)}")
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
    if self.split_folders != split_folders.AUTO and self.source not in (
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
  def geometry(self) -> pictures.Geometry:
    """How pictures are resized."""
    return pictures.Geometry(self.resolution, self.resize, self.crop)

  def settings(self) -> dict:
    """All that decides the bytes, but for the inputs and the versions of the programs."""
    # Sets of versions that did not have the switch say nothing of it.
    by_name = self.split_folders == split_folders.AUTO
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
