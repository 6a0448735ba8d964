"""Adds scores to the files of a folder: results.json, results.tex and report.html.

The training hook and `evaluate --follow` may score one run by one protocol at the same time. Each
locks the folder while it reads, adds and writes, so that the scores of both are in the files.
"""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vidgan_jax.evaluation.report import results
from vidgan_jax.runtime import processes

_SHOWN = 32  # real and generated clips that a report is made from
_PER_CLASS = 4  # real clips of each class of the generated ones
_SEARCHED = 256  # real clips among which clips of these classes are searched


class ResultsWriter:
  """Writes the scores of one run by one protocol.

  Args:
    folder: folder of the files.
    real: the real clips, see `evaluation.clips`; the report shows some.
    class_names: name of each label.
    report: called with lines for the user.
  """

  def __init__(
    self,
    folder: str | os.PathLike,
    real: Any,
    class_names: Sequence[str] = (),
    report: Callable[[str], None] = print,
  ):
    self.folder = pathlib.Path(folder)
    self._real, self._class_names, self._report = real, class_names, report
    self._written: set[str] | None = None  # `number` of each record that this object last wrote

  def check(self, heading: Mapping) -> None:
    """UserError if the files contain results of another run or protocol; see `results.existing`."""
    results.existing(self.folder / results.FILE, heading)

  def add(
    self, heading: Mapping, scores: Any, shown: tuple, controls: Sequence[Mapping] = ()
  ) -> tuple[dict, list[pathlib.Path]]:
    """Adds scores to the files.

    Args:
      heading: see `Evaluator.heading`.
      scores: see `records.Scores`.
      shown: generated clips and their labels, see `first_clips`.
      controls: see `motion_controls.score`.

    Returns:
      (the new content of results.json, the paths of the files).

    Raises:
      UserError: see `results.existing`, or a file cannot be written.
    """
    path = self.folder / results.FILE
    with results.locked(self.folder, self._report):
      before = results.existing(path, heading)
      if before and self._written is not None and _numbers(before) - self._written:
        self._report(f"another process has written scores to {path} as well: all are kept")
      content = results.merge(before, heading, scores.records, scores.per_class, controls)
      files = results.write(self.folder, content)
      self._written = _numbers(content)
      page = write_report(self.folder, content, self._real, shown, self._class_names)
    return content, [*files, page]

  def drop_after(self, step: int, heading: Mapping) -> None:
    """Removes scores of later iterations: a run that continues computes them again."""
    path = self.folder / results.FILE
    if not path.exists():
      return
    with results.locked(self.folder, self._report):
      content = results.read(path)
      content["run"] = heading["run"]  # the folder may have been renamed
      for name in ("records", "per_class"):
        content[name] = [each for each in content[name] if (each["step"] or 0) <= step]
      content["truncation_curve"] = results.truncation_curve(content["records"])
      results.write(self.folder, content)


def _numbers(content: Mapping) -> set[str]:
  """Fingerprints of the single values, see `fingerprint.of_number`."""
  return {record["number"] for record in content["records"]}


def first_clips(generated: Any, mesh: Any = None) -> tuple[np.ndarray, ...]:
  """The first of the evaluated clips, uint8 [N, T, H, W, 3], and their labels, for a report.

  Args:
    generated: see `evaluation.clips`.
    mesh: devices of several processes that the clips are on; then all processes must call this.
      None if they are on this process's devices.
  """
  count = min(_SHOWN, getattr(generated, "count", _SHOWN))
  clips_and_labels = generated(0, count)
  if mesh is not None:
    clips_and_labels = processes.local(clips_and_labels, mesh)
  return tuple(map(np.asarray, clips_and_labels))


def write_report(
  folder: str | os.PathLike,
  content: Mapping,
  real: Any,
  shown: tuple,
  class_names: Sequence[str] = (),
) -> pathlib.Path:
  """Writes report.html with some clips and the results of analyses of the run.

  Args:
    folder: folder of the results.
    content: content of results.json.
    real: clips, see `evaluation.clips`; the page shows the first.
    shown: generated clips and their labels, see `first_clips`.
    class_names: name of each label.

  Returns:
    path of the page.
  """
  from vidgan_jax.evaluation.report import analyses, page  # late: they load Jinja2 and encoders

  generated, labels = shown
  if class_names:
    real_clips, real_labels = _of_classes(real, set(labels.tolist()))
    sides = (
      page.Clips(real_clips, real_labels, class_names),
      page.Clips(generated, labels, class_names),
    )
  else:
    real_clips, _ = real(0, min(_SHOWN, real.count))
    sides = page.Clips(np.asarray(real_clips)), page.Clips(np.asarray(generated))
  workdir = content["run"]["workdir"]
  return page.write(
    content, pathlib.Path(folder) / "report.html", *sides, **analyses.gather(workdir)
  )


def _of_classes(real: Any, classes: set[int]) -> tuple[np.ndarray, np.ndarray]:
  """The first real clips and their labels, and further ones until each class has enough."""
  chosen, missing = [], dict.fromkeys(classes, _PER_CLASS)
  end = min(_SEARCHED, real.count)
  for begin in range(0, end, _SHOWN):
    clips, labels = map(np.asarray, real(begin, min(begin + _SHOWN, end)))
    for clip, label in zip(clips, labels.tolist(), strict=True):
      if begin == 0 or missing.get(label, 0) > 0:
        chosen.append((clip, label))
      if label in missing:
        missing[label] -= 1
    if all(count <= 0 for count in missing.values()):
      break
  clips, labels = zip(*chosen, strict=True)
  return np.stack(clips), np.array(labels)
