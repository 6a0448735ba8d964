"""Adds scores to the files of a folder: results.json, results.tex and report.html.

The training hook and `evaluate --follow` may score one run by one protocol at the same time: each
reads, adds and writes while the other waits, so that the scores of both are kept.
"""

import pathlib

import numpy as np

from vidgan_jax.evaluation.report import results
from vidgan_jax.runtime import processes

_SHOWN = 32  # clips of each side in a report
_EACH, _LOOKED_AT = 4, 256  # of a class, and real clips among which they are looked for


class ResultsWriter:
  """The files of one run's scores by one protocol.

  Args:
    folder: of the files.
    real: the real clips, see `evaluation.clips`; some are shown.
    class_names: by label.
    report: called with lines for the user.
  """

  def __init__(self, folder, real, class_names=(), report=print):
    self.folder = pathlib.Path(folder)
    self._real, self._class_names, self._report = real, class_names, report
    self._known = None  # numbers that the file held when it was last written here

  def check(self, heading) -> None:
    """UserError where the files hold results of another run or protocol; see `results.existing`."""
    results.existing(self.folder / results.FILE, heading)

  def add(self, heading, scores, shown, controls=()) -> tuple[dict, list[pathlib.Path]]:
    """Adds scores to what the files hold by then.

    Args:
      heading: see `Evaluator.heading`.
      scores: see `evaluator.Scores`.
      shown: generated clips and their labels, see `first_clips`.
      controls: see `motion_controls.score`.

    Returns:
      (the content of results.json, the files).

    Raises:
      UserError: see `results.existing`, or where a file cannot be written.
    """
    path = self.folder / results.FILE
    with results.locked(self.folder, self._report):
      before = results.existing(path, heading)
      held = _numbers(before) if before else set()
      if self._known is not None and held - self._known:
        self._report(f"another process has written scores to {path} as well: all are kept")
      content = results.merge(before, heading, scores.records, scores.per_class, controls)
      files = results.write(self.folder, content)
      self._known = _numbers(content)
      page = write_report(self.folder, content, self._real, shown, self._class_names)
    return content, [*files, page]

  def drop_after(self, step: int, heading) -> None:
    """Scores of later iterations go: they will come again, and may be others."""
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


def _numbers(content) -> set[str]:
  return {record["number"] for record in content["records"]}


def first_clips(generated, mesh=None):
  """The first of the evaluated clips, for a report: uint8 [N, T, H, W, 3] and labels, of NumPy.

  Args:
    generated: see `evaluation.clips`.
    mesh: the devices that they lie on, where these are several processes', which all call this.
  """
  count = min(_SHOWN, getattr(generated, "count", _SHOWN))
  found = generated(0, count)
  return tuple(map(np.asarray, found if mesh is None else processes.local(found, mesh)))


def write_report(folder, content, real, shown, class_names=()) -> pathlib.Path:
  """Writes the HTML page beside the other files, with some clips and what analyses have left.

  Args:
    folder: of the results.
    content: of results.json.
    real: clips, see `evaluation.clips`; the first are shown.
    shown: generated clips and their labels, see `first_clips`.
    class_names: by label.

  Returns:
    the file.
  """
  from vidgan_jax.evaluation.report import page as page  # plots and videos: late

  drawn, labels = shown
  if class_names:
    found = _of_classes(real, set(labels.tolist()))
    clips = [page.Clips(*some, class_names) for some in (found, (drawn, labels))]
  else:
    some, _ = real(0, min(_SHOWN, real.count))
    clips = [page.Clips(np.asarray(one), None, class_names) for one in (some, drawn)]
  workdir = content["run"]["workdir"]
  return page.write(content, pathlib.Path(folder) / "report.html", *clips, **page.gather(workdir))


def _of_classes(real, classes: set[int]):
  """The first real clips and their labels, and then of each class until it has some."""
  kept, missing = [], dict.fromkeys(classes, _EACH)
  end = min(_LOOKED_AT, real.count)
  for begin in range(0, end, _SHOWN):
    clips, labels = map(np.asarray, real(begin, min(begin + _SHOWN, end)))
    for clip, label in zip(clips, labels.tolist(), strict=True):
      if begin == 0 or missing.get(label, 0) > 0:
        kept.append((clip, label))
      if label in missing:
        missing[label] -= 1
    if all(count <= 0 for count in missing.values()):
      break
  clips, labels = zip(*kept, strict=True)
  return np.stack(clips), np.array(labels)
