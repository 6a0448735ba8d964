"""The door of prepare from the shell."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from vidgan_jax.runtime.files.video_writers import write_mp4

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
  folder = tmp_path_factory.mktemp("videos")
  for number in range(4):
    clip = np.random.default_rng(number).integers(256, size=(5, 32, 32, 3), dtype=np.uint8)
    write_mp4(folder / f"class{number % 2}" / f"{number}.mp4", clip, 10)
  (folder / "class0" / "page.mp4").write_text("<html>")
  return folder


def door(*arguments):
  command = [sys.executable, "-m", "vidgan_jax.prepare", *map(str, arguments)]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)


def test_a_folder_is_prepared_and_verified(videos, tmp_path):
  given = (
    "--source=folder", f"--input={videos}", f"--output={tmp_path / 'out'}", "--name=noise",
    "--resolution=16", "--resize=area", "--crop=24", "--stride=2", "--lossless", "--workers=2",
    "--clips_per_shard=3", "--limit=9", "--class_level=1",
  )  # fmt: skip
  result = door(*given)
  assert result.returncode == 0 and not result.stderr
  lines = result.stdout.splitlines()
  assert "noise: 4 clips, 12 frames, 2 classes" in lines
  assert any(re.fullmatch(r"5 clips in .* s, .* clips/s", line) for line in lines)
  prepared = json.loads((tmp_path / "out" / "prepared.json").read_text())
  expected = {
    "source": "folder", "resolution": 16, "resize": "area", "antialias": True, "crop": 24,
    "stride": 2, "encoding": "png", "quality": None, "clips_per_shard": 3, "limit": 9,
  }  # fmt: skip
  assert {name: prepared["settings"][name] for name in expected} == expected
  assert prepared["skipped"] == 1 and prepared["name"] == "noise"
  assert str(tmp_path) not in (tmp_path / "out" / "prepared.json").read_text()
  result = door("--verify", f"--output={tmp_path / 'out'}")
  assert result.returncode == 0 and result.stdout.endswith("files, no faults\n")
  shard = next((tmp_path / "out").glob("*.tfrecord*"))
  shard.write_bytes(shard.read_bytes()[:-1])
  result = door("--verify", f"--output={tmp_path / 'out'}")
  assert result.returncode == 2 and len(result.stdout.splitlines()) >= 2
  assert re.fullmatch(r"error: \S+: \d faults found\n", result.stderr)


def test_bad_input_is_one_line_and_exit_code_2(videos, tmp_path):
  there = tmp_path / "there"
  there.mkdir()
  (there / "mine.txt").write_text("mine")
  asked = (f"--output={tmp_path / 'o'}", "--source=folder", f"--input={videos}")
  for arguments, words in (
    ((), "--output is required"),
    ((f"--output={tmp_path / 'o'}",), "--source is required"),
    ((f"--output={there}", "--source=folder", f"--input={videos}"), "is not empty"),
    ((f"--output={tmp_path / 'o'}", "--source=vhs", f"--input={videos}"), "unknown source 'vhs'"),
    ((f"--output={there}", "--verify"), "is not a prepared data set"),
    ((*asked, "--lossless", "--quality=95"), "--lossless and --quality exclude each other"),
    ((*asked, "--split_number=1"), "only ucf101 has numbered split lists"),
  ):
    result = door(*arguments)
    assert result.returncode == 2 and not result.stdout, result
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and words in line
  assert not (tmp_path / "o").exists() and [path.name for path in there.iterdir()] == ["mine.txt"]


def test_help_says_how_it_is_used():
  result = door("--help")
  assert result.returncode == 0
  for word in ("--source=ucf101", "--output (required)", "--crop=240", "moving_mnist", "--verify"):
    assert word in result.stdout


def test_neither_tensorflow_nor_jax_is_loaded(videos, tmp_path):
  code = (
    "import sys; from vidgan_jax.data.prepare import run, settings, verify; "
    "request = settings.Request('folder', *sys.argv[1:]); "
    "run.prepare(request, report=lambda line: None); verify.verify(sys.argv[2]); "
    "assert not {'tensorflow', 'tensorflow_datasets', 'jax'} & set(sys.modules)"
  )
  command = [sys.executable, "-c", code, str(videos), str(tmp_path / "out")]
  subprocess.run(command, cwd=ROOT, check=True, timeout=100)
