"""The scripts in launch/ and the commands of docs/, in an emptied environment."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from vidgan_jax.analysis.topology import devices, names
from vidgan_jax.runtime.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(outside):
  """A copy of the project whose .venv is the tests' environment, as if install.sh had made it."""
  project = outside.project.parent / "installed ü"
  shutil.copytree(outside.project, project)
  (project / ".venv").mkdir()
  for path in pathlib.Path(sys.prefix).iterdir():
    if path.name != "installed":
      (project / ".venv" / path.name).symlink_to(path)
  files = ["requirements.txt", "requirements-test.txt", "pyproject.toml"]
  sums = subprocess.run(["cksum", *files], cwd=project, capture_output=True, text=True, check=True)
  (project / ".venv" / "installed").write_text(sums.stdout)
  return project


def script(outside, project, name, *arguments, before=(), **options):
  # Without this, a machine with an accelerator would install its build of JAX.
  options = {"VIDGAN_JAX_DEVICE": "cpu", "PYTHONPATH": None, **options}
  return outside.run(*before, project / "launch" / name, *arguments, **options)


def test_the_quickstart_and_again(outside, installed, tiny_flags):
  """A relative folder is relative to the current folder, not to the project."""
  fields = (*tiny_flags, "--config.data.num_examples=80")  # 64 of them are real clips
  command = ("quickstart.sh", "my run", "--short", *fields)
  result = script(outside, installed, *command)
  assert result.stdout.startswith("installed already: ")
  run = outside.here / "my run"
  for name in ("final/samples.npz", "final/grid.mp4", "evaluation/moving_shapes/report.html"):
    assert (run / name).exists()
  again = script(outside, installed, *command).stdout.splitlines()
  assert f"samples exist already: {run}/final" in again
  assert again[-1] == f"scores exist already: {run}/evaluation/moving_shapes"


def test_the_quickstart_refuses_a_read_only_clone(outside, installed, read_only, stranger):
  for project, folder in ((outside.project, stranger.folder / "run"), (installed, None)):
    for before in (read_only(project), stranger.prefix):
      result = script(
        outside, project, "quickstart.sh", *filter(None, [folder]), before=before, code=2
      )
      assert result.stderr.startswith(f"error: {project} cannot be written, but ")
      assert len(result.stderr.splitlines()) == 1 and not result.stdout.startswith("installing")
  assert not (outside.project / ".venv").exists() and not (installed / "runs").exists()


@pytest.mark.skipif(
  not all(shutil.which(name, path=f"{sys.prefix}/bin") for name in ("ruff", "mypy")),
  reason="needs ruff and mypy",
)
def test_the_script_of_the_tests(outside, installed):
  result = script(outside, installed, "test.sh", "tests/runtime/test_text.py", HOME=None, cwd="/")
  assert re.search(r"^\d+ passed in ", result.stdout, re.MULTILINE)


def test_several_processes(outside):
  output = outside.run(
    outside.project / "launch" / "local_multiprocess.sh",
    "2",
    "sh",
    "-c",
    'echo "$@"',
    "-",
    HOME=None,
  ).stdout
  assert re.fullmatch(r"--coordinator=localhost:\d+ --num_processes=2 --process_id=0\n", output)


# Pages whose commands are executed. tests/test_docs.py parses those of all pages.
PAGES = ("data", "training", "sampling", "evaluation", "analysis")


def commands_of_pages():
  """The command lines of these pages that begin with `vidgan`, without comments."""
  lines = []
  for page in PAGES:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines += [re.split(r"\s+#", line)[0].strip() for line in text.splitlines()]
  return list(dict.fromkeys(line for line in lines if line.startswith("vidgan ")))


def has_compiler(topology):
  try:
    devices.check_installed(names.parse(topology))
  except UserError:
    return False
  return True


def test_there_are_such_commands():
  commands = {line.split()[1] for line in commands_of_pages()}
  assert commands == {
    "train", "sample", "evaluate", "analyze", "summarize", "prepare", "export",
  }  # fmt: skip


@pytest.mark.parametrize("line", commands_of_pages())
def test_commands_of_the_pages(outside, trained, tmp_path, line):
  """They work on a run of the quickstart (here the tiny one), or print one line if data is missing.

  Flags shorten long commands. Those that compile for another device need a compiler as well.
  """
  topology = re.search(r"--topology=(\S+)", line)
  if topology and has_compiler(topology[1]):
    pytest.skip("takes minutes")
  (tmp_path / "runs").mkdir()
  for name in ("quickstart", "a", "b"):
    shutil.copytree(trained.workdir, tmp_path / "runs" / name)
  command, *arguments = shlex.split(line)[1:]
  ours = "runs/quickstart" in line
  if command == "evaluate" and ours:
    arguments += ["--count=20", "--real_count=20", "--bootstrap=0"]
  if "neighbours" in line:
    arguments += ["--clips=8"]
  arguments = [a for a in arguments if a not in ("...", "--every_checkpoint")]
  result = subprocess.run(
    [sys.executable, "-m", "vidgan_jax", command, *arguments],
    cwd=tmp_path,
    env={"PATH": os.environ["PATH"], "HOME": str(outside.home), "PYTHONPATH": outside.project},
    stdin=subprocess.DEVNULL,
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )
  assert "Traceback" not in result.stderr, result.stderr[-3000:]
  summary = command == "summarize" and "--config=..." not in line
  no_input = summary or "--list" in arguments or "--print_config" in arguments
  needs_nothing = ours or no_input or "--workdir=moving_shapes" in arguments
  needs_nothing = needs_nothing and not topology
  assert result.returncode == (0 if needs_nothing else 2), (result.stdout, result.stderr[-3000:])
  if not needs_nothing:
    assert re.fullmatch(r"error: .*\n", result.stderr)
