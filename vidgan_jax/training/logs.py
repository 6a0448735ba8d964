"""Logs of a run: JSON lines and TensorBoard event files, both exact on resume."""

import json
import math
import os
import pathlib
import time

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

_NAME = "log.jsonl"


def read_log(path) -> list[dict]:
  """Reads a JSON-lines log; a last line torn by a crash is left out."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  records = []
  for line in path.read_text(encoding="utf-8").splitlines():
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


class Reader:
  """In place of a `Log` in processes that do not write: has its records and writes nothing."""

  def __init__(self, workdir, step: int):
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

  Attributes:
    records: those of iterations up to `step` that were there already.

  Raises (all methods):
    OSError: where a file cannot be written.
  """

  def __init__(self, workdir, step: int):
    workdir = pathlib.Path(workdir)
    self.path = workdir / _NAME
    records = read_log(self.path)
    if any(record["step"] > step for record in records) or self._torn(len(records)):
      kept = [json.dumps(record) + "\n" for record in records if record["step"] <= step]
      temporary = self.path.with_suffix(".tmp")
      temporary.write_text("".join(kept), encoding="utf-8")
      os.replace(temporary, self.path)
    self.records = [record for record in records if record["step"] <= step]
    self._file = open(self.path, "a", encoding="utf-8")
    # Events are written here and now: the library's writing thread ends silently on a full disk.
    (workdir / "tensorboard").mkdir(exist_ok=True)
    prefix = str(workdir / "tensorboard" / "events")
    self._board = EventsWriter(prefix, f".{step}.{os.getpid()}")
    if step:  # TensorBoard hides what an interrupted run wrote from here on
      self._event(step + 1, session_log=SessionLog(status=SessionLog.START))

  def _event(self, step, **content):
    self._board.write_event(Event(wall_time=time.time(), step=step, **content))

  def _torn(self, records):
    return self.path.exists() and len(self.path.read_bytes().splitlines()) != records

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
