"""The user's cache folder, and temporary folders if there is none."""

import os
import pathlib
import subprocess
import sys

import pytest

from vidgan_jax.evaluation.features import extractor, references
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import cache_dirs


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch):
  for name in ("XDG_CACHE_HOME", "VIDGAN_JAX_REFERENCES", "VIDGAN_JAX_WEIGHTS", "MPLCONFIGDIR"):
    monkeypatch.delenv(name, raising=False)


def test_a_folder_is_created_in_the_users_cache_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  use = lambda: cache_dirs.usable("a", "b", lost="x", report=pytest.fail)
  assert use() == str(tmp_path / "home" / ".cache" / "vidgan_jax" / "a" / "b")
  assert os.path.isdir(use())
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
  assert use() == str(tmp_path / "xdg" / "vidgan_jax" / "a" / "b")
  monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification ignores relative paths
  monkeypatch.chdir(tmp_path)
  assert use().startswith(str(tmp_path / "home")) and not os.path.exists("relative")


def test_every_cache_is_in_that_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  folder = tmp_path / "vidgan_jax"
  assert references.default_folder() == folder / "references"
  assert extractor.default_path("c3d_ucf101") == folder / "weights" / "c3d_ucf101.npz"


@pytest.mark.parametrize("home", ["/proc/nohome", "file/home"])
def test_a_folder_that_cannot_be_created_is_reported_in_one_line(tmp_path, monkeypatch, home):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("HOME", os.path.join(tmp_path, home))
  lines = []
  assert cache_dirs.usable("a", lost="nothing is cached", report=lines.append) is None
  (line,) = lines
  assert line.startswith("WARNING: nothing is cached: ") and "XDG_CACHE_HOME" in line
  assert os.path.join(tmp_path, home, ".cache") in line


def test_a_folder_without_permission_is_reported_in_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser can write anywhere
  lines = []
  assert cache_dirs.usable("a", lost="nothing is cached", report=lines.append) is None
  assert f"{tmp_path}/vidgan_jax/a cannot be written" in lines[0]


def test_without_a_home_folder(monkeypatch):
  monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # neither HOME nor an account
  lines = []
  assert cache_dirs.usable("a", lost="nothing is cached", report=lines.append) is None
  assert "there is no home folder" in lines[0]
  assert references.default_folder() is None
  with pytest.raises(UserError, match="set VIDGAN_JAX_WEIGHTS"):
    extractor.default_path("c3d_ucf101")


def test_a_temporary_folder_is_removed_when_python_exits():
  script = (
    "from vidgan_jax.runtime.files import temporary as t\nprint(t.of_process(), t.of_process())"
  )
  done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
  first, second = done.stdout.split()
  assert first == second and not os.path.exists(first)


def test_plots_cache_their_fonts_there_too(tmp_path):
  """matplotlib alone would use a relative XDG_CACHE_HOME, and warn if there is no HOME."""
  script = """
from vidgan_jax.runtime import drawing

@drawing.plain_style
def draw():
  import matplotlib.figure
  print(matplotlib.get_cachedir())

draw()
"""
  run = lambda **environment: subprocess.run(
    [sys.executable, "-c", script],
    env={"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), **environment},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    check=True,
  )
  assert run(HOME=str(tmp_path)).stdout.strip() == f"{tmp_path}/.cache/vidgan_jax/matplotlib"
  done = run(HOME=str(tmp_path), XDG_CACHE_HOME="xdg")
  assert done.stdout.strip().startswith(str(tmp_path)) and not (tmp_path / "xdg").exists()
  done = run(HOME="/proc/nohome")
  assert "vidgan_jax_" in done.stdout and not done.stderr
  assert not pathlib.Path(done.stdout.strip()).exists()
