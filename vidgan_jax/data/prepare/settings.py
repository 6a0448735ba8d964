"""The request of `prepare`. It imports no decoder, because the command builds its flags from it."""

import dataclasses
import os
from typing import TYPE_CHECKING

from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.config.schema import choice, integer, number, text, texts
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths

if TYPE_CHECKING:
  from vidgan_jax.data.prepare import pictures

_AUTO = "auto"  # see `split_folders.parse`
CAMERAS = ("aux1", "main")  # of BAIR; the benchmark's first
_RESIZES = ("bilinear", "area")  # see `pictures`


@dataclasses.dataclass(frozen=True)
class Request:
  """Settings of one preparation; `quality=None` writes PNG instead of JPEG."""

  source: str = option(text(None, "Kind of the input; see above."), required=True)
  input: str = option(text(None, "Folder or file of the data."), required=True)
  output: str = option(text(None, "Folder of the prepared set."), required=True)
  name: str | None = option(text(None, "Name of the set; default the name of the source."))
  splits: tuple[str, ...] = option(
    texts((), "Splits, separated by commas; default all splits of the data."), flag="split"
  )
  split_number: int | None = option(
    integer(None, "Number of UCF-101's split lists; default 1.", least=1, most=99)
  )
  lists: tuple[str, ...] = option(
    texts(
      (),
      "UCF-101: folder of its lists. Kinetics: csv files. Default: the lists in --input.",
    )
  )
  classes: str | None = option(
    text(
      None,
      "File with one class name per line, in label order; default all class folders, sorted.",
    )
  )
  class_level: int = option(
    integer(
      1,
      "folder, frames: level of the class folder on a clip's path, 1 the topmost; 0: no classes.",
      least=0,
      most=64,
    )
  )
  split_folders: str = option(
    text(
      _AUTO,
      "folder, frames: which folders are splits. auto: folders named like train, val and test, if "
      "all folders beside them are splits too; none: no folder; FOLDER=SPLIT,...: these folders.",
    )
  )
  camera: str | None = option(
    choice(
      None,
      CAMERAS,
      "bair: camera of the frames; default aux1, that of the benchmark.",
    )
  )
  resolution: int | None = option(
    integer(None, "Smaller side in pixels; default unchanged.", least=1, most=8192)
  )
  resize: str = option(choice("bilinear", _RESIZES, "Method that resizes pictures."))
  crop: int | None = option(
    integer(None, "Crop the central square of this side in pixels first.", least=1, most=65_536)
  )
  stride: int = option(integer(1, "Keep every n-th frame.", least=1, most=10_000))
  frame_rate: float | None = option(
    number(
      None,
      "Keep this many frames per second; clips with a lower rate keep all frames.",
      least=0,
      above=True,
      most=1000,
    )
  )
  quality: int | None = option(integer(95, "Quality of the JPEGs.", least=1, most=100))
  clips_per_shard: int = option(
    integer(128, "Clips per file, which is the unit of resuming.", least=1, most=1_000_000)
  )
  limit: int | None = option(
    integer(None, "Largest number of clips per split, for trials.", least=1, most=1_000_000_000)
  )
  workers: int | None = option(
    integer(
      None,
      "Clips that are encoded at once; default the number of cores. No effect on the result.",
      least=1,
      most=1024,
    )
  )

  def __post_init__(self):
    """Expands `~` in paths; UserError if a path is not a local one."""
    paths.localize(self, "input", "output", "lists", "classes")

  def check(self) -> None:
    """Raises UserError if a value is invalid, or input and output overlap."""
    from vidgan_jax.data.formats import index
    from vidgan_jax.data.sources import split_folders

    requests.check(self)
    if not index.NAME.fullmatch(self.set_name):
      raise UserError(
        f"the name '{self.set_name}' must consist of lower-case letters, digits and underscores"
      )
    if self.frame_rate is not None and self.stride != 1:
      raise UserError("only one of stride and frame_rate can be set")
    if self.lists and self.source not in ("ucf101", "kinetics"):
      raise UserError(f"only ucf101 and kinetics have lists, {self.source} does not")
    if self.split_number is not None and self.source != "ucf101":
      raise UserError(f"only ucf101 has numbered split lists (split_number), not {self.source}")
    if self.class_level > 1 and self.source not in ("folder", "frames"):
      raise UserError(
        f"only folder and frames support class_level above 1; {self.source} supports 0 (no "
        "classes) and 1"
      )
    if self.camera is not None and self.source != "bair":
      raise UserError(f"only bair has several cameras (camera), {self.source} has not")
    split_folders.parse(self.split_folders)
    if self.split_folders != _AUTO and self.source not in (
      "folder",
      "frames",
      "kinetics",
    ):
      raise UserError(
        f"split_folders is only for folders of videos or frames; {self.source} defines its own "
        "splits"
      )
    if not os.path.exists(self.input):
      raise UserError(f"{self.input}: no such file or folder")
    given, output = os.path.realpath(self.input), os.path.realpath(self.output)
    if output == given or output.startswith(given + os.sep) or given.startswith(output + os.sep):
      raise UserError(
        f"the output {self.output} and the input {self.input} must not contain each other"
      )

  @property
  def set_name(self) -> str:
    """The data set's name."""
    return self.source if self.name is None else self.name

  @property
  def list_number(self) -> int:
    """Number of UCF-101's lists; 1 for sources without lists."""
    return 1 if self.split_number is None else self.split_number

  @property
  def used_camera(self) -> str:
    """The camera of BAIR whose frames are prepared."""
    return self.camera or CAMERAS[0]

  @property
  def geometry(self) -> "pictures.Geometry":
    """How pictures are cropped and resized."""
    from vidgan_jax.data.prepare import pictures

    return pictures.Geometry(self.resolution, self.resize, self.crop)

  def settings(self) -> dict:
    """All settings that determine the bytes, except the inputs and the versions of programs."""
    # Sets prepared before split_folders existed do not have this key. Sets of BAIR without a camera
    # are older than that option and show the camera main.
    by_name = self.split_folders == _AUTO
    return {
      **({"camera": self.used_camera} if self.source == "bair" else {}),
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
