"""Lists, reads, writes, moves and deletes objects in Google Cloud Storage.

A bucket holds objects: names, which may contain slashes, with bytes. It has no folders; what this
package calls a folder is all objects whose names begin with the same text and a slash. An object
is replaced as a whole, and each version of it has a number, its generation. A request may name
the generation that it expects, 0 for no object, and fails if there is another one. This replaces
locks and renamed files.
"""

import base64
import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import google_crc32c

from vidgan_jax.runtime.errors import Unavailable, UserError, is_temporary

EXTRA = "pip install 'vidgan_jax[gcs]'"
# Orbax expands the first four as patterns. The others end the name in an address.
_SPECIAL_CHARACTERS = re.compile(r"[*?\[\]\\#\n\r\0]")
_ADDRESS = re.compile(r"gs:/+([^/]+)(/.*)?", re.DOTALL)
_PARALLEL = 8  # requests at a time
_PIECE = 1 << 20  # bytes that are read at a time to compute a checksum


class Changed(Exception):
  """An object has another generation than the request expects."""


@dataclasses.dataclass(frozen=True)
class Found:
  """An object in a listing.

  Attributes:
    generation: number of its version.
    size: in bytes.
    checksum: CRC32C as Cloud Storage writes it, or None.
  """

  generation: int
  size: int
  checksum: str | None


def is_address(text: str) -> bool:
  """Whether a path from a user is an address in Google Cloud Storage."""
  return text.startswith("gs:/")


def normal(address: str, what: str) -> str:
  """The address in its normal form, gs://bucket/name without a slash at the end.

  Args:
    address: as the user gave it; pathlib shortens gs:// to gs:/.
    what: the flag, config field or argument that it comes from, for messages.

  Raises:
    UserError: the address has no bucket, or contains a character that Orbax or the client
      libraries do not take as a part of a name; or the packages for such addresses are missing.
  """
  match = _ADDRESS.fullmatch(address)
  if not match or _SPECIAL_CHARACTERS.search(address) or match[1] in (".", ".."):
    raise UserError(
      f"{what} is {address!r}, must be gs://bucket/folder, without * ? [ ] # and backslashes"
    )
  parts = [part for part in (match[2] or "").split("/") if part not in ("", ".")]
  if ".." in parts:
    raise UserError(f"{what} is {address!r}; '..' is no folder in a bucket")
  missing = [name for name in ("gcsfs", "google.cloud.storage") if not _is_installed(name)]
  if missing:
    raise UserError(
      f"{what} is {address!r}; Google Cloud Storage needs packages that are not installed: {EXTRA}"
    )
  _prepare_orbax()
  return "/".join([f"gs://{match[1]}", *parts])


@functools.cache
def _prepare_orbax() -> None:
  """Chooses how Orbax reads and writes addresses: through epath, which uses gcsfs."""
  # epath would import TensorFlow instead if it is installed, which takes a GPU's memory.
  os.environ.setdefault("EPATH_USE_TF", "false")
  # gcsfs would keep listings, and not see what other processes and this module write.
  import fsspec

  fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False


def _is_installed(name: str) -> bool:
  try:
    return importlib.util.find_spec(name) is not None
  except ModuleNotFoundError:  # the package that it is in
    return False


def listing(address: str) -> dict[str, Found]:
  """The objects of a folder by their names in it; {"": object} if the address is an object's."""
  bucket, name = _split(address)
  prefix = f"{name}/" if name else ""
  with _errors(address, "read"):
    fields = "items(name,generation,size,crc32c),nextPageToken"
    blobs = _client().list_blobs(bucket, prefix=prefix, fields=fields)
    found = {blob.name[len(prefix) :]: _found(blob) for blob in blobs if blob.name[-1] != "/"}
    if not found and name:
      blob = _client().bucket(bucket).get_blob(name)
      found = {"": _found(blob)} if blob else {}
  return found


def folders(address: str) -> list[str]:
  """Names of the folders directly in a folder."""
  bucket, name = _split(address)
  prefix = f"{name}/" if name else ""
  with _errors(address, "read"):
    blobs = _client().list_blobs(bucket, prefix=prefix, delimiter="/")
    for _ in blobs.pages:  # the prefixes are complete after the last page
      pass
    return sorted(found[len(prefix) : -1] for found in blobs.prefixes)


def exists(address: str) -> bool:
  """Whether there is an object of this name."""
  with _errors(address, "read"):
    return _blob(address).exists()


def read(address: str) -> tuple[bytes, int] | None:
  """The content of an object and its generation; None if there is none."""
  from google.api_core import exceptions

  with _errors(address, "read"):
    blob = _blob(address)
    with contextlib.suppress(exceptions.NotFound):
      content = blob.download_as_bytes()
      return content, int(blob.generation)
  return None


def write(address: str, content: bytes, generation: int | None = None) -> int:
  """Writes an object; returns its generation.

  Args:
    address: of the object.
    content: all of it.
    generation: the generation that the object must have now, 0 for none; None is any.

  Raises:
    Changed: the object has another generation.
    UserError: it cannot be written.
  """
  with _errors(address, "written"):
    blob = _blob(address)
    blob.upload_from_string(
      content, content_type="application/octet-stream", if_generation_match=generation
    )
    return int(blob.generation)


