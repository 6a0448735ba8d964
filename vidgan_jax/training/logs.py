"""Logs of a run as JSON lines and as TensorBoard event files.

When a run resumes, records of iterations that will run again are removed from both.
"""

import itertools
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any, Self

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from vidgan_jax.runtime.files.log_files import read_and_count, read_log

_NAME = "log.jsonl"


def _free_name(path: pathlib.Path) -> pathlib.Path:
  """Returns a new file name in the folder of `path` for a copy of a damaged log."""
  names = (path.with_name(f"{path.name}.damaged{n or ''}") for n in itertools.count())
  return next(name for name in names if not name.exists())


class Reader:
  """Replaces `Log` in all processes but process 0: it reads the same records and writes nothing."""

  def __init__(self, workdir: str | os.PathLike, step: int, report: Callable[[str], None] = print):
    del report  # process 0 reports damaged lines
    records = read_log(pathlib.Path(workdir) / _NAME)
    self.records = [record for record in records if record["step"] <= step]

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes nothing."""

  def __enter__(self) -> Self:
    """There is nothing to close."""
    return self

  def __exit__(self, *error: object) -> None:
    pass


class Log:
  """Writes scalars to `log.jsonl`, and scalars and clips to TensorBoard files in `tensorboard/`.

  Args:
    workdir: folder of the run.
    step: number of finished iterations. Records of later iterations, written before a crash, are
      removed, because these iterations will run again.
    report: receives a warning if lines of the log cannot be read. The readable lines remain in the
      log, and a copy of the damaged file is stored in the same folder.

  Attributes:
    records: the existing records of iterations up to `step`.

  Raises (all methods):
    OSError: a file cannot be written.
  """

  def __init__(self, workdir: str | os.PathLike, step: int, report: Callable[[str], None] = print):
    workdir = pathlib.Path(workdir)
    self.path = workdir / _NAME
    records, damaged = read_and_count(self.path)
    self.records = [record for record in records if record["step"] <= step]
    if damaged:
      backup = _free_name(self.path)
      shutil.copyfile(self.path, backup)
      report(
        f"WARNING: {damaged} of {damaged + len(records)} lines of {self.path} cannot be read; the "
        f"others are kept, and {backup.name} is a copy of the file before this change"
      )
    self._rewrite()
    self._file = open(self.path, "a", encoding="utf-8")
    # `EventsWriter` writes at once. The library's usual writer does so in a thread, which ends
    # without an error when the disk is full.
    (workdir / "tensorboard").mkdir(exist_ok=True)
    prefix = str(workdir / "tensorboard" / "events")
    self._board = EventsWriter(prefix, f".{step}.{os.getpid()}")
    if step:  # TensorBoard then hides the events that an interrupted run wrote after `step`
      self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

  def _event(self, step: int, **content: Any) -> None:
    self._board.write_event(Event(wall_time=time.time(), step=step, **content))

  def _rewrite(self) -> None:
    """Rewrites the file with `self.records` alone, if it holds anything else."""
    text = "".join(json.dumps(record) + "\n" for record in self.records)
    if self.path.exists() and self.path.read_bytes() != text.encode():
      temporary = self.path.with_suffix(".tmp")
      temporary.write_text(text, encoding="utf-8")
      os.replace(temporary, self.path)

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes one record {"step": step, name: value}; in JSON, non-finite values are strings."""
    plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    self._file.write(json.dumps({"step": step, **plain}) + "\n")
    self._file.flush()
    self.summary(step, values)

  def summary(self, step: int, values: dict[str, float]) -> None:
    """Writes scalars to TensorBoard alone; used for results that have a separate file."""
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    self._event(step, summary=Summary(value=scalars))
    self._board.flush()

  def clip(self, step: int, name: str, gif: bytes, height: int, width: int) -> None:
    """Writes a GIF of `height` x `width` pixels, which TensorBoard plays, as image `name`."""
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    self._event(step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))
    self._board.flush()

  def close(self) -> None:
    """Flushes and closes the log and the event file."""
    try:
      self._file.close()
    finally:
      self._board.close()

  def __enter__(self) -> Self:
    """Closes at the end of a `with` statement."""
    return self

  def __exit__(self, *error: object) -> None:
    self.close()
