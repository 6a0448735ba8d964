"""A locale that is not UTF-8 gives the same names, labels and bytes."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from vidgan_jax.runtime import text
from vidgan_jax.runtime.files.video_writers import write_mp4

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLASSES = ("zebra", "caf\u00e9", "\u0436", "\u65e5\u672c x")
LOCALES = {
  "utf-8": {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"},
  "ascii": {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "ascii",
  },
}
PROGRAM = """
import json, sys, types
from vidgan_jax.data.build import build_source
fields = json.load(open(sys.argv[1], encoding="utf-8"))
source = build_source(
  types.SimpleNamespace(**fields), frames=2, resolution=16, num_classes=4, report=lambda line: None
)
identity = [source.class_names, source.description()["checksum"]]
print(json.dumps([*identity, sys.getfilesystemencoding()]))
"""
CONFIG = dict(
  name="video_folder", num_examples=1, seed=0, variety=1.0, stride=1, split="train",
  split_folders="auto", split_number=1, horizontal_flip=False, crop="random", min_clips=1,
  prepare="", mixture=[], classes=[], min_frames=0, temporal_reversal=False, damaged="stop",
  reader="python", workers=1,
)  # fmt: skip


def run(locale, *arguments):
  environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **LOCALES[locale]}
  command = [sys.executable, *map(str, arguments)]
  done = subprocess.run(command, env=environment, capture_output=True)
  assert done.returncode == 0, done.stderr.decode(errors="replace")
  return done.stdout.decode(errors="replace")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  folder = tmp_path_factory.mktemp("locales")
  for number, name in enumerate(CLASSES):
    clip = np.full((3, 16, 16, 3), 50 * number, np.uint8)
    write_mp4(folder / "d\u00e9" / name / "\u00fc.mp4", clip, 10)
  return folder


def test_folders_of_videos_are_the_same(data):
  # The config is written once, with the name of the folder as text.
  fields = CONFIG | {"directory": str(data / "d\u00e9"), "cache_directory": str(data / "cache")}
  (data / "config.json").write_text(json.dumps(fields), encoding="utf-8")
  results = [json.loads(run(locale, "-c", PROGRAM, data / "config.json")) for locale in LOCALES]
  assert results[0][:2] == results[1][:2] and results[0][0] == sorted(CLASSES)
  assert [result[2].replace("us-", "") for result in results] == ["utf-8", "ascii"]


@pytest.mark.parametrize("first", ["vidgan_jax", "jax"])
def test_programs_compile_where_the_path_of_the_code_is_no_text(tmp_path, first):
  folder = tmp_path / "d\u00e9"
  folder.mkdir()
  (folder / "vidgan_jax").symlink_to(ROOT / "vidgan_jax")
  program = f"import {first}, jax, sys; from vidgan_jax.runtime import checkpoints\n"
  program += "from vidgan_jax.runtime.hardware import compilation\n"
  program += "assert compilation.enable_cache(sys.argv[1]); print(checkpoints.__file__)\n"
  program += "print(checkpoints.checksums([jax.numpy.ones(2)]))"
  environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
  command = [sys.executable, "-P", "-c", program, str(folder / "cache")]
  done = subprocess.run(
    command, env=environment | LOCALES["ascii"] | {"PYTHONIOENCODING": "utf-8:replace"},
    capture_output=True, text=True, encoding="utf-8",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  path, numbers = done.stdout.splitlines()
  assert "/d??/vidgan_jax/" in path and numbers == f"[{4 * 0x3F800000 % 2**32}]"


def test_prepared_sets_are_the_same(data):
  (data / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
  digests = []
  for locale in LOCALES:
    output = data / f"out_{locale}"
    options = ["--classes", data / "classes.txt", "--resolution=16", "--source=folder"]
    options += ["--input", data / "d\u00e9", "--output", output]
    printed = run(locale, "-m", "vidgan_jax.prepare", *options)
    assert "4 clips" in printed and ("caf\u00e9" if locale == "utf-8" else "caf\\xe9") in printed
    files = sorted(path for path in output.rglob("*") if path.is_file())
    digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
  assert digests[0] == digests[1] and len(digests[0]) > 8


def test_names_of_files_are_text_and_back():
  for name in ("caf\u00e9", "a\udcff", "plain"):
    assert text.file_name(text.file_text(name)) == name == text.file_text(name)
  assert text.file_name("\ud800") == "\ud800"
