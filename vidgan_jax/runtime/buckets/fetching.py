"""Copies of data in a bucket, in the user's cache folder.

Prepared sets are mapped into memory, and videos are read at random places, which a bucket does not
allow. So the first command on a machine copies the whole folder, and later ones copy only what has
changed. A local file is a current copy if it has the object's size and, as its time of
modification, the object's generation. New copies are compared with the object's checksum.
"""

import os
import shutil
import sys
import zlib

from vidgan_jax.runtime.buckets import objects
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks

_SPARE = 1 << 28  # bytes of the disk that are left free


def fetch(address: str, cache: str | None, what: str) -> str:
  """Copies a folder or an object into the cache; returns the local path.

  Processes on one machine take turns. Files that are no longer in the bucket are removed.

  Args:
    address: in normal form, see `objects.normal`.
    cache: the cache folder for copies; None if this user has none.
    what: the flag or field that the address comes from, for messages.

  Raises:
    UserError: there is no such folder or object, the bucket cannot be read, or the disk is too
      small.
  """
  if cache is None:
    raise UserError(f"{what} is {address!r}: no folder for copies; set XDG_CACHE_HOME to one")
  path = os.path.join(cache, address.removeprefix("gs://"))
  number = zlib.crc32(address.encode())
  with locks.held(cache, f"copy {address} to {cache}", name=f".{number:08x}.lock", wait=True):
    found = objects.listing(address)
    if not found:
      raise UserError(f"{what} is {address!r}: there is no such folder or file in the bucket")
    local = lambda name: os.path.join(path, name) if name else path
    missing = [name for name, each in found.items() if not objects.is_copy(local(name), each)]
    _check_room(sum(found[name].size for name in missing), cache, address)
    if missing:
      size = sum(found[name].size for name in missing)
      print(f"copying {len(missing)} files, {size / 1e9:.2f} GB: {address}", file=sys.stderr)
    _remove_others(path, found)
    copy = lambda name: objects.download(
      f"{address}/{name}" if name else address, found[name], local(name)
    )
    objects.in_parallel(copy, missing)
  return path


def _check_room(size: int, cache: str, address: str) -> None:
  """UserError if the disk has no room for `size` bytes."""
  free = shutil.disk_usage(cache).free
  if size and size + _SPARE > free:
    raise UserError(
      f"{address} has {size / 1e9:.1f} GB to copy to {cache}, where {free / 1e9:.1f} GB are free; "
      "set XDG_CACHE_HOME to a folder on a larger disk, or mount the bucket (gcsfuse) and give the "
      "local folder"
    )


def _remove_others(path: str, found: dict[str, objects.Found]) -> None:
  """Removes local files that are not in the bucket, so that the copy has the same files."""
  for folder, _, names in os.walk(path):
    for name in names:
      file = os.path.join(folder, name)
      if os.path.relpath(file, path) not in found:
        os.remove(file)
