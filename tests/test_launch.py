"""The launch scripts, with stubs for Python, pip and the driver that only record their arguments.

Each test has a copy of the scripts and of the files that they read. Nothing is installed or
trained.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = pathlib.Path(__file__).resolve().parents[1]

# A stub for python3, ruff, mypy and .venv/bin/python. It records its arguments, and creates the
# files that the scripts look for.
STUB = r"""#!/usr/bin/env bash
all="$*"
case "$0 $all" in
  *" -c "*json* | *" -c "*expanduser*) shift; exec "$REAL_PYTHON" -c "$@" ;;
  *" -c "*) exit 0 ;;
esac
echo "${0##*/}${JAX_PLATFORMS:+ [$JAX_PLATFORMS]} $all" >>"$NOTES"
case "$all" in
  "-m venv .venv")
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    cp "$0" .venv/bin/ruff
    cp "$0" .venv/bin/mypy
    ;;
  "-m pip install"*) exit "${PIP_CODE:-0}" ;;
  "-m vidgan_jax.train"*"--print_config"*) exit "${CHECK_CODE:-0}" ;;
  "-m vidgan_jax.train"*)
    folder="${all##*--workdir=}"
    folder="${folder%% --config.*}"
    mkdir -p "$folder"
    echo '{"model": {"frames": 6}, "num_iterations": 7}' >"$folder/config.json"
    exit "${TRAIN_CODE:-0}"
    ;;
  "-m vidgan_jax.sample"*)
    folder="${all##*--output=}"
    folder="${folder% --per_label*}"
    mkdir -p "$folder"
    touch "$folder/samples.npz"
    ;;
  "-m vidgan_jax.evaluate"*)
    folder="${all##*--workdir=}"
    folder="${folder% --protocol*}/evaluation/moving_shapes"
    mkdir -p "$folder"
    touch "$folder/report.html"
    printf ' "records": [\n  {\n   "step": %s,\n' "$SCORED" >"$folder/results.json"
    ;;
