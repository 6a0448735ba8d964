"""Commands as seen from the shell: flags, help, errors and exit codes."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import types

import pytest

from vidgan_jax.runtime import door

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = "--config=configs/dvd_gan.py:kinetics600_64x12,runlocal"
# Few layers: counting them takes the time.
SMALL = ("--config.model.resolution=32", "--config.model.generator.doubled=false")

DOOR = '''"""A command that fails on demand."""
import errno, sys
from absl import flags
from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import Stopped, UserError

_FAULT = flags.DEFINE_enum("fault", None, ["user", "away", "stop", "keyboard", "bug", "none"], "")

def main(argv):
  assert argv == sys.argv[:1]
  if _FAULT.value == "user":
    raise UserError("no such label:\\n  37")
  if _FAULT.value == "away":
    raise UserError("no folder") from OSError(errno.ESTALE, "Stale file handle")
  if _FAULT.value == "stop":
    raise Stopped("losses are not finite")
  if _FAULT.value == "keyboard":
    raise KeyboardInterrupt
  if _FAULT.value == "bug":
    raise ZeroDivisionError("a bug")
  door.report("done")

if __name__ == "__main__":
  door.run(main)
'''


TWICE = '''"""A command and a config file in one."""
import ml_collections
from ml_collections import config_flags
from vidgan_jax.runtime import door

def get_config():
  return ml_collections.ConfigDict({"widths": (0,)})

if __name__ == "__main__":
  _CONFIG = config_flags.DEFINE_config_file("config")
  door.run(lambda argv: print(_CONFIG.value.widths))
'''


def shell(*arguments, hidden=None, cwd=ROOT):
  """Runs Python on the arguments; `hidden` is a folder of modules that must not be imported."""
  path = [str(hidden)] if hidden else []
  environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*path, str(ROOT)])}
  return subprocess.run(
    [sys.executable, *map(str, arguments)],
    cwd=cwd,
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def summarize(*arguments, **options):
  return shell("-m", "vidgan_jax.summarize", *arguments, **options)


@pytest.fixture
def forbid(tmp_path):
  """A function that writes modules whose import ends the process, and returns their folder."""

  def make(*names):
    for name in names:
      (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    return tmp_path

  return make


def assert_refused(result, *words):
  """Checks for exit code 2, no stdout, and one line on stderr that contains all the words."""
  assert result.returncode == 2, result.stderr
  assert result.stdout == ""
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ")
  assert all(word in line for word in words), line


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ([], ["--config is required"]),
    (["--config=configs/dvd_gan.py:no_such"], ["'no_such'", "thesis_kinetics400"]),
    (["--config=configs/no_such.py:x"], ["cannot read", "No such file", "no_such.py"]),
    (["--config=configs/no_such.py", "--config.seed=1"], ["cannot read", "No such file"]),
    (["--config="], ["--config is empty"]),
    (["--config.batch-size=3"], ["unknown config field 'batch-size'"]),
    (["--config=configs/no_such.py", "--config.batch-size=3"], ["cannot read", "No such file"]),
    (["--config=gs://bucket/c.py"], ["--config is 'gs://bucket/c.py', which is an address"]),
    (["--config", "gs://bucket/c.py"], ["--config is 'gs://bucket/c.py', which is an address"]),
    (["--config", "~no_user_of_this_name/c.py"], ["there is no such home folder"]),
    (["--config"], ["config"]),
    ([CONFIG, "--no_such=1"], ["no_such"]),
    ([CONFIG, "--tflops=fast"], ["--tflops=fast"]),
    (
      [CONFIG, "--config.batch_size=many"],
      ["--config.batch_size=many", "'many' is not an integer"],
    ),
    ([CONFIG, "--config.ema.decay="], ["--config.ema.decay=", "'' is not a number"]),
    ([CONFIG, "--config.model.savings=perhaps"], ["'perhaps' is not true or false"]),
    ([CONFIG, "--config.model.no_such=1"], ["no_such", "--config.model.no_such=1"]),
    ([CONFIG, "--config.seed.no_such=1"], ["--config.seed.no_such=1"]),
    (
      [CONFIG, "--config.seed=1", "--config.num_iteratons=1"],
      ["field 'num_iteratons' in --config.num_iteratons=1; did you mean 'num_iterations'?"],
    ),
    (
      [CONFIG, "--config.model.chanels=3"],
      [
        "field 'model.chanels' in --config.model.chanels=3; ",
        "did you mean 'model.generator.channels'?",
      ],
    ),
    ([CONFIG, "--config.generator_lr=3"], ["did you mean 'optimizer.generator_lr'?"]),
    ([CONFIG, "more"], ["'more'"]),
    ([CONFIG, "--json", "--devices=2"], ["--json", "--devices"]),
  ],
)
def test_bad_flags_are_one_line(forbid, arguments, words):
  """JAX is not imported before they are refused."""
  assert_refused(summarize(*arguments, hidden=forbid("jax", "tensorflow")), *words)


def test_the_last_value_of_a_field_that_is_set_twice_counts():
  arguments = [
    "sample",
    "--config.a.b=1",
    "--seed=1",
    "-config.a.b=2",
    "--config.a.c=3",
    "--seed=2",
  ]
  assert door._last_of_each_field(arguments) == ["sample", "--seed=1", *arguments[3:]]


def test_a_list_that_is_set_twice_is_not_joined(tmp_path):
  (tmp_path / "twice.py").write_text(TWICE)
  lists = ["--config.widths=(1,2)", "--config.widths=(3,)"]
  result = shell(tmp_path / "twice.py", f"--config={tmp_path / 'twice.py'}", *lists)
  assert result.returncode == 0, result.stderr
  assert result.stdout == "(3,)\n"


def test_a_bad_config_is_one_line():
  assert_refused(summarize(CONFIG, "--config.model.resolution=48"), "48", "known")


def test_devices_that_training_would_refuse_are_one_line():
  result = summarize(CONFIG, "--devices=7", "--batch_size=512")
  assert_refused(result, "batch_size 512 is not divisible by the number of devices, 7")


@pytest.mark.parametrize("argument", ["", ":", ":runlocal", ":a:b"])
def test_a_config_in_a_folder_with_a_colon_says_so(tmp_path, argument):
  folder = tmp_path / "run 07:13:42"
  folder.mkdir()
  (folder / "mine.py").write_text("")
  result = summarize(f"--config={folder}/mine.py{argument}")
  assert_refused(result, f"{folder}/mine.py", "has a colon", "go into its folder and give")


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("def get_config(:\n", ["cannot read", "mine.py"]),
    ("value = 1\n", ["cannot read", "get_config"]),
    ("def get_config(a=''):\n  return int('x')\n", ["mine.py", "ValueError", "'x'"]),
  ],
)
def test_broken_config_files_are_one_line(tmp_path, text, words):
  (tmp_path / "mine.py").write_text(text)
  assert_refused(summarize(f"--config={tmp_path}/mine.py"), *words)


def test_an_error_inside_a_config_file_shows_a_traceback(tmp_path):
  (tmp_path / "mine.py").write_text("def get_config(a=''):\n  return {}['key']\n")
  result = summarize(f"--config={tmp_path}/mine.py", "--config.seed=1")
  assert result.returncode == 1
  assert "Traceback" in result.stderr and "mine.py" in result.stderr


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_the_docstring_and_the_flags(forbid, option):
  result = summarize("--config=wrong", option, hidden=forbid("jax", "tensorflow", "flax", "optax"))
  assert result.returncode == 0 and result.stderr == ""
  assert result.stdout.startswith("Prints the cost of a config")
  for words in ("--config (required)", "--tflops (default 790.0)", "--batch_size\n", "--[no]json"):
    assert words in result.stdout
  assert "<bfloat16|float32>" in result.stdout
  assert "--pdb" not in result.stdout  # a flag of absl
  assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_with_json_nothing_else_is_printed(forbid):
  result = summarize(
    *(CONFIG, "--json", "--batch_size=5", "--tflops=2.5", "--dtype=float32"),
    *("--config.model.remat=conv_outputs", *SMALL),
    hidden=forbid("tensorflow"),
  )
  assert result.returncode == 0, result.stderr
  summary = json.loads(result.stdout)
  given = {name: summary[name] for name in ("batch_size", "tflops", "dtype", "remat")}
  assert given == dict(batch_size=5, tflops=2.5, dtype="float32", remat="conv_outputs")
  assert "block3" not in summary["parameters"]["generator"]


def test_table_by_default():
  result = summarize(CONFIG, *SMALL)
  assert result.returncode == 0, result.stderr
  assert result.stdout.startswith("dvd_gan: 12 frames of 32x32, 8 classes, batch 2")


@pytest.mark.parametrize(
  ("fault", "code", "stdout", "stderr"),
  [
    ("user", 2, "", "error: no such label: 37\n"),
    ("away", 1, "", "error: no folder\n"),
    ("stop", 3, "", "error: losses are not finite\n"),
    ("keyboard", 130, "", "interrupted\n"),
    ("none", 0, "done\n", ""),
  ],
)
def test_exit_codes(tmp_path, fault, code, stdout, stderr):
  (tmp_path / "door.py").write_text(DOOR)
  result = shell(tmp_path / "door.py", f"--fault={fault}")
  assert (result.returncode, result.stdout, result.stderr) == (code, stdout, stderr)


def test_a_reader_that_closes_stdout_causes_no_error(tmp_path):
  (tmp_path / "door.py").write_text(DOOR)
  options = dict(cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
  pipe = subprocess.PIPE
  with subprocess.Popen(
    [sys.executable, tmp_path / "door.py"], stdout=pipe, stderr=pipe, **options
  ) as process:
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


def test_bugs_show_their_traceback(tmp_path):
  (tmp_path / "door.py").write_text(DOOR)
  result = shell(tmp_path / "door.py", "--fault=bug")
  assert result.returncode == 1
  assert "Traceback" in result.stderr and "a bug" in result.stderr


@pytest.mark.parametrize("unraisable", [False, True])
def test_threads_of_a_failed_save_print_nothing(unraisable):
  """Errors like those of TensorStore's threads are hidden; others are shown."""
  shown = []

  def given(error):
    return (types.SimpleNamespace(exc_value=error),) if unraisable else (type(error), error, None)

  hook = door._without_closed_loops(
    lambda *arguments: shown.append(str(arguments[0].exc_value if unraisable else arguments[1]))
  )
  for words in ("Event loop is closed", "another"):
    thread = threading.Thread(target=hook, args=given(RuntimeError(words)))
    thread.start()
    thread.join()
  assert shown == ["another"]
  hook(*given(RuntimeError("Event loop is closed")))
  assert shown == ["another", "Event loop is closed"]
