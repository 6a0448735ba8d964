"""Signs of life of a training process, and messages when another process shows none.

If one of several processes dies or hangs, the others wait for it within an iteration, without a
message, until JAX ends them. So each process writes a small file into WORKDIR/alive every few
seconds, from a thread of its own:

  alive/INDEX.json    {"host", "pid", "beat", "iteration", "doing"}

Process 0 reads the files of all others, process 1 that of process 0. Times are those between two
changes of a file as the reading process sees them, so the clocks of the machines need not agree.
Programs outside may watch the folder: its time of modification changes with every beat. A process
that ends in order removes its file; one that fails says so in it; one that is killed leaves it.

JAX may end a process with an error although another process is the cause. After such an error, a
process without a sign of life is therefore reported first, and after a shorter silence than usual.

If process 0 is killed, JAX ends the others, most often at once, with a message about "the leader
task". All of them say at the start on which machine process 0 is; see `announced`.

On CPUs the others do not wait: their exchange of numbers fails at once, with an error that names a
network address at most. They then look at the files for a moment and report which process it was.

If the run is in a bucket, its processes share no folder. Each then writes its file as an object,
less often, and copies the objects of those that it watches into its own folder.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import jax

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import objects, staged
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.files import json_files
from vidgan_jax.runtime.files.atomic_files import atomic_file

FOLDER = "alive"
EVERY = 5.0  # seconds between beats
SILENT = 30.0  # seconds without a beat after which a process is reported
STALLED = 50.0  # seconds without a new iteration after which the processes are compared
IN_BUCKET = 6  # factor on the times between beats in a bucket, where each write costs money
_FAILED = "failed:"  # begins what a process "does" that an error has ended
# Names of JAX's error, also where another process has died; older versions have the second one.
_OF_JAX = ("JaxRuntimeError", "XlaRuntimeError")
# If such an error ends a process, another one is reported after _GONE beats without a sign of life.
# The one with the error is reported _LATER beats after that, but after _LONGEST seconds at most.
_GONE, _LATER, _LONGEST = 3.0, 2.0, 60.0
_SHORT = ("starting", "input")  # what should not hold up the others
_FORM = {"host": str, "pid": int, "beat": int, "iteration": int, "doing": str}


@dataclasses.dataclass
class _Seen:
  """What is known of another process."""

  beat: int = -1
  since: float = 0.0  # when the last change of `beat` was seen
  reported: bool = False  # whether its silence or its error was reported
  content: dict[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def failed(self) -> bool:
    """Whether an error has ended it."""
    return self.content.get("doing", "").startswith(_FAILED)

  @property
  def failed_in_jax(self) -> bool:
    """Whether that was an error of JAX, of which another process may be the cause."""
    return self.failed and self.content["doing"].endswith(_OF_JAX)


@contextlib.contextmanager
def announced(workdir: str | os.PathLike, report: Callable[[str], None]) -> Iterator[None]:
  """Prepares the folder for a `Heartbeat` of each process. Collective.

  Each process removes the file that an earlier start has left, so that nobody takes it for a sign
  of life. All processes but process 0 report on which machine that one is.

  Args:
    workdir: folder of the run, which all processes share.
    report: called with a line.
  """
  if jax.process_count() > 1:
    index = jax.process_index()
    folder = pathlib.Path(workdir) / FOLDER
    _remove(folder, index, staged.address(folder))
    leader = processes.text_from_first(f"{socket.gethostname()} (pid {os.getpid()})")
    if index:
      report(f"process 0, which JAX calls the leader task, is on {leader}")
  yield


def _remove(folder: pathlib.Path, index: int, address: str | None) -> None:
  """Removes a process's file, and its object in the folder's address in a bucket."""
  with contextlib.suppress(OSError):
    (folder / f"{index}.json").unlink()
  if address is not None:
    with contextlib.suppress(UserError):
      objects.delete(f"{address}/{index}.json")


class Heartbeat:
  """Writes this process's file while a `with` block runs, and watches the others'.

  Args:
    workdir: folder of the run, which all processes share.
    index: number of this process.
    count: number of processes.
    report: called with a line about a process that dies, hangs or comes back.
    every: seconds between beats.
    silent: seconds without a beat after which a process is reported.
    stalled: seconds without a new iteration after which the processes are compared.
  """

  def __init__(
    self,
    workdir: str | os.PathLike,
    index: int,
    count: int,
    report: Callable[[str], None],
    *,
    every: float = EVERY,
    silent: float = SILENT,
    stalled: float = STALLED,
  ):
    self._folder, self._index, self._count = pathlib.Path(workdir) / FOLDER, index, count
    self._report = report
    # Where the other processes read: the address of the folder in a bucket.
    self._address = staged.address(self._folder) if count > 1 else None
    slower = 1 if self._address is None else IN_BUCKET
    self._every, self._silent, self._stalled = every * slower, silent * slower, stalled
    watched = range(1, count) if index == 0 else range(1) if index == 1 else ()
    self._seen = {other: _Seen() for other in watched}
    self._state = (0, "starting")  # iteration, and what the process does in it
    self._moved = time.monotonic()  # when `_state` changed
    self._reported_stall = False
    self._beat = 0
    self._end = threading.Event()
    self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

  def at(self, iteration: int | None, doing: str) -> None:
    """Says which iteration this process is in, None for the same one, and what it does there."""
    iteration = self._state[0] if iteration is None else iteration
    if (iteration, doing) != self._state:
      self._state, self._moved, self._reported_stall = (iteration, doing), time.monotonic(), False

  def __enter__(self) -> Self:
    """Writes the first beat."""
    self._write()
    for seen in self._seen.values():
      seen.since = time.monotonic()
    self._thread.start()
    return self

  def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
    """Removes this process's file, or writes that it fails, if others may wait for it.

    If the error may come from another process, waits until that one is known, and reports it.
    """
    self._end.set()
    self._thread.join()
    if self._count > 1 and kind is not None and not issubclass(kind, Stopped):
      self.at(None, f"{_FAILED} {kind.__name__}")
      self._write()
      if kind.__name__ in _OF_JAX:
        with contextlib.suppress(Exception):
          self._report_cause()
      return
    _remove(self._folder, self._index, self._address)
    with contextlib.suppress(OSError):
      self._folder.rmdir()  # fails while others have files in it

  def _file(self, index: int) -> pathlib.Path:
    return self._folder / f"{index}.json"

  def _run(self) -> None:
    while not self._end.wait(self._every):
      self._write()
      # The beats go on if a line cannot be printed.
      with contextlib.suppress(Exception):
        self._look()
        self._compare()

  def _write(self) -> None:
    self._beat += 1
    iteration, doing = self._state
    content = {"host": socket.gethostname(), "pid": os.getpid(), "beat": self._beat}
    content |= {"iteration": iteration, "doing": doing}
    # Training does not need this file: a full disk must not end it here.
    with contextlib.suppress(Exception):
      self._folder.mkdir(exist_ok=True)
      with atomic_file(self._file(self._index)) as temporary:
        pathlib.Path(temporary).write_text(json.dumps(content) + "\n", encoding="utf-8")
      if self._address is not None:
        objects.write(f"{self._address}/{self._index}.json", self._file(self._index).read_bytes())

  def _look(self, *, errors_of_jax: bool = True) -> None:
    """Reads the other processes' files; reports those that are silent, have failed or come back.

    Args:
      errors_of_jax: whether to report processes that an error of JAX has ended.
    """
    for index, seen in self._seen.items():
      self._read_again(index, seen)
    now = time.monotonic()
    # What may have caused the errors of JAX comes first.
    for index, seen in sorted(self._seen.items(), key=lambda item: item[1].failed_in_jax):
      if seen.failed_in_jax and not errors_of_jax:
        continue
      if seen.content and not seen.reported and now - seen.since >= self._limit(seen):
        seen.reported = True
        where = f"WARNING: process {index} on {_describe(seen.content)}"
        silence = (
          f"has shown no sign of life for {now - seen.since:.0f} s: it has died or hangs, or its "
          "machine does"
        )
        self._report(f"{where}; its own output says why" if seen.failed else f"{where} {silence}")

  def _read_again(self, index: int, seen: _Seen) -> None:
    """Reads a process's file; reports if a process that was reported is back."""
    content = self._read(index)
    if content and content["beat"] != seen.beat:
      if seen.reported:
        self._report(f"process {index} on {content['host']} is alive again")
      seen.beat, seen.content = content["beat"], content
      seen.since, seen.reported = time.monotonic(), False
    elif seen.content and not content and not seen.reported:  # it has removed its file
      seen.content, seen.beat = {}, -1

  def _limit(self, seen: _Seen) -> float:
    """Seconds without a beat after which a process is reported."""
    others = [other for other in self._seen.values() if other is not seen]
    gone = min(self._silent, _GONE * self._every)
    if not seen.failed:
      return gone if any(other.failed_in_jax for other in others) else self._silent
    if not seen.failed_in_jax:
      return 0.0
    if any(other.reported and not other.failed_in_jax for other in others):
      return float("inf")  # that one is the cause
    if not any(other.content and not other.failed for other in others):
      return 0.0  # no other can be the cause
    return min(gone + _LATER * self._every, _LONGEST)

  def _read(self, index: int) -> dict[str, Any]:
    """The content of a process's file; empty if it has not begun, has ended, or is just writing."""
    try:
      if self._address is not None:
        self._copy_object(index)
      return json_files.read(self._file(index), _FORM)
    except Exception:
      return {}

  def _copy_object(self, index: int) -> None:
    """Copies the object of a process that is in a bucket into the local folder."""
    found = objects.read(f"{self._address}/{index}.json")
    if found is None:
      self._file(index).unlink(missing_ok=True)
    else:
      self._file(index).write_bytes(found[0])

  def _report_cause(self) -> None:
    """Reports the first process that shows no sign of life, or has failed by an error of its own.

    One that fails by an error of JAX is not reported: it is in the same position as this one.
    """
    self._silent = _GONE * self._every
    end = time.monotonic() + self._silent + self._every
    while time.monotonic() < end and not any(seen.reported for seen in self._seen.values()):
      self._look(errors_of_jax=False)
      if all(seen.failed_in_jax for seen in self._seen.values()):
        return
      time.sleep(self._every / 10)

  def _compare(self) -> None:
    """Reports which processes are behind if this one has not moved for a while in an iteration.

    A process that saves, draws samples or compiles may take long, and is not reported.
    """
    iteration, doing = self._state
    waited = time.monotonic() - self._moved
    if not self._seen or self._reported_stall or doing != "training" or waited < self._stalled:
      return
    self._reported_stall = True
    behind = [
      f"process {index} on {_describe(seen.content)}"
      for index, seen in self._seen.items()
      if seen.content and seen.content["iteration"] <= iteration and seen.content["doing"] in _SHORT
    ]
    if behind:
      self._report(
        f"WARNING: iteration {iteration} has not ended for {waited:.0f} s, and "
        f"{'; '.join(behind[:8])}{'; ...' if len(behind) > 8 else ''}"
      )


def _describe(content: dict[str, Any]) -> str:
  """The host of a process, its number there, and what it does."""
  return (
    f"{content['host']} (pid {content['pid']}, iteration {content['iteration']}, "
    f"{content['doing']})"
  )