esac
"""

DRIVER = """#!/bin/sh
[ "$1" = -L ] && echo "GPU 0: NVIDIA Test (UUID: GPU-1)" && exit
echo "+-----------------------------------------------------------------------------+"
echo "| NVIDIA-SMI 570.1         Driver Version: 570.1         {header} |"
echo "|  No running processes found   GPU   Memory Usage                            |"
"""

NO_DRIVER = """#!/bin/sh
echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
exit 9
"""


class Project:
  """A copy of the project's launch scripts in a folder of one test."""

  def __init__(self, folder):
    self.path, self.bin, self.notes = folder / "a project", folder / "bin", folder / "notes"
    shutil.copytree(ROOT / "launch", self.path / "launch")
    for file in [*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml"]:
      shutil.copy(file, self.path)
    self.bin.mkdir()
    self.program("python3", STUB)
    self.driver(None)

  def program(self, name, text):
    (self.bin / name).write_text(text)
    (self.bin / name).chmod(0o755)

  def driver(self, header):
    """Installs an nvidia-smi that prints this header; None is one that finds no GPU."""
    self.program("nvidia-smi", NO_DRIVER if header is None else DRIVER.format(header=header))

  def run(self, script, *arguments, code=0, cwd=None, **environment):
    """Runs a script; returns (its output, the command lines of the stub)."""
    self.notes.write_text("")
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    result = subprocess.run(
      [self.path / "launch" / script, *arguments],
      cwd=cwd or self.bin,
      env={
        **kept,
        "PATH": f"{self.bin}:/usr/bin:/bin",
        "NOTES": str(self.notes),
        "REAL_PYTHON": sys.executable,
        "SCORED": "7",
        **environment,
      },
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )
    assert (result.returncode, result.stderr) == (code, ""), result
    return result.stdout, self.notes.read_text().splitlines()

  def refused(self, script, *arguments, code=2, before=(), **environment):
    """Runs a script that must fail with one line, and returns it; `before` are words before it."""
    result = subprocess.run(
      [*before, self.path / "launch" / script, *arguments],
      env={"PATH": f"{self.bin}:/usr/bin:/bin", "NOTES": "/dev/null", **environment},
      capture_output=True,
      text=True,
      timeout=60,
      check=False,
    )
    assert result.returncode == code and len(result.stderr.splitlines()) == 1, result
    return result.stderr

  def installs(self, script, **options):
    """Runs a script; returns the requirements files that it passed to pip."""
    _, notes = self.run(script, **options)
    return [" ".join(n.split(" -r ")[1:]) for n in notes if "pip install" in n and " -r " in n]


@pytest.fixture
def project(tmp_path):
  return Project(tmp_path)


def matching(notes, words):
  return [note for note in notes if words in note]


def test_a_stopped_training_is_continued_and_only_its_end_is_sampled(project, tmp_path):
  final = tmp_path / "my runs" / "a" / "final"
  output, notes = project.run("quickstart.sh", "my runs/a", cwd=tmp_path, TRAIN_CODE="75", code=75)
  assert output.splitlines()[-1].startswith("training stopped before its end")
  assert not matching(notes, "vidgan_jax.sample") and not final.exists()
  output, notes = project.run("quickstart.sh", "my runs/a", cwd=tmp_path)
  (sampled,) = matching(notes, "vidgan_jax.sample")
  assert f"--workdir={final.parent} --output={final} " in sampled and "before its end" not in output
  output, notes = project.run("quickstart.sh", "my runs/a", cwd=tmp_path)
  assert f"samples exist already: {final}" in output.splitlines()
  assert not matching(notes, "vidgan_jax.sample")


@pytest.mark.parametrize("script", ["quickstart.sh", "cascade.sh"])
def test_buckets_are_refused(project, script):
  arguments = ["gs://b/a"] if script == "quickstart.sh" else ["--folder=gs://b/a", "ssw_gan:a"]
  line = project.refused(script, *arguments)
  assert "takes a local folder; vidgan train --workdir=gs://b/a takes a bucket" in line


@pytest.mark.parametrize("given, folder", [("~/a", "{home}/a"), ("b/a", "{here}/b/a")])
def test_folders_as_users_give_them(project, tmp_path, given, folder):
  _, notes = project.run("quickstart.sh", given, cwd=tmp_path, HOME=str(tmp_path / "home"))
  wanted = folder.format(home=tmp_path / "home", here=tmp_path)
  assert matching(notes, "vidgan_jax.train")[0].endswith(f"--workdir={wanted}")


@pytest.mark.parametrize("given", ["~/../../../..{here}/a", "~no_user_of_this_name/a"])
def test_homes_that_no_variable_names(project, tmp_path, monkeypatch, given):
  """A path that cannot be expanded is passed on unchanged, and training refuses it in one line."""
  monkeypatch.delenv("HOME")
  given = given.format(here=tmp_path)
  _, notes = project.run("quickstart.sh", given, cwd=tmp_path)
  assert matching(notes, "vidgan_jax.train")[0].endswith(f"--workdir={os.path.expanduser(given)}")


def test_the_end_is_scored_once(project, tmp_path):
  run = tmp_path / "a run"
  output, notes = project.run("quickstart.sh", run, TRAIN_CODE="75", code=75)
  assert not matching(notes, "vidgan_jax.evaluate")
  _, notes = project.run("quickstart.sh", run, SCORED="3")  # as --checkpoint=3 would
  (scored,) = matching(notes, "vidgan_jax.evaluate")
  assert scored.endswith(f"--workdir={run} --protocol=moving_shapes")
  _, notes = project.run("quickstart.sh", run)
  assert matching(notes, "vidgan_jax.evaluate")
  output, notes = project.run("quickstart.sh", run)
  assert output.splitlines()[-1] == f"scores exist already: {run}/evaluation/moving_shapes"
  assert not matching(notes, "vidgan_jax.evaluate")


def test_what_training_refuses_ends_the_script(project, tmp_path):
  _, notes = project.run("quickstart.sh", tmp_path / "a", TRAIN_CODE="3", code=3)
  assert not matching(notes, "vidgan_jax.sample")


def test_a_short_run_and_fields_of_the_config(project, tmp_path):
  fields = ("--config.batch_size=4", "--config.data.classes=('a b',)")
  _, notes = project.run("quickstart.sh", *fields[:1], "a b", "--short", fields[1], cwd=tmp_path)
  (trained,) = matching(notes, "vidgan_jax.train")
  assert f"--config={project.path}/configs/quickstart.py:runlocal " in trained
  assert trained.endswith(f"--workdir={tmp_path}/a b {' '.join(fields)}")
  (scored,) = matching(notes, "vidgan_jax.evaluate")
  assert scored.endswith(" --protocol=moving_shapes --count=64 --real_count=64")


def test_the_stages_of_a_cascade_are_trained_in_order(project, tmp_path):
  names, field = ("ssw_gan:a_stage1,runlocal", "mine.py:a_stage2"), "--config.batch_size=4"
  output, notes = project.run("cascade.sh", "--folder=my runs", *names, field, cwd=tmp_path)
  first, second = (f"{tmp_path}/my runs/a_stage{suffix}" for suffix in ("1_runlocal", "2"))
  calls = [note.partition("vidgan_jax.train ")[2] for note in matching(notes, "vidgan_jax.train")]
  configs = [f"{project.path}/configs/ssw_gan.py:a_stage1,runlocal", f"{tmp_path}/mine.py:a_stage2"]
  earlier = f"--config.model.earlier_run={first} "
  assert calls[:2] == [
    f"--config={config} --print_config {also}{field}"
    for config, also in zip(configs, ("", earlier), strict=True)
  ]
  trained = calls[2:]
  assert trained == [
    f"--config={project.path}/configs/ssw_gan.py:a_stage1,runlocal --workdir={first} {field}",
    f"--config={tmp_path}/mine.py:a_stage2 --workdir={second} "
    f"--config.model.earlier_run={first} {field}",
  ]
  command = shlex.split(output.splitlines()[-1])
  assert command[:3] == [f"{project.path}/.venv/bin/python", "-m", "vidgan_jax.sample"]
  assert command[3:] == [f"--workdir={second}", "--output=DIR", "--standing_passes=200"]
  # A stage that is stopped or refused ends the script.
  for code in (75, 2):
    output, notes = project.run("cascade.sh", *names, TRAIN_CODE=str(code), code=code, cwd=tmp_path)
    assert len(matching(notes, "--workdir=")) == 1
    assert f"{project.path}/runs/cascade/a_stage1_runlocal" in notes[-1]
    assert ("the same command continues" in output) == (code == 75)


def test_all_stages_are_checked_before_the_first_is_trained(project, tmp_path):
  names = ("ssw_gan:a_stage1", "ssw_gan:a_stage2", "--config.augmentation.colour")
  _, notes = project.run("cascade.sh", *names, CHECK_CODE="2", code=2, cwd=tmp_path)
  assert len(matching(notes, "--print_config")) == 1 and not matching(notes, "--workdir=")
  _, notes = project.run("cascade.sh", *names, cwd=tmp_path)
  assert all("--config.augmentation.colour" in note for note in matching(notes, "vidgan_jax.train"))


@pytest.mark.parametrize("name", ["quickstart.sh", "cascade.sh", "pretrained.sh"])
def test_help_is_the_comment_at_the_head(project, name):
  output, notes = project.run(name, "--help")
  assert f"  launch/{name} " in output and "Exit codes:" in output
  assert not output.startswith("#") and not notes


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "launch").glob("*.sh")))
def test_help_does_nothing_else(tmp_path, name):
  shutil.copytree(ROOT / "launch", tmp_path / "launch")
  done = subprocess.run(
    ["bash", f"launch/{name}", "--help"],
    cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60,
  )  # fmt: skip
  assert (done.returncode, done.stderr) == (0, "")
  first = next(
    line for line in (ROOT / "launch" / name).read_text().splitlines()
    if line.startswith("# ") and "shellcheck" not in line
  )  # fmt: skip
  assert done.stdout.startswith(first.removeprefix("# ")) and "set -" not in done.stdout
  assert [path.name for path in tmp_path.iterdir()] == ["launch"]


