"""Compiles one program in a process of its own; `compiler` starts it.

  python -m vidgan_jax.analysis.topology.worker FOLDER

The folder holds request.json: {"topology", "program", "config"}. This process writes into it

  lowered.json  once the program is traced: devices, warnings, seconds, files of the dump so far
  failed.json   if it cannot be traced or compiled: {"message", "bad_input"}

and XLA writes the dump. It is a process of its own because XLA reads its flags once, and because a
compiler that emits code, which takes most of the time and is not needed, can only be killed.
"""

import json
import os
import pathlib
import shutil
import sys
import threading
import time
from typing import Any

from vidgan_jax.analysis.topology import devices, names
from vidgan_jax.runtime.errors import UserError

REQUEST, LOWERED, FAILED, DUMP = "request.json", "lowered.json", "failed.json", "dump"


def write(path: pathlib.Path, content: Any) -> None:
  """Writes a JSON file that appears complete."""
  temporary = path.with_suffix(".part")
  temporary.write_text(json.dumps(content), encoding="utf-8")
  os.replace(temporary, path)


def run(folder: pathlib.Path) -> None:
  """Traces and compiles the program of the request.

  Raises:
    UserError: the config or the topology cannot be used.
  """
  from vidgan_jax.analysis.topology import programs
  from vidgan_jax.models import stored_config
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime.hardware import compilation, flops

  request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
  described = devices.describe(names.parse(request["topology"]))
  mesh = meshes.make_mesh(described)
  config = stored_config.from_json(request["config"])
  begin = time.perf_counter()
  lowered = programs.lower(request["program"], config, mesh)
  seconds = time.perf_counter() - begin
  device = mesh.devices.flat[0]
  options = compilation.options(device)  # may compile, so before the files are listed
  dump = folder / DUMP
  content = {
    "device_kind": device.device_kind,
    "processes": len({one.process_index for one in described}),
    "peak_flops": flops.peak_flops(device),
    "warnings": programs.mesh_warnings(mesh),
    "seconds": seconds,
    "begin": time.time(),
    "files": sorted(os.listdir(dump)) if dump.exists() else [],
  }
  write(folder / LOWERED, content)
  lowered.compile(options)


def _end_with_parent(folder: pathlib.Path, parent: int) -> None:
  """Ends this process and removes its folder when the process that started it is gone."""
  while os.getppid() == parent:
    time.sleep(1)
  shutil.rmtree(folder, ignore_errors=True)
  os._exit(1)


def main(folder: pathlib.Path) -> int:
  """Runs the request of a folder; returns the exit code."""
  threading.Thread(target=_end_with_parent, args=(folder, os.getppid()), daemon=True).start()
  try:
    run(folder)
  except Exception as error:
    bad_input = isinstance(error, UserError)
    message = str(error) if bad_input else f"{type(error).__name__}: {error}"
    write(folder / FAILED, {"message": message, "bad_input": bad_input})
    return 1
  return 0


if __name__ == "__main__":
  sys.exit(main(pathlib.Path(sys.argv[1])))
