"""Starts the compiler of a program in a process of its own, and ends it once memory is known."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

from vidgan_jax.analysis.cost.collectives import Collective, collectives_of_text
from vidgan_jax.analysis.topology import buffers, devices, layers, operations, worker
from vidgan_jax.analysis.topology.names import Topology
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import temporary

# The last file that XLA writes about memory; the others are complete when it appears.
_LAST = "-memory-usage-report.txt"
_EVERY = 0.2  # seconds between looks
_SHOWN = 3  # lines of the compiler's log in an error


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler said about a program.

  Attributes:
    device_kind: JAX's name of the device.
    processes: hosts that the topology has.
    peak_flops: of one device, FLOP/s; None if it is unknown.
    warnings: why training would refuse the devices.
    seconds_lowering: to trace the program.
    seconds_compiling: from there until buffers are assigned.
    memory: of one device.
    sources: JAX's names of the program's operations.
    collectives: communication of one run of the program.
    convolutions: number by form, see `operations.convolutions`.
    moves: operations that only move numbers, see `operations.moves`.
    recomputed: results computed twice to save memory, see `operations.recomputed`.
    refusal: the compiler's message if it refuses the program, such as for its memory; else "".
  """

  device_kind: str
  processes: int
  peak_flops: float | None
  warnings: tuple[str, ...]
  seconds_lowering: float
  seconds_compiling: float
  memory: buffers.Memory
  sources: layers.Sources
  collectives: tuple[Collective, ...]
  convolutions: dict[str, int]
  moves: dict[str, dict[str, int]]
  recomputed: dict[str, int]
  refusal: str


def compile_program(topology: Topology, program: str, config: str) -> Compiled:
  """Compiles a program up to the assignment of its buffers.

  Args:
    topology: devices that it is for.
    program: a name in `names.PROGRAMS`.
    config: the whole config as JSON, see `runtime.config.configuration.to_json`.

  Raises:
    UserError: the compiler is missing, knows no such topology or ends without a result; or training
      would refuse the config.
  """
  devices.check_installed(topology)
  with temporary.folder("vidgan_topology_") as name:
    folder = pathlib.Path(name)
    request = {"topology": topology.name, "program": program, "config": config}
    worker.write(folder / worker.REQUEST, request)
    with open(folder / "log", "wb") as log:
      process = subprocess.Popen(
        [sys.executable, "-m", worker.__name__, name],
        env=_environment(topology),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
      )
    try:
      while process.poll() is None and _dumped(folder) is None:
        time.sleep(_EVERY)
    finally:
      process.kill()
      process.wait()
    return _read(folder, topology, program, process.returncode)


def _environment(topology: Topology) -> dict[str, str]:
  """Of the process; Python finds the same packages as here."""
  changed = devices.variables(topology)
  # Relative to the process's folder: XLA splits its flags at spaces, which a path may have.
  changed["XLA_FLAGS"] += f" --xla_dump_to={worker.DUMP} --xla_dump_hlo_as_text"
  changed["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path if path)
  changed["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # a program from the cache has no dump
  return {**os.environ, **changed}


def _dumped(folder: pathlib.Path) -> pathlib.Path | None:
  """The last file of the program's dump, whose name begins as those of the others; or None."""
  if not (folder / worker.LOWERED).exists():
    return None
  before = json.loads((folder / worker.LOWERED).read_text(encoding="utf-8"))["files"]
  found = [p for p in (folder / worker.DUMP).glob(f"*{_LAST}") if p.name not in before]
  return max(found, key=lambda path: path.stat().st_size, default=None)


def _read(folder: pathlib.Path, topology: Topology, program: str, code: int) -> Compiled:
  """Reads what the process left in the folder."""
  refusal = ""
  if (folder / worker.FAILED).exists():
    failed = json.loads((folder / worker.FAILED).read_text(encoding="utf-8"))
    if failed["bad_input"]:
      raise UserError(failed["message"])
    refusal = failed["message"]
  last = _dumped(folder)
  if last is None:
    reason = refusal or _reason(folder, code)
    raise UserError(f"cannot compile the {program} for {topology.name}: {reason}")
  about = json.loads((folder / worker.LOWERED).read_text(encoding="utf-8"))
  base = str(last).removesuffix(_LAST)
  text = lambda suffix: pathlib.Path(base + suffix).read_text(encoding="utf-8", errors="replace")
  module = text(".txt")
  return Compiled(
    device_kind=about["device_kind"],
    processes=about["processes"],
    peak_flops=about["peak_flops"],
    warnings=tuple(about["warnings"]),
    seconds_lowering=about["seconds"],
    seconds_compiling=max(0.0, last.stat().st_mtime - about["begin"]),
    memory=buffers.read(
      text("-buffer-assignment.txt"), text("-live-range.txt"), topology.hardware.platform
    ),
    sources=layers.Sources(module),
    collectives=tuple(collectives_of_text(module)),
    convolutions=operations.convolutions(module),
    moves=operations.moves(module),
    recomputed=operations.recomputed(module),
    refusal=refusal,
  )


def _reason(folder: pathlib.Path, code: int) -> str:
  """Why the process ended without a result."""
  if code == -9:
    return "the compiler was killed, probably because this machine has too little memory"
  lines = (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines()
  shown = " | ".join(lines[-_SHOWN:])
  return f"the compiler ended with exit code {code}: {shown}"