@pytest.mark.parametrize("argument", ["--nonsense", "requirements-no.txt", "README.md"])
def test_what_is_no_requirements_file_is_refused_before_anything_is_installed(tmp_path, argument):
  shutil.copytree(ROOT / "launch", tmp_path / "launch")
  (tmp_path / "README.md").touch()
  (tmp_path / ".venv").mkdir()
  (tmp_path / ".venv/installed").write_text("1 2 requirements.txt\n")
  done = subprocess.run(
    ["bash", "launch/install.sh", argument],
    cwd=tmp_path, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=60,
  )  # fmt: skip
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr.startswith(f"error: '{argument}' is no requirements file")
  assert (tmp_path / ".venv/installed").read_text() == "1 2 requirements.txt\n"


@pytest.mark.parametrize(
  "arguments", [[], ["--folder=a"], ["a_stage1"], ["--folder", "a:b"], ["a:b", "--steps=1"], ["a:"]]
)
def test_cascades_that_are_not_named_are_refused_with_the_usage(project, arguments):
  output = project.refused("cascade.sh", *arguments)
  assert output.startswith("error: usage: launch/cascade.sh [--folder=FOLDER] CONFIG...")


@pytest.mark.parametrize("arguments", [["--shrt"], ["a", "b"], ["--workdir=x"]])
def test_other_arguments_are_refused_with_the_usage(project, arguments):
  output = project.refused("quickstart.sh", *arguments)
  assert output.startswith("error: usage: launch/quickstart.sh [FOLDER] [--short]")


