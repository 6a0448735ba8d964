"""The runs and exported models that the page shows, each opened once per checkpoint."""

import collections
import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import vidgan_jax.training.state as states
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_text, printable
from vidgan_jax.sampling import run as runs

_KEPT = 8  # opened generators; a further one replaces the one that was used least recently


def distinct_names(workdirs: Sequence[str]) -> list[str]:
  """Names of folders for reading: the last part of each path, or more if these are equal."""
  parts = [pathlib.Path(os.path.abspath(folder)).parts for folder in workdirs]
  for length in range(1, max(map(len, parts)) + 1):
    names = ["/".join(each[-length:]) for each in parts]
    if len(set(names)) == len(names):
      break
  return [printable(file_text(name)) for name in names]


@dataclasses.dataclass(frozen=True)
class Choice:
  """A generator that the page can show.

  Attributes:
    key: identifies it in requests of the page.
    name: for reading.
    workdir: number of its run or exported model.
    step: iteration of its checkpoint.
  """

  key: str
  name: str
  workdir: int
  step: int


class Opened:
  """Opens runs and exported models, the newest checkpoint of each at once.

  Args:
    workdirs: folders.
    live: draw from the live weights.
    standing_passes: see `sampling.run.load`.
    report: called with lines for the user.

  Raises:
    UserError: one cannot be opened, or it continues given frames.
  """

  def __init__(
    self,
    workdirs: Sequence[str],
    *,
    live: bool = False,
    standing_passes: int = 16,
    report: Callable[[str], None] = print,
  ):
    self.workdirs, self.names = tuple(workdirs), distinct_names(workdirs)
    self.live = live
    self.standing_passes = standing_passes
    self._options: dict[str, Any] = dict(
      use_ema=not live, standing_passes=standing_passes, report=report
    )
    self._runs: collections.OrderedDict[str, runs.Run] = collections.OrderedDict()
    self._lock = threading.RLock()
    self._newest: list[Choice] = []
    for number, workdir in enumerate(workdirs):
      run = runs.load(workdir, **self._options)
      if run.gan.needs_conditioning:
        raise UserError(
          f"{workdir} continues given frames, which this page does not show; "
          "vidgan sample --conditioning=test does"
        )
      choice = self._choice(number, run.step)
      self._newest.append(choice)
      self._keep(choice.key, run)
    # (name, classes) of each: class names do not depend on the checkpoint.
    self._classes = [_named_classes(self.run(choice.key)) for choice in self._newest]

  def _choice(self, number: int, step: int) -> Choice:
    return Choice(f"{number}:{step}", f"{self.names[number]}, iteration {step}", number, step)

  def _keep(self, key: str, run: runs.Run) -> None:
    self._runs[key] = run
    self._runs.move_to_end(key)
    while len(self._runs) > max(_KEPT, len(self.workdirs)):
      self._runs.popitem(last=False)

  def newest(self) -> list[str]:
    """Keys of the checkpoints that were the newest when the command began, one for each run."""
    return [choice.key for choice in self._newest]

  def choices(self) -> list[Choice]:
    """All checkpoints that exist now, those of each run newest first."""
    found = []
    for number, workdir in enumerate(self.workdirs):
      steps = Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS).steps()
      steps = {self._newest[number].step, *steps}  # an exported model has no checkpoints
      found += [self._choice(number, step) for step in sorted(steps, reverse=True)]
    return found

  def find(self, key: str) -> Choice:
    """The choice with this key; UserError if there is none."""
    number, _, step = key.partition(":")
    if not (number.isdecimal() and step.isdecimal() and int(number) < len(self.workdirs)):
      raise UserError(f"there is no generator {printable(key)!r}")
    return self._choice(int(number), int(step))

  def has_checkpoints(self, key: str) -> bool:
    """Whether a choice belongs to a run; exported models have one state only."""
    return (pathlib.Path(self.workdirs[self.find(key).workdir]) / states.CHECKPOINTS).is_dir()

  def run(self, key: str) -> runs.Run:
    """The opened generator of a choice; UserError if its checkpoint does not exist any more."""
    choice = self.find(key)
    with self._lock:
      run = self._runs.get(choice.key)
      if run is None:
        run = runs.load(self.workdirs[choice.workdir], step=choice.step, **self._options)
      self._keep(choice.key, run)
      return run

  def classes(self) -> list[str]:
    """Names of the classes of all runs, without repetitions; empty without classes."""
    return list(dict.fromkeys(name for names in self._classes for name in names))

  def labels(self, key: str, names: Sequence[str]) -> list[int | None]:
    """Numbers of classes in a run: None for one that it does not have, 0 in runs without classes.

    Raises:
      UserError: the run has none of them.
    """
    known = self._classes[self.find(key).workdir]
    if not known:
      return [0] * len(names)
    labels = [known.get(name) for name in names]
    if names and labels.count(None) == len(names):
      raise UserError(f"there is no class {printable(', '.join(names))}")
    return labels


def _named_classes(run: runs.Run) -> dict[str, int]:
  """{name: number} of a run's classes; a name that occurs twice is followed by its number."""
  names = [printable(file_text(name)) for name in run.class_names]
  names = names or [f"class {number}" for number in range(run.gan.num_classes)]
  return {
    f"{name} ({number})" if names.count(name) > 1 else name: number
    for number, name in enumerate(names)
  }
