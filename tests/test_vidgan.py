"""The command `vidgan`, and configs by name."""

import ast
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

from vidgan_jax import __main__ as vidgan
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import named
from vidgan_jax.runtime.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]


def call(*arguments, cwd=None, **environment):
  """Runs `python -m vidgan_jax` in an environment in which importing JAX ends the process."""
  variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
  return subprocess.run(
    [sys.executable, "-m", "vidgan_jax", *arguments],
    env=variables,
    cwd=cwd,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def refused(result, *words):
  assert (result.returncode, result.stdout) == (2, ""), result.stderr
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and all(word in line for word in words), line


def commands():
  """The modules that end with `door.run(main)`."""
  return {
    path.stem
    for path in (ROOT / "vidgan_jax").glob("*.py")
    if "door.run(main" in path.read_text("utf-8")
  }


def test_it_knows_every_command():
  assert set(vidgan.COMMANDS) == commands()
  for name in vidgan.COMMANDS:
    assert f"\n  {name} " in vidgan.usage()


def test_every_help_begins_with_examples_of_its_command():
  for name in commands():
    source = (ROOT / "vidgan_jax" / f"{name}.py").read_text("utf-8")
    assert f"\n  vidgan {name} --" in ast.get_docstring(ast.parse(source), clean=False)


def test_help_version_and_wrong_commands():
  for option in ("--help", "-h", "help"):
    result = call(option)
    assert result.returncode == 0 and result.stdout.rstrip() == vidgan.usage().rstrip()
  assert call("--version").stdout == "0.1.0\n"
  refused(call(), "name a command", "train, sample")
  refused(call("trian", "--help"), "unknown command 'trian'", "did you mean train?", "known: train")
  refused(call("x\ny"), "'x\\\\ny'")
  refused(call("--config=quickstart", "train"), "the command comes first")
  refused(call("../train"), "unknown command")
  refused(call("configs.quickstart"), "unknown command")


def test_a_command_gets_its_flags_and_passes_its_exit_code(tmp_path):
  """JAX is not imported before they are parsed."""
  (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')\n")
  path = os.pathsep.join([str(tmp_path), str(ROOT)])
  for name in sorted(commands()):
    result = call(name, "--help", PYTHONPATH=path)
    assert result.returncode == 0 and f"vidgan {name}" in result.stdout, result.stderr
    assert "\nFlags:\n" in result.stdout and "--" in result.stdout.split("Flags:")[1]
  refused(call("train", "--no_such=1", PYTHONPATH=path), "no_such")
  refused(call("summarize", PYTHONPATH=path), "--config is required")
  assert call("evaluate", "--list").returncode == 0


def test_the_installed_command_is_this_one():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
  module, function = project["scripts"]["vidgan"].split(":")
  assert module == vidgan.__name__ and getattr(vidgan, function) is vidgan.main


def test_names_of_configs():
  assert named.known() == sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
  for name in named.known():
    assert os.path.samefile(named.resolve(name), ROOT / "configs" / f"{name}.py")
  file, argument = named.resolve("dvd_gan:kinetics600_64x12,runlocal").split(":")
  assert file.endswith("dvd_gan.py") and argument == "kinetics600_64x12,runlocal"


def test_paths_of_configs_stay_as_they_are(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for path in ("configs/dvd_gan.py:x", "mine.py", "./quickstart", "../quickstart:a", "", ":x"):
    assert named.resolve(path) == path
  pathlib.Path("mine").write_text("")
  assert named.resolve("mine:x") == "mine:x"
  pathlib.Path("quickstart").write_text("")  # as a folder of a run might be called
  assert named.resolve("quickstart") == str(named.folder() / "quickstart.py")
  with pytest.raises(UserError, match=r"unknown config 'dvd_gam'; did you mean dvd_gan\?; known: "):
    named.resolve("dvd_gam:kinetics600_64x12")


def test_where_the_symbolic_link_could_not_be_made(tmp_path, monkeypatch):
  """On file systems without links, a clone has a file in its place."""
  module = tmp_path / "vidgan_jax" / "runtime" / "config" / "named.py"
  module.parent.mkdir(parents=True)
  (tmp_path / "vidgan_jax" / "configs").write_text("../configs")
  (tmp_path / "configs").mkdir()
  monkeypatch.setattr(named, "__file__", str(module))
  assert named.folder() == tmp_path / "configs"


def test_flags_take_names(tmp_path):
  arguments = ["summarize", "--config=quickstart:runlocal", "--config.seed=1"]
  assert door._with_local_config(arguments[1]) == (
    f"--config={named.folder() / 'quickstart.py'}:runlocal"
  )
  refused(call("summarize", "--config=no_such:x", cwd=tmp_path), "unknown config 'no_such'", "tgan")
  refused(call("summarize", "--config", "no_such"), "unknown config 'no_such'")
  refused(call("summarize", "--config=quickstart:x"), "unknown config argument 'x'")
