"""Logs are exact on resume and readable without this project."""

import json

from tensorboardX.proto.event_pb2 import Event

from vidgan_jax.training.logs import Log, read_log


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
  log = Log(tmp_path, 0)
  for step in (1, 2, 3):
    log.scalars(step, {"loss": step / 3})
  log.close()
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 4, "lo')  # torn by a crash
  log = Log(tmp_path, 2)
  log.scalars(3, {"loss": 9.0})
  log.close()
  records = read_log(tmp_path / "log.jsonl")
  assert [r["step"] for r in records] == [1, 2, 3]
  assert records[1]["loss"] == 2 / 3 and records[2]["loss"] == 9.0


def test_every_line_is_strict_json(tmp_path):
  log = Log(tmp_path, 0)
  log.scalars(1, {"loss": float("nan"), "other": float("inf")})
  log.close()
  line = (tmp_path / "log.jsonl").read_text()
  assert json.loads(line, parse_constant=lambda name: 1 / 0)["loss"] == "nan"


def test_event_files_hold_scalars_and_clips(tmp_path):
  log = Log(tmp_path, 0)
  log.scalars(5, {"loss/generator": 0.5})
  log.clip(5, "samples", b"GIF89a", 4, 6)
  log.close()
  found = {}
  for path in (tmp_path / "tensorboard").iterdir():
    for event in _events(path.read_bytes()):
      for value in event.summary.value:
        found[value.tag] = (event.step, value)
  assert found["loss/generator"][0] == 5
  assert found["loss/generator"][1].simple_value == 0.5
  image = found["samples"][1].image
  assert (image.encoded_image_string, image.height, image.width) == (b"GIF89a", 4, 6)


def _events(data):
  """TFRecords: length (8 bytes), its checksum (4), the event, its checksum (4)."""
  while data:
    length = int.from_bytes(data[:8], "little")
    yield Event.FromString(data[12 : 12 + length])
    data = data[16 + length :]
