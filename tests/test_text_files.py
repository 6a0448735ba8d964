"""Text files have one encoding, whatever the locale of who runs the project."""

import ast
import pathlib
import sys

import pytest

from vidgan_jax.runtime import door

ROOT = pathlib.Path(__file__).resolve().parents[1]
FOLDERS = ("vidgan_jax", "configs", "benchmarks", "colabs")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def _is_binary(call):
  """Whether one of the arguments of a call of `open` is a mode such as "rb"."""
  arguments = [*call.args[1:], *(word.value for word in call.keywords if word.arg == "mode")]
  return any(isinstance(one, ast.Constant) and "b" in str(one.value) for one in arguments)


def without_encoding(text):
  """Lines of the calls that open text files by the locale's encoding."""
  found = []
  for call in ast.walk(ast.parse(text)):
    if not isinstance(call, ast.Call) or any(word.arg == "encoding" for word in call.keywords):
      continue
    if isinstance(call.func, ast.Name) and call.func.id == "open" and not _is_binary(call):
      found.append(call.lineno)
    # `results.write_text(path, text)` and its kin are functions of the project.
    method = isinstance(call.func, ast.Attribute) and call.func.attr
    positions = {"read_text": 0, "write_text": 1}  # of the encoding
    if method in positions and len(call.args) == positions[method]:
      found.append(call.lineno)
  return found


def test_the_check_sees_what_it_should():
  lines = ["open(p)", 'open(p, "a")', "p.read_text()", "p.write_text(t)", 'open(p, mode="w")']
  assert without_encoding("\n".join(lines)) == [1, 2, 3, 4, 5]
  fine = ['open(p, "rb")', 'open(p, mode="wb")', 'p.read_text(encoding="utf-8")', "a.open(p)"]
  assert not without_encoding("\n".join(fine))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_files_are_utf8_whatever_the_locale(path):
  assert not without_encoding(path.read_text(encoding="utf-8"))


def test_a_terminal_without_accents_gets_them_escaped(monkeypatch, tmp_path, capfd):
  with open(tmp_path / "out", "w", encoding="ascii") as file:
    monkeypatch.setattr(sys, "stdout", file)
    with pytest.raises(SystemExit):
      door.run(lambda argv: door.report("café"), ["program"])
  assert (tmp_path / "out").read_text(encoding="ascii") == "caf\\xe9\n"
