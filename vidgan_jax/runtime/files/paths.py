"""Paths that users give: `~` is expanded, and addresses that are no local paths are refused."""

import os
import pwd
import re
from collections.abc import Iterable
from typing import Any

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_name

# gs://bucket, s3://bucket, file:///data, and gs:/bucket, which pathlib makes of the first; a name
# before the colon that holds a slash belongs to a local folder.
_ADDRESS = re.compile(r"\s*[^/\s]+:/")


def local(path: str | os.PathLike, what: str) -> str:
  """The path with `~` and `~user` expanded.

  Args:
    path: as the user gave it. "" stays "": its meaning is the caller's.
    what: the flag, the field of the config or the variable that it comes from, for the message.

  Raises:
    UserError: the path is an address (`gs://bucket/run`, `s3://...`, `file:///...`), begins with
      the home folder of somebody who has none, or holds a NUL character.
  """
  text = file_name(os.fspath(path))
  if _ADDRESS.match(text):
    raise UserError(
      f"{what} is {text!r}, which is an address and no local path; copy the files here, or mount "
      f"them and give the local folder (./{text} is a local path of that name)"
    )
  if "\0" in text:
    raise UserError(f"{what} is {text!r}, which holds a NUL character: no path does")
  expanded = _expanded(text)
  if expanded.startswith("~"):
    raise UserError(
      f"{what} is {text!r}, but there is no such home folder; write the path in full (./{text} is "
      f"a local path of that name)"
    )
  return expanded


def _expanded(text: str) -> str:
  """`os.path.expanduser`, but an empty HOME is as one that is not set: "~/run" is not "/run"."""
  if os.environ.get("HOME") != "" or text.partition("/")[0] != "~":
    return os.path.expanduser(text)
  try:
    return pwd.getpwuid(os.getuid()).pw_dir + text[1:]
  except KeyError:  # a user without an entry
    return text


def all_local(paths: Iterable[str | os.PathLike], what: str) -> list[str]:
  """`local` of each path."""
  return [local(path, what) for path in paths]


def cache(*names: str) -> str | None:
  """A folder in the user's cache folder: $XDG_CACHE_HOME, or ~/.cache.

  Returns:
    its path, or None where this user has no home folder.

  Raises:
    UserError: XDG_CACHE_HOME is an address.
  """
  base = local(os.environ.get("XDG_CACHE_HOME", ""), "XDG_CACHE_HOME")
  if not os.path.isabs(base):  # to be ignored, by the XDG base directory specification
    base = _expanded(os.path.join("~", ".cache"))
  return os.path.join(base, "vidgan_jax", *names) if os.path.isabs(base) else None


def localize(request, *fields: str) -> None:
  """Replaces paths in fields of a frozen dataclass by local ones; for its `__post_init__`.

  Args:
    request: what a command is asked for; its fields bear the names of the command's flags.
    fields: hold a path, several, or None.

  Raises:
    UserError: see `local`.
  """
  for field in fields:
    value, flag = getattr(request, field), f"--{field}"
    if value is None:
      continue
    if isinstance(value, str | os.PathLike):
      make: Any = type(value)
      value = make(local(value, flag))
    else:
      value = type(value)(all_local(value, flag))
    object.__setattr__(request, field, value)
