"""Logs: exact after a resume, and readable without this project."""

import json

import pytest
from tensorboardX.proto.event_pb2 import Event

from vidgan_jax.training.curves import plot
from vidgan_jax.training.logs import Log, read_log


def test_resume_drops_what_came_after_the_checkpoint(tmp_path):
  log = Log(tmp_path, 0)
  for step in (1, 2, 3):
    log.scalars(step, {"loss": step / 3})
  log.close()
  with open(tmp_path / "log.jsonl", "a") as file:
    file.write('{"step": 4, "lo')  # an incomplete line, as after a crash
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
  values = {}
  for path in (tmp_path / "tensorboard").iterdir():
    for event in _events(path.read_bytes()):
      for value in event.summary.value:
        values[value.tag] = (event.step, value)
  assert values["loss/generator"][0] == 5
  assert values["loss/generator"][1].simple_value == 0.5
  image = values["samples"][1].image
  assert (image.encoded_image_string, image.height, image.width) == (b"GIF89a", 4, 6)


def _events(data):
  """Reads TFRecords: length (8 bytes), its checksum (4), the event, its checksum (4)."""
  while data:
    length = int.from_bytes(data[:8], "little")
    yield Event.FromString(data[12 : 12 + length])
    data = data[16 + length :]


LINES = [json.dumps({"step": step, "loss": step / 3, "pixel/real_red": "nan"}) for step in range(9)]


def whole(lines=LINES):
  return "".join(f"{line}\n" for line in lines).encode()


def changed(number, line):
  """The log after one of its lines is replaced."""
  lines = [each.encode() for each in LINES]
  lines[number] = line
  return b"".join(line + b"\n" for line in lines)


MIDDLE = {
  "a flipped bit, no text": LINES[4].encode().replace(b"loss", b"\xecoss"),
  "a quote is gone": LINES[4].encode().replace(b'"step"', b'"step'),
  "empty": b"",
  "zeros": b"\0" * 40,
  "a step from later": LINES[4].encode().replace(b'"step": 4', b'"step": 64'),
  "a step from before": LINES[4].encode().replace(b'"step": 4', b'"step": 0'),
  "a step that is none": LINES[4].encode().replace(b'"step": 4', b'"step": 4.5'),
  "another type": b"4",
  "a list": b"[" * 100_000,
  "a value that is none": LINES[4].encode().replace(b'"nan"', b'"nam"'),
  "a value without end": b'{"step": 4, "loss": 1' + b"0" * 400 + b"}",
  "a nested value": b'{"step": 4, "loss": {}}',
  "no step": LINES[4].encode().replace(b"step", b"stop"),
}


@pytest.mark.parametrize("how", MIDDLE)
def test_damage_affects_one_line_only(tmp_path, how):
  before = changed(4, MIDDLE[how])
  (tmp_path / "log.jsonl").write_bytes(before)
  reported = []
  with Log(tmp_path, 7, reported.append) as log:
    assert [record["step"] for record in log.records] == [0, 1, 2, 3, 5, 6, 7]
    log.scalars(8, {"loss": 8.0})
  assert len(reported) == 1 and reported[0].startswith("WARNING: 1 of 9 lines of ")
  assert (tmp_path / "log.jsonl.damaged").read_bytes() == before
  steps = [record["step"] for record in read_log(tmp_path / "log.jsonl")]
  assert steps == [0, 1, 2, 3, 5, 6, 7, 8]
  (tmp_path / "log.jsonl").write_bytes(b"\n" + before)
  Log(tmp_path, 7, reported.append).close()
  assert (tmp_path / "log.jsonl.damaged").read_bytes() == before
  assert (tmp_path / "log.jsonl.damaged1").read_bytes() == b"\n" + before


@pytest.mark.parametrize("tail", [b"", b'{"step": 9, "lo', b"\0" * 600, b"\xff", LINES[8].encode()])
def test_what_a_killed_process_leaves_is_no_damage(tmp_path, tail):
  (tmp_path / "log.jsonl").write_bytes(whole(LINES[:8]) + tail)
  with Log(tmp_path, 8, pytest.fail) as log:
    assert len(log.records) == (9 if tail == LINES[8].encode() else 8)
  assert (tmp_path / "log.jsonl").read_bytes() == whole(LINES[: len(log.records)])
  assert not (tmp_path / "log.jsonl.damaged").exists()


def test_every_flipped_bit_leaves_the_other_records(tmp_path):
  path, lines = tmp_path / "log.jsonl", whole(LINES[:3])
  for bit in range(8 * len(lines)):
    damaged = bytearray(lines)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    records = read_log(path)
    begin = 0
    step = bit // 8 in [len('{"step": ') + sum(map(len, LINES[:n])) + n for n in range(3)]
    for line in LINES[:3]:
      end = begin + len(line)  # a flipped bit in the line end joins this line and the next
      # If two records have the same step, neither can be trusted.
      if not step and bit // 8 not in range(begin - 1, end + 1):
        assert json.loads(line) in records, (bit, records)
      begin = end + 1
    plot(path, tmp_path / "curves.png") if bit % 97 == 0 else None


def test_curves_of_damaged_logs(tmp_path):
  for how, line in MIDDLE.items():
    (tmp_path / "log.jsonl").write_bytes(changed(8, line))
    plot(tmp_path / "log.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").exists(), how
