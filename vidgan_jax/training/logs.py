"""Logs of a run: JSON lines and TensorBoard event files, both exact on resume."""

import itertools
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Callable

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from vidgan_jax.runtime.files.log_files import read_and_count, read_log

_NAME = "log.jsonl"


def _free_name(path: pathlib.Path) -> pathlib.Path:
  """A name beside `path` that no file has yet."""
  names = (path.with_name(f"{path.name}.damaged{n or ''}") for n in itertools.count())
  return next(name for name in names if not name.exists())


class Reader:
  """In place of a `Log` in processes that do not write: has its records and writes nothing."""

  def __init__(self, workdir, step: int, report: Callable[[str], None] = print):
    del report  # the process that writes says what is wrong with the log
    records = read_log(pathlib.Path(workdir) / _NAME)
    self.records = [record for record in records if record["step"] <= step]

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes nothing."""

  def __enter__(self):
    """Nothing to close."""
    return self

  def __exit__(self, *error):
    pass


class Log:
  """Writes scalars to `log.jsonl` and, with clips, to TensorBoard event files in `tensorboard/`.

  Args:
    workdir: folder of the run.
    step: iterations already done; entries of later ones, written before a crash, are dropped, since
      they will be written again.
    report: receives a line where lines of the log cannot be read. The others stay, and the file as
      it was is kept beside it.

  Attributes:
    records: those of iterations up to `step` that were there already.

  Raises (all methods):
    OSError: where a file cannot be written.
  """

  def __init__(self, workdir, step: int, report: Callable[[str], None] = print):
    workdir = pathlib.Path(workdir)
    self.path = workdir / _NAME
    records, damaged = read_and_count(self.path)
    self.records = [record for record in records if record["step"] <= step]
    if damaged:
      aside = _free_name(self.path)
      shutil.copyfile(self.path, aside)
      report(
        f"WARNING: {damaged} of {damaged + len(records)} lines of {self.path} cannot be read; the "
        f"others are kept, and {aside.name} is the file as it was"
      )
    self._rewrite()
    self._file = open(self.path, "a", encoding="utf-8")
    # Events are written here and now: the library's writing thread ends silently on a full disk.
    (workdir / "tensorboard").mkdir(exist_ok=True)
    prefix = str(workdir / "tensorboard" / "events")
    self._board = EventsWriter(prefix, f".{step}.{os.getpid()}")
    if step:  # TensorBoard hides what an interrupted run wrote from here on
      self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

  def _event(self, step, **content):
    self._board.write_event(Event(wall_time=time.time(), step=step, **content))

  def _rewrite(self):
    """Leaves the records in the file and nothing else."""
    text = "".join(json.dumps(record) + "\n" for record in self.records)
    if self.path.exists() and self.path.read_bytes() != text.encode():
      temporary = self.path.with_suffix(".tmp")
      temporary.write_text(text, encoding="utf-8")
      os.replace(temporary, self.path)

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes one record {"step": step, name: value}; non-finite values become strings in JSON."""
    plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    self._file.write(json.dumps({"step": step, **plain}) + "\n")
    self._file.flush()
    self.summary(step, values)

  def summary(self, step: int, values: dict[str, float]) -> None:
    """Writes scalars to TensorBoard alone, for what has a file of its own."""
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
    self._event(step, summary=Summary(value=scalars))
    self._board.flush()

  def clip(self, step: int, name: str, gif: bytes, height: int, width: int) -> None:
    """Writes a GIF, which TensorBoard plays, as image summary `name`."""
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    self._event(step, summary=Summary(value=[Summary.Value(tag=name, image=image)]))
    self._board.flush()

  def close(self) -> None:
    """Flushes and closes both."""
    try:
      self._file.close()
    finally:
      self._board.close()

  def __enter__(self):
    """Closes at the end of a `with` statement."""
    return self

  def __exit__(self, *error):
    self.close()
