"""What the benchmarks refuse before they measure."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def program(name, *arguments):
  """Runs a benchmark."""
  command = [sys.executable, ROOT / "benchmarks" / f"{name}.py", *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def assert_refused(result, *words):
  """One line on stderr with the words in it, nothing on stdout, exit code 2."""
  assert (result.returncode, result.stdout) == (2, ""), result
  (line,) = result.stderr.splitlines()
  assert line.startswith("error: ") and all(word in line for word in words), line


@pytest.fixture(scope="module")
def settings():
  """benchmarks/settings.py."""
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    import settings

    yield settings
  finally:
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", ["training", "convolutions"])
def test_results_that_cannot_be_written_are_refused_at_the_start(tmp_path, name):
  path = tmp_path / "no_such_folder" / "results.jsonl"
  assert_refused(program(name, f"--results={path}"), "--results", "No such file or directory")


def test_a_folder_takes_no_results(tmp_path):
  assert_refused(program("discriminators", f"--results={tmp_path}"), "--results", "Is a directory")


@pytest.mark.parametrize("name", ["training", "convolutions"])
@pytest.mark.parametrize("value", ["0", "-1", "nan"])
def test_a_peak_is_a_number_above_zero(tmp_path, name, value):
  result = program(name, f"--tflops={value}", f"--results={tmp_path}/results.jsonl")
  assert_refused(result, "--tflops", "must be a number above 0")


def test_help_lists_the_shared_flag():
  assert "--results (default " in program("convolutions", "--help").stdout


def test_looking_at_the_results_leaves_them_as_they_are(settings, tmp_path):
  path = tmp_path / "results.jsonl"
  assert settings._writable(str(path)) and not list(tmp_path.iterdir())
  path.write_text("{}\n")
  assert settings._writable(str(path)) and path.read_text() == "{}\n"


def test_what_cannot_be_appended_is_printed(settings, tmp_path, capsys):
  with pytest.raises(settings.UserError, match="cannot write"):
    settings.append(str(tmp_path), "some", {"seconds": 1.5})
  told = json.loads(capsys.readouterr().out)
  assert (told["benchmark"], told["seconds"]) == ("some", 1.5)
