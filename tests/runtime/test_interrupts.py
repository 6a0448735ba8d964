"""Ctrl-C at any moment of a command prints "interrupted", ends it with 130, leaves no folder."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A package like this one, with a command whose parts each test fills in.
PACKAGE = """
import sys
if sys.argv[:1] == ["-m"]:
  from vidgan_jax.runtime import interrupts
  interrupts.watch()
"""
COMMAND = """
import os, sys, threading, time
{top}
from vidgan_jax.runtime import door

def main(argv):
  from vidgan_jax.runtime.files import temporary
  open(temporary.make("kept_") + "/file", "w").close()
{main}

if __name__ == "__main__":
  door.run(main)
"""
WAIT = "print('here', flush=True); import time; time.sleep(60)"
MODULES = {
  "slow": WAIT,
  # Modules with extensions in C may turn an interruption into another error.
  "wrong": f"try:\n  {WAIT}\nexcept BaseException:\n  raise ImportError('broken')",
  # Modules that import optional packages may ignore all errors.
  "deaf": f"try:\n  {WAIT}\nexcept BaseException:\n  pass",
}
MOMENTS = {
  "first import": ("import package.slow", "  pass"),
  "between imports": (WAIT, "  pass"),
  "import in main": ("", "  import package.slow"),
  "import that fails": ("", "  import package.wrong"),
  "import that goes on": ("", "  import package.deaf\n  print('went on', file=sys.stderr)"),
  "work": ("", f"  {WAIT}"),
  "error on the way out": ("", f"  try:\n    {WAIT}\n  finally:\n    1 / 0"),
  "callback": (
    f"class Callback:\n  def __del__(self):\n    {WAIT}",
    "  Callback()\n  print('went on', file=sys.stderr)",
  ),
  "with threads": ("", f"  threading.Thread(target=threading.Event().wait).start()\n  {WAIT}"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_one_word_and_no_folder(tmp_path, moment):
  folder, temporary = tmp_path / "package", tmp_path / "temporary"
  folder.mkdir()
  temporary.mkdir()
  (folder / "__init__.py").write_text(PACKAGE)
  top, main = MOMENTS[moment]
  (folder / "command.py").write_text(COMMAND.format(top=top, main=main))
  for name, text in MODULES.items():
    (folder / f"{name}.py").write_text(text)
  process = subprocess.Popen(
    [sys.executable, "-m", "package.command"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == "here\n"
  process.send_signal(signal.SIGINT)
  _, errors = process.communicate(timeout=20)
  assert (process.returncode, errors) == (130, "interrupted\n")
  assert os.listdir(temporary) == []


def test_the_handler_is_set_before_a_command_imports_anything():
  """`python -m` imports the package first, which sets the handler."""
  code = "import signal, sys\nsys.argv = [{name!r}]\nimport vidgan_jax\n"
  code += "print(signal.getsignal(signal.SIGINT).__module__, 'absl' in sys.modules)"
  for name, words in (("-m", "vidgan_jax.runtime.interrupts False"), ("a.py", "_signal False")):
    result = subprocess.run(
      [sys.executable, "-c", code.format(name=name)],
      cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip() == words


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
  code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
  code += "from vidgan_jax.runtime import interrupts\ninterrupts.begin()\n"
  code += "print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
  result = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
  )
  assert result.stdout == "True\n"