def upload(path: str | os.PathLike, address: str, generation: int | None) -> int:
  """Copies a local file into an object; see `write`."""
  with _errors(address, "written"):
    blob = _blob(address)
    blob.upload_from_filename(os.fspath(path), if_generation_match=generation)
    return int(blob.generation)


def download(address: str, found: Found, path: str | os.PathLike) -> None:
  """Copies an object into a local file, which appears when it is complete.

  The file's time of modification becomes the generation in microseconds, so that a later call can
  tell whether the object has changed since (`is_copy`).

  Raises:
    UserError: the object cannot be read, was changed since the listing, or its bytes do not match
      the checksum.
  """
  path = os.fspath(path)
  temporary = f"{path}.{os.getpid()}.tmp"
  try:
    with _errors(address, "read"):
      os.makedirs(os.path.dirname(path), exist_ok=True)
      _blob(address).download_to_filename(
        temporary, if_generation_match=found.generation, checksum=None
      )
      if found.checksum is not None and _checksum(temporary) != found.checksum:
        raise Unavailable(f"{address}: the bytes that arrived do not match the checksum; try again")
      os.utime(temporary, ns=(found.generation * 1000, found.generation * 1000))
      os.replace(temporary, path)
  except Changed as error:
    raise UserError(f"{address} was changed while it was read; try again") from error
  finally:
    with contextlib.suppress(OSError):
      os.remove(temporary)


def is_copy(path: str | os.PathLike, found: Found) -> bool:
  """Whether a local file is an unchanged copy of an object, by its size and time."""
  try:
    status = os.stat(path)
  except OSError:
    return False
  return (status.st_size, status.st_mtime_ns // 1000) == (found.size, found.generation)


def delete(address: str, generation: int | None = None) -> None:
  """Deletes an object if there is one; see `write`."""
  from google.api_core import exceptions

  with _errors(address, "deleted"), contextlib.suppress(exceptions.NotFound):
    _blob(address).delete(if_generation_match=generation)


def copy_folder(source: str, target: str, last: str) -> None:
  """Copies all objects of a folder within a bucket; the one called `last` is copied last."""
  names = sorted(listing(source))
  with _errors(source, "copied"):
    bucket = _client().bucket(_split(source)[0])

    def copy(name: str) -> None:
      blob = _blob(f"{source}/{name}")
      bucket.copy_blob(blob, _client().bucket(_split(target)[0]), _split(f"{target}/{name}")[1])

    in_parallel(copy, [name for name in names if name != last])
    in_parallel(copy, [name for name in names if name == last])


def delete_folder(address: str, first: str = "") -> None:
  """Deletes all objects of a folder; the one called `first` is deleted first."""
  names = sorted(listing(address))
  in_parallel(lambda name: delete(f"{address}/{name}"), [n for n in names if n == first])
  in_parallel(lambda name: delete(f"{address}/{name}"), [n for n in names if n != first])


def in_parallel(action: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
  """Calls `action` with each item, several at a time; returns the results."""
  with concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
    return list(pool.map(action, items))


@functools.cache
def _client() -> Any:
  from google.cloud import storage

  return storage.Client()


def _split(address: str) -> tuple[str, str]:
  bucket, _, name = address.removeprefix("gs://").partition("/")
  return bucket, name


def _blob(address: str) -> Any:
  bucket, name = _split(address)
  return _client().bucket(bucket).blob(name)


def _found(blob: Any) -> Found:
  return Found(int(blob.generation), int(blob.size), blob.crc32c)


def _checksum(path: str) -> str:
  checksum = google_crc32c.Checksum()
  with open(path, "rb") as file:
    while piece := file.read(_PIECE):
      checksum.update(piece)
  return base64.b64encode(checksum.digest()).decode()


@contextlib.contextmanager
def _errors(address: str, verb: str) -> Iterator[None]:
  """Turns errors of the client library into one `UserError`, `Unavailable` or `Changed`."""
  import requests
  from google.api_core import exceptions
  from google.auth import exceptions as auth

  try:
    yield
  except exceptions.PreconditionFailed as error:
    raise Changed(address) from error
  except exceptions.Forbidden as error:
    raise UserError(f"{address} cannot be {verb}: no permission ({_reason(error)})") from error
  except auth.TransportError as error:  # no answer of the server that gives credentials
    raise Unavailable(f"{address} cannot be {verb} ({_reason(error)})") from error
  except auth.GoogleAuthError as error:
    raise UserError(
      f"{address} cannot be {verb}: no credentials ({_reason(error)}); on your own machine, run "
      "gcloud auth application-default login"
    ) from error
  except (exceptions.GoogleAPIError, requests.RequestException, OSError) as error:
    refused = isinstance(error, exceptions.ClientError) and not isinstance(
      error, exceptions.TooManyRequests
    )
    # Of this machine's own files, such as a full disk; errors of `requests` have no number.
    local = isinstance(error, OSError) and error.errno is not None and not is_temporary(error)
    kind = UserError if refused or local else Unavailable
    raise kind(f"{address} cannot be {verb} ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
  text = str(error).strip().splitlines()
  return (text[0] if text else type(error).__name__)[:200]
