r"""Computes what the pins hold, in a process of its own.

  python -m tests.pins.compute PART OUT

The numbers depend on XLA's flags, the threads and the instruction set. So they are computed in a
process whose flags, given by `ENVIRONMENT`, are always the same: see `run`.
"""

import hashlib
import json
import os
import pathlib
import platform
import subprocess
import sys

import jax
import numpy as np

from vidgan_jax.runtime.hardware.cores import usable_cores

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAINING = ("training 0", "training 1")  # halves of the cases, computed side by side
PARTS = (*TRAINING, "scores", "parameters")

_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_multi_thread_eigen=false"]
if jax.__version_info__ < (0, 11):  # later versions end on a flag that they lack
  _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_ENABLE_X64": "0",
  "XLA_FLAGS": " ".join(_FLAGS),
  "OPENBLAS_NUM_THREADS": "1",
  "OMP_NUM_THREADS": "1",
}


def start(part: str, out) -> subprocess.Popen:
  """Starts computing a part; the process writes OUT.json and OUT.npz."""
  environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)}
  environment.pop("VIDGAN_JAX_REFERENCES", None)
  command = [sys.executable, "-m", "tests.pins.compute", part, str(out)]
  return subprocess.Popen(
    command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
  )


def run(folder) -> dict[str, tuple[dict, dict]]:
  """Computes all parts, two at a time.

  Returns:
    {part: (its JSON, its arrays)}; halves of the training are one part, "training".

  Raises:
    RuntimeError: a process ended with an error; holds its last lines.
  """
  outs = {part: pathlib.Path(folder) / part.replace(" ", "_") for part in PARTS}
  waiting, running, found = list(PARTS), {}, {}
  while waiting or running:
    while waiting and len(running) < 2:
      part = waiting.pop(0)
      running[part] = start(part, outs[part])
    part, process = next(iter(running.items()))
    for other, candidate in running.items():
      if candidate.poll() is not None:
        part, process = other, candidate
    try:
      _, error = process.communicate(timeout=0.5)
    except subprocess.TimeoutExpired:
      continue
    del running[part]
    if process.returncode:
      for other in running.values():
        other.kill()
      raise RuntimeError(f"computing {part!r} failed:\n{error[-3000:]}")
    with np.load(f"{outs[part]}.npz") as arrays:
      kept = dict(arrays)
    whole = found.setdefault("training" if part in TRAINING else part, ({}, {}))
    whole[0].update(json.loads(pathlib.Path(f"{outs[part]}.json").read_text()))
    whole[1].update(kept)
  return found


def machine() -> dict[str, str]:
  """What the pins were written with: versions, a digest of the CPU's instruction set, and cores."""
  flags = platform.processor() or platform.machine()
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith(("flags", "Features")))
  except (OSError, StopIteration):
    pass
  names = sorted(set(flags.partition(":")[2].split()))
  vectors = [name for name in names if name.startswith(("avx", "fma", "sse4", "asimd", "sve"))]
  jaxlib = __import__("jaxlib.version").version.__version__
  return {
    "jax": jax.__version__,
    "jaxlib": jaxlib,
    "numpy": np.__version__,
    "machine": platform.machine(),
    "cores": str(usable_cores()),
    "instructions": hashlib.sha256(" ".join(vectors).encode()).hexdigest()[:12],
  }


def main(part: str, out: str) -> None:
  """Computes a part and writes it."""
  arrays = {}
  if part in TRAINING:
    from tests.pins import experiments, training

    found = {}
    for name in list(experiments.CASES)[TRAINING.index(part) :: len(TRAINING)]:
      found[name], numbers = training.run(name)
      arrays |= {f"{name}/{kind}": array for kind, array in numbers.items()}
  elif part == "scores":
    from tests.pins import scores

    found = {"protocols": scores.fingerprints(), "embedded": scores.embedded()}
  else:
    from tests.pins import parameters

    found = {**parameters.parameters(), "summaries": parameters.summaries()}
  pathlib.Path(f"{out}.json").write_text(json.dumps(found))
  np.savez_compressed(f"{out}.npz", **arrays)


if __name__ == "__main__":
  main(*sys.argv[1:])