def test_a_cdpath_has_no_effect(project, tmp_path):
  (tmp_path / "elsewhere" / "launch").mkdir(parents=True)
  output, _ = project.run("quickstart.sh", CDPATH=str(tmp_path / "elsewhere"), cwd=project.path)
  assert f"into {project.path}/.venv" in output


LEAVES = """#!/usr/bin/env bash
for argument; do case "$argument" in --process_id=*) id="${argument#*=}" ;; esac; done
[ "$id" = 0 ] || sleep 0.3
codes=($CODES)
echo "words of $id"
exit "${codes[$id]}"
"""


def in_processes(project, program, *options, **variables):
  """Runs local_multiprocess.sh with these arguments before its command, a Bash program."""
  project.program("python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
  project.program("member", program)
  command = [project.path / "launch" / "local_multiprocess.sh", *options, project.bin / "member"]
  environment = {"PATH": f"{project.bin}:/usr/bin:/bin", "NOTES": str(project.bin), **variables}
  return subprocess.run(
    command, env=environment, capture_output=True, text=True, timeout=60, check=False
  )


@pytest.mark.parametrize(
  ("codes", "code"), [("0 0", 0), ("75 75", 75), ("75 0", 75), ("75 2", 2), ("0 3", 3), ("3 75", 3)]
)
def test_several_processes_that_are_stopped_are_to_be_continued(project, codes, code):
  ended = in_processes(project, LEAVES, "2", CODES=codes)
  assert (ended.returncode, ended.stdout) == (code, "words of 0\n")
  # The output of process 1 is shown if only process 1 fails, even if process 0 has ended.
  assert ("process 1:\nwords of 1" in ended.stderr) == (codes in ("75 2", "0 3"))


# Process 1 is killed; process 0 ends with 1 as soon as that is so.
KILLED = """#!/usr/bin/env bash
for argument; do case "$argument" in --process_id=*) id="${argument#*=}" ;; esac; done
if [ "$id" = 1 ]; then echo $$ >"$NOTES/pid" && kill -KILL $$; fi
until [ -s "$NOTES/pid" ]; do sleep 0.01; done
while kill -0 "$(cat "$NOTES/pid")" 2>/dev/null; do :; done
exit 1
"""
# Process 1 fails, and process 0 never ends.
HANGS = """#!/usr/bin/env bash
for argument; do case "$argument" in --process_id=*) id="${argument#*=}" ;; esac; done
[ "$id" = 0 ] || exit 5
exec sleep 600
"""


@pytest.mark.parametrize("options", [["2"], ["--patience=20", "2"]])
def test_a_process_that_was_killed_comes_first(project, options):
  ended = in_processes(project, KILLED, *options)
  assert ended.returncode == 137
  codes = "process 1 ended with 137\nprocess 0 ended with 1\n"
  assert ended.stdout == (codes if len(options) > 1 else "")


def test_patience_with_processes_that_do_not_end_is_limited(project):
  ended = in_processes(project, HANGS, "--patience=1", "2")
  assert ended.returncode == 5
  assert ended.stdout == "process 1 ended with 5\nprocess 0 ended with 137\n"


@pytest.mark.parametrize(
  "options", [["--patience=x", "2"], ["--patience", "2"], ["0"], ["100"], ["99999999"], []]
)
def test_wrong_arguments_of_several_processes_are_refused(project, options):
  ended = in_processes(project, HANGS, *options)
  assert (ended.returncode, ended.stdout) == (2, "")
  assert ended.stderr.startswith("error: usage: launch/local_multiprocess.sh [--patience=SECONDS]")


def test_a_command_that_does_not_exist_is_one_line(project):
  command = [project.path / "launch" / "local_multiprocess.sh", "2", "no_such_command"]
  done = subprocess.run(command, capture_output=True, text=True, timeout=60)
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr == "error: cannot run no_such_command: no such command\n"


def test_by_default_the_run_is_in_the_project(project):
  _, notes = project.run("quickstart.sh")
  (trained,) = matching(notes, "vidgan_jax.train")
  assert trained.endswith(f"--workdir={project.path}/runs/quickstart")
  assert f"--config={project.path}/configs/quickstart.py" in trained


def test_pip_shows_its_progress_after_one_line_of_what_and_where(project):
  output, notes = project.run("quickstart.sh")
  assert output.splitlines()[0] == f"installing requirements.txt into {project.path}/.venv"
  installs = matching(notes, "pip install")
  assert len(installs) == 2 and not any("-q" in note for note in installs)
  output, notes = project.run("quickstart.sh")
  assert output.splitlines()[0] == f"installed already: {project.path}/.venv (requirements.txt)"
  assert not matching(notes, "pip install")


def test_only_what_is_installed_now_counts(project):
  requirements = project.path / "requirements.txt"
  first = requirements.read_text()
  for text in (first, first + "# newer\n", first, first + "# newer\n"):
    requirements.write_text(text)
    assert project.installs("quickstart.sh") == ["requirements.txt"]
    assert project.installs("quickstart.sh") == []
  # The tests need further tools. Neither script installs again what the other has installed.
  assert project.installs("test.sh") == ["requirements.txt requirements-test.txt"]
  assert project.installs("quickstart.sh") == project.installs("test.sh") == []
  requirements.write_text(first)
  assert project.installs("quickstart.sh") == ["requirements.txt"]
  assert project.installs("test.sh") == ["requirements.txt requirements-test.txt"]
  test = project.path / "requirements-test.txt"
  pins = test.read_text()
  for text in (pins + "# newer\n", pins):
    test.write_text(text)
    assert project.installs("test.sh") == ["requirements.txt requirements-test.txt"]
  assert project.installs("quickstart.sh") == []


def test_a_failed_installation_does_not_count(project):
  requirements = project.path / "requirements.txt"
  first = requirements.read_text()
  project.run("quickstart.sh")
  requirements.write_text("# other\n")
  project.run("quickstart.sh", code=1, PIP_CODE="1")
  requirements.write_text(first)  # a part of the other requirements may be installed
  assert project.installs("quickstart.sh") == ["requirements.txt"]


@pytest.mark.parametrize(
  ("header", "file"),
  [
    ("CUDA Version: 13.0     ", "requirements-cuda.txt"),
    ("CUDA Version: 14.2     ", "requirements-cuda.txt"),
    ("CUDA UMD Version: 13.1 ", "requirements-cuda.txt"),
    ("CUDA Version: 12.8     ", "requirements-cuda12.txt"),
    ("CUDA Version: N/A      ", "requirements-cuda12.txt"),
    (None, "requirements.txt"),
  ],
)
def test_the_driver_decides_which_build_of_jax(project, header, file):
  project.driver(header)
  assert project.installs("quickstart.sh") == [file]


def test_a_newer_driver_replaces_the_plugin(project):
  for header, file, other in (
    ("CUDA Version: 12.8", "requirements-cuda12.txt", "13"),
    ("CUDA Version: 13.0", "requirements-cuda.txt", "12"),
    ("CUDA Version: 12.8", "requirements-cuda12.txt", "13"),
  ):
    project.driver(header)
    _, notes = project.run("quickstart.sh")
    assert matching(notes, f"pip install --disable-pip-version-check -r {file}")
    (removed,) = matching(notes, "pip uninstall")
    assert removed.endswith(f" jax-cuda{other}-plugin jax-cuda{other}-pjrt")
    assert project.installs("quickstart.sh") == []


def test_a_device_that_is_named_needs_no_driver(project):
  for device, file in (("tpu", "-tpu"), ("cuda", "-cuda12"), ("cpu", "")):
    shutil.rmtree(project.path / ".venv", ignore_errors=True)
    environment = dict(VIDGAN_JAX_DEVICE=device)
    assert project.installs("quickstart.sh", **environment) == [f"requirements{file}.txt"]
  output = project.refused("quickstart.sh", VIDGAN_JAX_DEVICE="gpu")
  assert output == "error: VIDGAN_JAX_DEVICE is 'gpu'; known: cpu, cuda, tpu\n"


def test_jax_uses_the_cpu_if_it_is_named(project):
  """.venv may contain the CUDA build, with which JAX would use the GPU."""
  project.driver("CUDA Version: 13.0")
  _, notes = project.run("quickstart.sh")
  assert matching(notes, "python -m vidgan_jax.train")
  _, notes = project.run("quickstart.sh", VIDGAN_JAX_DEVICE="cpu")
  assert matching(notes, "python [cpu] -m vidgan_jax.train") and not matching(notes, "pip install")


def test_tests_install_no_cuda_wheels_and_leave_installed_ones(project):
  project.driver("CUDA Version: 13.0")
  tests = "requirements.txt requirements-test.txt"
  assert project.installs("test.sh") == [tests]
  assert project.installs("quickstart.sh") == ["requirements-cuda.txt"]
  assert project.installs("test.sh") == project.installs("quickstart.sh") == []
  shutil.rmtree(project.path / ".venv")
  assert project.installs("quickstart.sh") == ["requirements-cuda.txt"]
  assert project.installs("test.sh") == [tests]
  assert project.installs("quickstart.sh") == []


def test_tests_run_on_cpu_unless_jax_platforms_is_set(project):
  _, notes = project.run("test.sh", "tests/layers", "-k", "a b")
  assert notes[-1] == "python [cpu] -m pytest tests/layers -k a b"
  assert matching(notes, "format --check .") and matching(notes, "ruff [cpu] check .")
  assert matching(notes, "mypy [cpu]")
  _, notes = project.run("test.sh", JAX_PLATFORMS="cuda")
  assert notes[-1].startswith(
    "python [cuda] -m pytest -rs --numprocesses="
  )  # all tests, in parallel


def pins(name):
  """{package: version} of a requirements file."""
  lines = (ROOT / name).read_text().splitlines()
  pairs = [line.split("#")[0].strip().split("==") for line in lines if "==" in line.split("#")[0]]
  return {canonicalize_name(package.split("[")[0]): version for package, version in pairs}


def test_the_pinned_files_agree_on_jax():
  names = ("requirements.txt", *(f"requirements-{name}.txt" for name in ("cuda", "cuda12", "tpu")))
  assert len({pins(name)["jax"] for name in names}) == 1


def test_the_bounds_of_dependencies_include_only_tested_versions():
  """Each dependency has bounds. The lower bound is tested in the cell "oldest"."""
  oldest, tested = pins("requirements-oldest.txt"), pins("requirements.txt")
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  for requirement in map(Requirement, project["dependencies"]):
    name, bounds = canonicalize_name(requirement.name), requirement.specifier
    assert {bound.operator for bound in bounds} == {">=", "<"}, requirement
    (lower,) = (bound.version for bound in bounds if bound.operator == ">=")
    assert Version(oldest[name]) == Version(lower), requirement
    assert tested[name] in bounds, requirement
  for extra in ("data", "notebooks", "web"):
    tested = pins(f"requirements-{extra}.txt")
    for requirement in map(Requirement, project["optional-dependencies"][extra]):
      bounds = requirement.specifier
      assert {bound.operator for bound in bounds} == {">=", "<"}, requirement
      assert tested[canonicalize_name(requirement.name)] in bounds, requirement
  for requirement in map(Requirement, project["dependencies"]):  # Gradio replaces Pillow
    version = tested.get(canonicalize_name(requirement.name))
    assert version is None or version in requirement.specifier, requirement


def test_every_cell_of_the_versions_is_counted(project):
  """With a stub for pytest: the table shows its numbers, and the script returns its exit code."""
  for version in ("3.11", "3.12", "3.13"):
    project.program(f"python{version}", VERSIONS_STUB)
  venvs = project.path.parent / "cells"
  run = lambda *arguments, **options: project.run(
    "test_versions.sh", *arguments, VIDGAN_JAX_VENVS=str(venvs), **options
  )
  output, notes = run("3.12", "oldest", "--", "-k", "a b")
  rows = [line.split()[:4] for line in output.splitlines()[-2:]]
  assert rows == [["3.12", "5", "0", "2"], ["oldest", "5", "0", "2"]]
  assert [n for n in notes if "-m pytest" in n] == ["python [cpu] -m pytest -rs -k a b"] * 2
  installed = [n for n in notes if "--no-deps" not in n and "pip install" in n]
  assert "-r requirements.txt" in installed[0] and "-r requirements-oldest.txt" in installed[1]
  output, notes = run("newest", "3.12", code=1, PYTEST_SAYS="1 failed, 3 passed, 1 error in 2.00s")
  assert [line.split()[:4] for line in output.splitlines()[-2:]] == [
    ["newest", "3", "2", "0"], ["3.12", "3", "2", "0"],
  ]  # fmt: skip
  installed = [n for n in notes if "--no-deps" not in n and "pip install" in n]
  assert len(installed) == 1 and "--upgrade" in installed[0]  # the one of 3.12 exists already
  output, _ = run("3.13", code=1, PIP_CODE="1")
  assert output.splitlines()[-1].split() == ["3.13", "could", "not", "be", "installed"]
  assert project.refused("test_versions.sh", "2.7").startswith("error: unknown cell 2.7; known: ")


def test_the_wheel_is_used_with_known_versions_only(project):
  refusal = project.refused("test_wheel.sh", "2.7")
  assert refusal == "error: unknown versions 2.7; known: pinned, oldest, newest\n"


VERSIONS_STUB = r"""#!/usr/bin/env bash
all="$*"
case "$all" in
  "-c "*) echo "jax 1"; exit ;;
esac
echo "${0##*/}${JAX_PLATFORMS:+ [$JAX_PLATFORMS]} $all" >>"$NOTES"
case "$all" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip install"*) exit "${PIP_CODE:-0}" ;;
  "-m pytest"*)
    echo "${PYTEST_SAYS:-5 passed, 2 skipped in 1.00s}"
    [[ "${PYTEST_SAYS:-}" != *failed* ]] || exit 1
    ;;
esac
"""
