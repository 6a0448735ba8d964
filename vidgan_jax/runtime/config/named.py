"""Configs by name: --config=NAME:ARGUMENT stands for the file NAME.py that the package contains."""

import difflib
import os
import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import printable

flags.disclaim_key_flags()  # so --config is listed under the module that calls `define_flag`

HELP = "Config of the package, NAME or NAME:ARGUMENT, or a file, FILE.py or FILE.py:ARGUMENT."


def define_flag() -> flags.FlagHolder:
  """Defines --config.

  ml_collections reads the files of --flagfile here, before any flag is parsed. If one cannot be
  opened, this prints one line and exits with 2.
  """
  try:
    return config_flags.DEFINE_config_file("config", None, HELP)
  except flags.Error as error:
    print(f"error: {printable(str(error).removeprefix('ERROR:: '))}", file=sys.stderr)
    sys.exit(2)


def folder() -> pathlib.Path:
  """The folder with the package's config files.

  An installed package contains it. In a clone, `vidgan_jax/configs` is a symbolic link to
  `configs`; where the link could not be made, `configs` itself is used.
  """
  package = pathlib.Path(__file__).resolve().parents[2]
  inside = package / "configs"
  return inside if inside.is_dir() else package.parent / "configs"


def known() -> list[str]:
  """The names of the package's configs, sorted."""
  return sorted(path.stem for path in folder().glob("*.py") if not path.name.startswith("_"))


def resolve(text: str) -> str:
  """Replaces the name of a config with the path of its file.

  Args:
    text: "NAME", "NAME:ARGUMENT", or the same with a path. A path contains a slash or a dot, or
      names an existing file; it is returned unchanged.

  Raises:
    UserError: the package has no config of this name. The message lists those that it has.
  """
  name, colon, argument = text.partition(":")
  if not name or "." in name or "/" in name or os.sep in name:
    return text
  if name in known():
    return f"{folder() / name}.py{colon}{argument}"
  if os.path.isfile(name):
    return text
  similar = difflib.get_close_matches(name, known(), n=1)
  meant = f"; did you mean {similar[0]}?" if similar else ""
  raise UserError(
    f"unknown config {printable(name)!r}{meant}; known: {', '.join(known())} "
    "(a file of yours ends with .py)"
  )
