"""Commands in an emptied environment, and for users without a home folder, a name or a cache."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

CACHE_LOST = "compiled programs are not cached"
SCORE = ("--count=20", "--real_count=20", "--bootstrap=0", "--batch_size=20")


def warnings(result):
  return [line for line in result.stdout.splitlines() if line.startswith("WARNING")]


def pixels(folder):
  with np.load(folder / "samples.npz") as file:
    return file["clips"]


def test_a_run_is_trained_and_continued(outside, trained):
  assert not warnings(trained.result)
  files = {path.name for path in trained.workdir.iterdir()}
  assert files > {"checkpoints", "config.json", "curves.png", "log.jsonl", "samples", "tensorboard"}
  before = (trained.workdir / "log.jsonl").read_bytes()
  outside.train(trained.workdir)
  assert (trained.workdir / "log.jsonl").read_bytes() == before
  assert list((outside.home / ".cache" / "vidgan_jax" / "jax").iterdir())


COMMANDS = {
  "sample": ["--workdir={run}", "--output={out}", "--labels=0,1"],
  "evaluate": ["--workdir={run}", "--output={out}", *SCORE],
  "analyze": ["--workdir={run}", "--what=darkness", "--output={out}"],
  "export": ["--workdir={run}", "--output={out}", "--standing_passes=1"],
  "summarize": ["--config={project}/configs/dvd_gan.py:kinetics600_64x12"],
  "prepare": ["--source=frames", "--input={pictures}", "--output={out}", "--resolution=8"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command(outside, trained, tmp_path, command):
  for number in range(3):
    path = tmp_path / "pictures" / "ä class" / f"clip {number}" / "1.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
  values = dict(
    run=trained.workdir,
    out=tmp_path / "out",
    project=outside.project,
    pictures=tmp_path / "pictures",
  )
  result = outside.command(command, *(argument.format(**values) for argument in COMMANDS[command]))
  assert result.stdout and not warnings(result)
  assert command == "summarize" or list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("command", ["train", *COMMANDS])
def test_help_and_bad_flags(outside, command):
  assert outside.command(command, "--help", HOME=None).stdout
  refused = outside.command(command, "--no_such_flag", code=2, HOME=None)
  assert len(refused.stderr.splitlines()) == 1 and refused.stderr.startswith("error: ")


ENVIRONMENTS = {
  "no home": dict(HOME=None, USER=None, LOGNAME=None),
  "an empty home": dict(HOME=""),
  "a home that is not there": dict(HOME="/proc/nohome"),
  "a relative cache folder": dict(XDG_CACHE_HOME="caches"),
  "the C locale": dict(LANG="C", LC_ALL="C"),
  # JAX cannot compile programs from files whose paths it cannot decode, such as the copy with an
  # accent, so this uses the checkout.
  "a locale that is not there": dict(
    LC_ALL="xx_XX.ISO-8859-1", PYTHONUTF8="0", PYTHONPATH=pathlib.Path(__file__).parents[2]
  ),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_sampling_in_other_environments(outside, trained, tmp_path, name):
  """The clips are the same. One line warns if no cache can be written."""
  expected = _sampled(outside, trained, outside.here / "sampled")
  outputs, lost = tmp_path / "out", name == "a home that is not there"
  result = outside.command(
    "sample", f"--workdir={trained.workdir}", f"--output={outputs}", "--labels=0,1",
    cwd=tmp_path, **ENVIRONMENTS[name],
  )  # fmt: skip
  np.testing.assert_array_equal(pixels(outputs), expected)
  assert [CACHE_LOST in line for line in warnings(result)] == [True] * lost
  assert not (tmp_path / "caches").exists()


def _sampled(outside, trained, folder):
  if not folder.exists():
    outside.command("sample", f"--workdir={trained.workdir}", f"--output={folder}", "--labels=0,1")
  return pixels(folder)


def test_scores_where_no_home_can_be_written(outside, trained, tmp_path):
  """Scores are written to the results, although features cannot be cached."""
  (tmp_path / "a file").write_text("")
  for number, home in enumerate(("/proc/nohome", tmp_path / "a file" / "home")):
    output = tmp_path / f"out{number}"
    outside.command(
      "evaluate", f"--workdir={trained.workdir}", f"--output={output}", *SCORE, HOME=home,
      JAX_COMPILATION_CACHE_DIR=outside.home / ".cache" / "vidgan_jax" / "jax",
    )  # fmt: skip
    assert json.loads((output / "results.json").read_text())["records"]


def test_a_user_without_a_name_trains_and_samples(outside, trained, stranger):
  """Without an account and without HOME, Python raises errors for both names."""
  options = dict(before=stranger.prefix, HOME=None, cwd=stranger.folder)
  run, out = stranger.folder / "run", stranger.folder / "out"
  programs = shutil.copytree(
    outside.home / ".cache" / "vidgan_jax" / "jax", run.parent / "programs"
  )
  os.chown(programs, stranger.number, stranger.number)
  result = outside.train(run, f"--compilation_cache={programs}", **options)
  assert not warnings(result) and run.stat().st_uid == 12345
  result = outside.command(
    "sample", f"--workdir={run}", f"--output={out}", "--labels=0,1", **options
  )
  assert [CACHE_LOST in line for line in warnings(result)] == [True]
  np.testing.assert_array_equal(pixels(out), _sampled(outside, trained, outside.here / "sampled"))
  # Another user's run can be sampled, although it cannot be written.
  outside.command("sample", f"--workdir={trained.workdir}", f"--output={out}2", **options)


def test_installed_on_a_read_only_mount(outside, trained, read_only, tmp_path):
  """The package and HOME cannot be written; the workdir is in another folder."""
  home = tmp_path / "home"
  home.mkdir()
  before = (*read_only(outside.project), *read_only(home))
  programs = outside.home / ".cache" / "vidgan_jax" / "jax"
  outside.train(
    tmp_path / "run", f"--compilation_cache={programs}", before=before, HOME=home, cwd=home
  )
  result = outside.command(
    "sample", f"--workdir={tmp_path}/run", f"--output={tmp_path}/out", "--labels=0,1",
    before=before, HOME=home, cwd=outside.project,
  )  # fmt: skip
  assert [CACHE_LOST in line for line in warnings(result)] == [True]
  expected = _sampled(outside, trained, outside.here / "sampled")
  np.testing.assert_array_equal(pixels(tmp_path / "out"), expected)
