"""Answers the requests of the page for clips: one at a time, each as HTML."""

import collections
import shlex
import threading
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from vidgan_jax.runtime.config import base_switches
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_writers
from vidgan_jax.viewer import drawing, markup
from vidgan_jax.viewer.drawing import Wanted
from vidgan_jax.viewer.kept_clips import KeptClips
from vidgan_jax.viewer.markup import Shown
from vidgan_jax.viewer.opened import Opened

_PASSES = base_switches.STANDING_PASSES.default
_REMEMBERED = 64  # answers for one generator; a page that is opened again needs no new clips


class Studio:
  """Generates clips and writes them to files.

  Args:
    opened: the generators.
    kept: receives the files.
  """

  def __init__(self, opened: Opened, kept: KeptClips):
    self.opened, self.kept = opened, kept
    # Generation takes all cores or the whole accelerator, and memory for one batch.
    self._lock = threading.Lock()
    self._answers: collections.OrderedDict[tuple, Shown] = collections.OrderedDict()

  def answer(self, keys: Sequence[str], frame_rate: float, make: Callable[[], Wanted]) -> Markup:
    """The HTML of the clips that `make` asks for, generated with each of some generators.

    Args:
      keys: of `opened.choices`.
      frame_rate: frames per second.
      make: makes the request; a UserError that it raises is shown on the page.
    """
    try:
      wanted = make()
      if not keys:
        raise UserError("choose a generator")
      if not 0.1 <= frame_rate <= 60:
        raise UserError(f"the frame rate is {frame_rate}, must be from 0.1 to 60 per second")
      if len(keys) * wanted.count * max(1, len(wanted.classes)) > 4 * drawing.MOST_CLIPS:
        raise UserError(f"{4 * drawing.MOST_CLIPS} clips may be shown at once; choose fewer")
    except UserError as error:
      return markup.error(str(error))
    shown, errors = [], []
    for key in dict.fromkeys(keys):
      try:
        with self._lock:
          shown.append(self._shown(key, wanted, frame_rate))
      except UserError as error:
        errors.append(markup.error(f"{self._name(key)}: {error}"))
    show = markup.by_clip if wanted.kind == "clips" else markup.by_generator
    return Markup("").join([*errors, show(shown) if shown else Markup("")])

  def _name(self, key: str) -> str:
    try:
      return self.opened.find(key).name
    except UserError:
      return key

  def _shown(self, key: str, wanted: Wanted, frame_rate: float) -> Shown:
    """Generates the clips, or returns what it returned for the same request."""
    choice = self.opened.find(key)
    request = (choice.key, wanted, frame_rate)
    before = self._answers.get(request)
    if before and all(map(self.kept.path, filter(None, [*before.files, before.together]))):
      self._answers.move_to_end(request)
      return before
    labels = self.opened.labels(key, wanted.classes)
    drawn = drawing.draw(self.opened.run(key), wanted, labels)
    workdir = self.opened.workdirs[choice.workdir]
    step = f" --checkpoint={choice.step}" if self.opened.has_checkpoints(key) else ""
    live = " --live" if self.opened.live else ""
    passes = self.opened.standing_passes
    passes = "" if passes == _PASSES else f" --standing_passes={passes}"
    columns = wanted.count if wanted.kind != "clips" else None
    shown = Shown(
      choice.name,
      drawn.captions,
      [
        self.kept.write(clip, frame_rate) if exists else ""
        for clip, exists in zip(drawn.clips, drawn.exists, strict=True)
      ],
      self.kept.write(video_writers.grid(drawn.clips[np.array(drawn.exists)], columns), frame_rate),
      f"vidgan sample --workdir={shlex.quote(workdir)}{step}{live}{passes} --output=DIR "
      f"{drawn.flags}",
    )
    self._answers[request] = shown
    while len(self._answers) > _REMEMBERED:
      self._answers.popitem(last=False)
    return shown
