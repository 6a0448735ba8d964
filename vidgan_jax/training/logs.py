"""Logs of a run: JSON lines and TensorBoard event files, both exact on resume."""

import json
import math
import os
import pathlib

from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary


def read_log(path) -> list[dict]:
  """Reads a JSON-lines log; a last line torn by a crash is left out."""
  path = pathlib.Path(path)
  if not path.exists():
    return []
  records = []
  for line in path.read_text().splitlines():
    try:
      records.append(json.loads(line))
    except ValueError:
      break
  return records


class Log:
  """Writes scalars to `log.jsonl` and, with clips, to TensorBoard event files in `tensorboard/`.

  Args:
    workdir: folder of the run.
    step: iterations already done; entries of later ones, written before a crash, are dropped, since
      they will be written again.
  """

  def __init__(self, workdir, step: int):
    workdir = pathlib.Path(workdir)
    self.path = workdir / "log.jsonl"
    records = read_log(self.path)
    if any(record["step"] > step for record in records) or self._torn(len(records)):
      kept = [json.dumps(record) + "\n" for record in records if record["step"] <= step]
      temporary = self.path.with_suffix(".tmp")
      temporary.write_text("".join(kept))
      os.replace(temporary, self.path)
    self._file = open(self.path, "a")
    self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1, flush_secs=10)

  def _torn(self, records):
    return self.path.exists() and len(self.path.read_bytes().splitlines()) != records

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes one record {"step": step, name: value}; non-finite values become strings in JSON."""
    plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    self._file.write(json.dumps({"step": step, **plain}) + "\n")
    self._file.flush()
    for name, value in values.items():
      self._board.add_scalar(name, value, step)

  def clip(self, step: int, name: str, gif: bytes, height: int, width: int) -> None:
    """Writes a GIF, which TensorBoard plays, as image summary `name`."""
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
    summary = Summary(value=[Summary.Value(tag=name, image=image)])
    self._board.file_writer.add_summary(summary, step)
    self._board.flush()

  def close(self) -> None:
    """Flushes and closes both."""
    self._file.close()
    self._board.close()
