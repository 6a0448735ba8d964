"""Paths from users: expands `~`, copies folders of buckets, finds packaged models.

Addresses in Google Cloud Storage (gs://bucket/run) are accepted where `run`, `staged` or `fetched`
converts the path. `local` refuses them, and the addresses of all other services are refused.
"""

import os
import pathlib
import pwd
import re
from collections.abc import Callable, Iterable
from typing import Any

from vidgan_jax.runtime.buckets import fetching, objects
from vidgan_jax.runtime.buckets import staged as stages
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.text import file_name

# Matches gs://bucket, s3://bucket, file:///data, and gs:/bucket (pathlib shortens gs:// to it), but
# no path with a slash before the colon, which is a local one.
_ADDRESS = re.compile(r"\s*[^/\s]+:/")
_PRETRAINED = pathlib.Path(__file__).resolve().parents[2] / "pretrained"


def local(path: str | os.PathLike, what: str) -> str:
  """Expands `~` and `~user` in a path.

  Args:
    path: as the user gave it. "" stays "".
    what: the flag, config field or environment variable that it comes from, for messages.

  Raises:
    UserError: the path is an address (`gs://bucket/run`, `s3://...`, `file:///...`), begins with
      the home folder of a user who has none, or contains a NUL character.
  """
  text = file_name(os.fspath(path))
  if _ADDRESS.match(text):
    how = "copy the files to this machine, or mount them, and give the local folder"
    if objects.is_address(text):
      how = "give a local folder here, and copy its files with gcloud storage cp --recursive"
    raise UserError(
      f"{what} is {text!r}, which is an address and not a local path; {how} (write ./{text} for a "
      "local path of that name)"
    )
  if "\0" in text:
    raise UserError(f"{what} is {text!r}, which contains a NUL character; a path cannot")
  expanded = _expanded(text)
  if expanded.startswith("~"):
    raise UserError(
      f"{what} is {text!r}, but there is no such home folder; write the path in full (write "
      f"./{text} for a local path of that name)"
    )
  return expanded


def _expanded(text: str) -> str:
  """`os.path.expanduser`, but treats an empty HOME as unset, so "~/run" does not become "/run"."""
  if os.environ.get("HOME") != "" or text.partition("/")[0] != "~":
    return os.path.expanduser(text)
  try:
    return pwd.getpwuid(os.getuid()).pw_dir + text[1:]
  except KeyError:  # the system does not know this user
    return text


def all_local(paths: Iterable[str | os.PathLike], what: str) -> list[str]:
  """`local` of each path."""
  return [local(path, what) for path in paths]


def pretrained() -> list[str]:
  """The names of the trained models that come with the package, sorted."""
  return sorted(path.parent.name for path in _PRETRAINED.glob("*/export.json"))


def staged(path: str | os.PathLike, what: str) -> str:
  """`local` for a folder that a command works in, which may also be in a bucket.

  For gs://bucket/folder, returns a temporary folder with its files. Locks, and the end of the
  command, copy what changes there back; see `runtime.buckets.staged`.

  Raises:
    UserError: see `local`, or the bucket cannot be read.
  """
  text = os.fspath(path)
  return stages.open_folder(text, what) if objects.is_address(text) else local(path, what)


def fetched(path: str | os.PathLike, what: str) -> str:
  """`local` for a file or folder that is only read, which may also be in a bucket.

  For gs://bucket/folder, returns a copy in the user's cache folder; see `runtime.buckets.fetching`.

  Raises:
    UserError: see `local`, or the bucket cannot be read, or the cache folder cannot be written.
  """
  text = os.fspath(path)
  if not objects.is_address(text):
    return local(path, what)
  return fetching.fetch(objects.normal(text, what), cache("gs"), what)


def absolute(path: str | os.PathLike, what: str) -> str:
  """The absolute local path, or the address in its normal form, without reading anything.

  Raises:
    UserError: see `local` and `objects.normal`.
  """
  text = os.fspath(path)
  if objects.is_address(text):
    return objects.normal(text, what)
  return os.path.abspath(local(path, what))


def all_fetched(paths: Iterable[str | os.PathLike], what: str) -> list[str]:
  """`fetched` of each path."""
  return [fetched(path, what) for path in paths]


def run(path: str | os.PathLike, what: str) -> str:
  """`staged` for the folder of a run or an exported model, which may also be a model's name.

  The name of a model of the package (`pretrained`) stands for its folder, unless the current folder
  contains something of that name.

  Raises:
    UserError: see `local`.
  """
  found = staged(path, what)
  if found in pretrained() and not os.path.lexists(found):
    return str(_PRETRAINED / found)
  return found


def results_folder(workdir: str | os.PathLike, *names: str) -> pathlib.Path:
  """The folder in `workdir` that receives the results of a command without --output.

  Raises:
    UserError: `workdir` is a model of the package, whose folder receives nothing.
  """
  folder = pathlib.Path(workdir)
  if pathlib.Path(os.path.realpath(folder)).parent == _PRETRAINED:
    raise UserError(f"{folder.name} is a model of the package: --output=DIR is required")
  return folder.joinpath(*names)


def check_writable(folder: str | os.PathLike) -> None:
  """Checks that files can be written to a folder, which need not exist; creates nothing.

  Call it before long work whose results are written at its end.

  Raises:
    UserError: the folder, or its nearest existing parent, is no folder or not writable.
  """
  existing = pathlib.Path(os.path.realpath(folder))
  while not existing.exists() and existing != existing.parent:
    existing = existing.parent
  if not existing.is_dir():
    raise UserError(f"cannot write to {folder}: {existing} is no folder")
  if not os.access(existing, os.W_OK | os.X_OK):
    raise UserError(f"cannot write to {folder}: {existing} cannot be written")


def cache(*names: str) -> str | None:
  """The path of a cache folder: $XDG_CACHE_HOME/vidgan_jax/NAMES, or ~/.cache/vidgan_jax/NAMES.

  Returns:
    The path, or None if this user has no home folder.

  Raises:
    UserError: XDG_CACHE_HOME is an address.
  """
  base = local(os.environ.get("XDG_CACHE_HOME", ""), "XDG_CACHE_HOME")
  if not os.path.isabs(base):  # the XDG base directory specification ignores relative paths
    base = _expanded(os.path.join("~", ".cache"))
  return os.path.join(base, "vidgan_jax", *names) if os.path.isabs(base) else None


def localize(request, *fields: str, convert: Callable[[Any, str], str] = local) -> None:
  """Applies `local` to fields of a frozen dataclass, in its `__post_init__`.

  Args:
    request: the dataclass; its fields have the names of the command's flags.
    *fields: names of fields that hold a path, several paths, or None.
    convert: `local`, or `run` for folders of runs.

  Raises:
    UserError: see `local`.
  """
  for field in fields:
    value, flag = getattr(request, field), f"--{field}"
    if value is None:
      continue
    if isinstance(value, str | os.PathLike):
      path_type: Any = type(value)
      value = path_type(convert(value, flag))
    else:
      value = type(value)(convert(path, flag) for path in value)
    object.__setattr__(request, field, value)
