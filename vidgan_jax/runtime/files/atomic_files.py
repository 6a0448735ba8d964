"""Files that are whole or not there."""

import contextlib
import os
import threading
from collections.abc import Iterator

from vidgan_jax.runtime.errors import UserError


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[str]:
  """Gives a temporary name in the folder of `path` that becomes `path` when the block ends well.

  The folder is created if need be. When the block raises, the temporary file is removed and `path`
  stays as it was.

  Raises:
    UserError: the folder or the file cannot be written.
  """
  path = os.path.abspath(os.fspath(path))
  folder, name = os.path.split(path)
  temporary = os.path.join(folder, f".{name}.{os.getpid()}.{threading.get_ident()}.tmp")
  try:
    os.makedirs(folder, exist_ok=True)
    yield temporary
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"{path}: cannot be written ({_reason(error)})") from error
  finally:
    with contextlib.suppress(OSError):
      os.remove(temporary)


def _reason(error: OSError) -> str:
  """What the system says, without the path, or the kind of error where it says nothing."""
  return (error.strerror or str(error) or type(error).__name__).splitlines()[0]
