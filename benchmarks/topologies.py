"""Compiles ten configs for six kinds of hardware that need not be here; writes docs/topologies.md.

  pip install 'vidgan_jax[compile-tpu,compile-cuda]'   # in an environment of its own
  python benchmarks/topologies.py            # compiles what is left; hours
  python benchmarks/topologies.py --only=tgan:svc,h200:1
  python benchmarks/topologies.py --dry_run  # lists what is left
  python benchmarks/topologies.py page       # writes the page
  python benchmarks/topologies.py estimate   # repeats the estimates, compiles nothing

A cell is a config and a topology. Its settings are tried from the cheapest to the one that saves
most memory, until a setting fits:

  several devices   replicated; zero1 with conv_outputs; zero1 with block_inputs and 8 chunks
  one device        nothing; conv_outputs; block_inputs and 16 chunks
  TGAN, without remat     replicated; zero1

Each attempt runs `vidgan summarize --topology --programs=iteration` in a process of its own, one at
a time, and appends one line of JSON to --results. Beside the compiler's numbers it has the estimate
of `vidgan summarize` without --topology. A setting is not compiled if its estimate with
recomputation, `least_gib`, is more than 1.15 times the device's memory: compilers have needed up to
7 % less than `least_gib`. An interrupted run continues where it was. After an attempt that takes
longer than --limit comes the next setting: most often, the compiler searches for a way to fit the
program. A higher --limit repeats the attempt.

Exit codes: 0 done, 2 bad input, or another run writes the same file.
"""

import contextlib
import datetime
import fcntl
import functools
import importlib.metadata
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import settings  # first: it makes the package importable
import topology_page
from absl import flags
from topology_cells import (
  CONFIGS,
  TARGETS,
  Setting,
  cells,
  finished,
  next_setting,
  read,
  settings_of,
)

from vidgan_jax.analysis.topology import names
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

HOPELESS = 1.15  # times the device's memory: if `least_gib` is above, nothing is compiled
# The part of the memory that a program may fill before the compiler computes results again: XLA's
# GpuCompiler sets 80 %.
_USABLE = {"gpu": 0.8, "tpu": 1.0}
_PACKAGES = "jax jaxlib libtpu jax-cuda12-pjrt jax-cuda13-pjrt".split()
_GIB = 2**30
_WAIT = 20  # seconds between looks at the free memory
_BUFFERS = 5  # largest buffers that a line keeps

_RESULTS = flags.DEFINE_string(
  "results", str(settings.ROOT / "benchmarks" / "topologies.jsonl"), "File of the attempts."
)
_PAGE = flags.DEFINE_string("page", str(settings.ROOT / "docs" / "topologies.md"), "Page to write.")
_ONLY = flags.DEFINE_list("only", [], "Configs and topologies to compile, separated by commas.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "List the cells that are left; compile nothing.")
_COMMAND = flags.DEFINE_string(
  "command", f"{shlex.quote(sys.executable)} -m vidgan_jax", "The command vidgan."
)
_MINUTES = schema.define(
  "minutes", schema.number(None, "Start no attempt after this time.", least=0, most=1_000_000)
)
_LIMIT = schema.define(
  "limit", schema.number(20.0, "Minutes of one attempt.", least=0, above=True, most=10_000)
)
_MEMORY = schema.define(
  "memory",
  schema.number(
    10.0, "GiB of memory that must be free before a compiler starts.", least=0, most=9e3
  ),
)
_PATIENCE = schema.define(
  "patience", schema.number(30.0, "Minutes to wait for free memory.", least=0, most=10_000)
)


def run_command(arguments: list[str], minutes: float) -> tuple[int | None, str, str]:
  """Runs `vidgan` with arguments.

  Returns:
    (exit code, or None if the time was over; stdout; stderr)
  """
  command = [*shlex.split(_COMMAND.value), *arguments]
  environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
  if shutil.which(command[0]) is None:
    raise UserError(f"--command={_COMMAND.value}: no such command")
  with subprocess.Popen(
    command,
    cwd=settings.ROOT,  # Python then finds the package of this tree first
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  ) as process:
    try:
      output, errors = process.communicate(timeout=minutes * 60)
    except subprocess.TimeoutExpired:
      process.kill()  # the compiler's process ends when this one is gone
      process.communicate()
      return None, "", ""
    except BaseException:  # Ctrl-C or SIGTERM
      process.kill()
      raise
  return process.returncode, output, errors


@functools.cache
def costs(config: str, *options: str) -> dict:
  """What `vidgan summarize` says about a config without --topology.

  Raises:
    UserError: it fails.
  """
  arguments = ["summarize", f"--config={config}", "--json", *options]
  code, output, errors = run_command(arguments, _LIMIT.value)
  if code != 0:
    raise UserError(f"{' '.join(arguments)}: {_message(errors) or f'exit code {code}'}")
  return json.loads(output)


@functools.cache
def _state_bytes(config: str, devices: int) -> int:
  """Bytes of state on each device with zero1, from `vidgan summarize --devices`."""
  arguments = ["summarize", f"--config={config}", f"--devices={devices}", "--config.sharding=zero1"]
  _, output, errors = run_command(arguments, _LIMIT.value)
  found = re.search(r"([\d,.]+) MB on each of", output)
  if not found:
    raise UserError(f"{' '.join(arguments)}: {_message(errors) or 'prints no size of the state'}")
  return int(float(found[1].replace(",", "")) * 1e6)


def estimate(config: str, target: str, setting: Setting) -> dict | None:
  """GiB on one device by the estimates of `vidgan summarize`, for this setting and topology.

  The command counts one device, so it is asked about the clips that one device gets. With zero1 the
  state is the part that --devices prints, besides earlier stages, and the gradients are split too;
  all weights are gathered in bfloat16 when an update begins.

  Returns:
    {"kept_gib": state, gradients and the activations that an update keeps; "most_gib": what exists
    at the fullest moment, with enough memory; "least_gib": the same if the compiler recomputes
    elementwise results; "peak_gib": `most_gib`, but at most what the compiler may use of the
    device's memory, and never less than `least_gib`}; None if the devices cannot share the batch.
  """
  devices = names.parse(target).devices
  clips, rest = divmod(costs(config)["batch_size"], devices)
  if rest:
    return None
  try:
    cost = costs(config, f"--batch_size={clips}", *setting.of_one_device)
  except UserError:  # TGANv2 needs a multiple of 8 clips; training refuses this topology too
    return None
  static = cost["static_bytes"]
  gradients = static["gradients"]
  whole = static["total"] - gradients
  state, gathered = whole, 0
  if setting.sharding == "zero1":
    state = _state_bytes(config, devices) + static.get("earlier stages", 0)
    gradients, gathered = gradients // devices, static["parameters"] // 2  # from 4 to 2 bytes
  kept = state + gradients + cost["activations"][setting.remat or "none"]["batch_bytes"]
  hardware = names.parse(target).hardware
  assert hardware.memory
  of_device = cost["peak_bytes"][hardware.platform]
  most, least = (state - whole + gathered + of_device[part] for part in ("total", "least"))
  usable = hardware.memory * _USABLE[hardware.platform]
  sizes = {"kept": kept, "most": most, "least": least, "peak": max(least, min(most, usable))}
  return {f"{name}_gib": round(size / _GIB, 3) for name, size in sizes.items()}


def attempt(config: str, target: str, setting: Setting) -> dict:
  """Compiles one setting of a cell; returns its line."""
  topology = names.parse(target)
  line = {
    "config": config,
    "target": target,
    "setting": setting.name,
    "options": setting.options,
    "date": datetime.date.today().isoformat(),
    "commit": _commit(),
    "versions": _versions(),
    "data": {k: costs(config)[k] for k in ("frames", "resolution", "discriminator_steps")},
    "estimate": estimate(config, target, setting),
  }
  assert topology.hardware.memory
  limit = topology.hardware.memory / _GIB
  if line["estimate"] and line["estimate"]["least_gib"] > HOPELESS * limit:
    return line | {"outcome": "skipped", "limit_gib": round(limit, 3)}
  _wait_for_memory()
  print(f"{_now()} {config} {target} {setting.name}", flush=True)
  begin = time.monotonic()
  arguments = ["summarize", f"--config={config}", f"--topology={target}", "--json"]
  arguments += ["--programs=iteration", *setting.options]
  code, output, errors = run_command(arguments, _LIMIT.value)
  line["seconds"] = round(time.monotonic() - begin, 1)
  if code is None:
    return line | {"outcome": "time", "limit_minutes": _LIMIT.value}
  if code != 0:
    return line | _refused(_message(errors) or f"exit code {code}")
  return line | _compiled(json.loads(output))


def _refused(message: str) -> dict:
  """The outcome of a command that ended with an error."""
  if re.search("RESOURCE_EXHAUSTED|[Oo]ut of memory", message):
    return {"outcome": "too large", "message": message[:500]}
  compiler = message.startswith("cannot compile the ")
  return {"outcome": "failed" if compiler else "refused", "message": message[:500]}


def _compiled(result: dict) -> dict:
  """The outcome of a command that printed the result of `analysis.topology.report`."""
  programs = result["programs"]
  gib = lambda size: round(size / _GIB, 3)
  iteration = programs["iteration"]
  kept = ("processes", "devices", "device_kind", "batch_size", "precision", "warnings")
  buffers = iteration["buffers"][:_BUFFERS]
  return {
    "outcome": "fits" if all(p["fits"] for p in programs.values()) else "too large",
    **{name: result[name] for name in kept},
    "limit_gib": gib(result["memory_bytes"]),
    "margin_gib": gib(iteration["margin_bytes"]),
    **{
      f"{part}_gib": gib(iteration[f"{part}_bytes"])
      for part in ("peak", "argument", "temporary", "padding")
    },
    "refusals": {n: p["refusal"][:300] for n, p in programs.items() if p["refusal"]},
    "collectives": iteration["collectives"],
    "recomputed": iteration["recomputed"],
    "largest": [
      f"{b['bytes'] / 2**20:.0f} MiB {b['shape']} {b['layer']}: {b['operation']}, {b['pass']}"
      for b in buffers
    ],
    "tflop_per_device": result["tflop_per_device"],
    "floor_seconds": result["floor_seconds"],
    "seconds_by_program": {
      n: [p["seconds_lowering"], p["seconds_until_buffer_assignment"]] for n, p in programs.items()
    },
  }


def _message(errors: str) -> str:
  """The text of the last line `error: ...`."""
  found = re.findall(r"^error: (.*)$", errors, re.MULTILINE)
  return found[-1] if found else ""


def _now() -> str:
  return datetime.datetime.now().strftime("%H:%M:%S")


@functools.cache
def _versions() -> dict[str, str]:
  found = {}
  for package in _PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[package] = importlib.metadata.version(package)
  return found


@functools.cache
def _commit() -> str:
  command = ["git", "-C", str(settings.ROOT), "rev-parse", "--short", "HEAD"]
  return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _free_gib() -> float | None:
  """Memory that programs can still take, in GiB; None if the system does not say."""
  try:
    text = pathlib.Path("/proc/meminfo").read_text(encoding="ascii")
  except OSError:
    return None
  found = re.search(r"MemAvailable:\s+(\d+) kB", text)
  return int(found[1]) * 1024 / _GIB if found else None


def _wait_for_memory() -> None:
  """Returns when enough memory is free; UserError after --patience minutes."""
  end = time.monotonic() + _PATIENCE.value * 60
  while (free := _free_gib()) is not None and free < _MEMORY.value:
    if time.monotonic() >= end:
      raise UserError(
        f"only {free:.1f} GiB of memory are free; --memory={_MEMORY.value:g} asks more"
      )
    time.sleep(min(_WAIT, max(0.0, end - time.monotonic())))


@contextlib.contextmanager
def _alone(path: pathlib.Path) -> Iterator[Callable[[dict], None]]:
  """Opens the file for appending, for this process alone; gives a function that adds a line."""
  try:
    file = open(path, "a+", encoding="utf-8")
  except OSError as error:
    raise UserError(f"--results={path}: cannot be written: {error.strerror}") from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      raise UserError(f"another run writes {path}") from error
    whole = [json.dumps(line) + "\n" for line in read(path)]
    if path.stat().st_size and not path.read_text(encoding="utf-8").endswith("\n"):
      file.truncate(0)  # a killed run left half a line
      file.writelines(whole)
      file.flush()

    def append(line: dict) -> None:
      file.write(json.dumps(line) + "\n")
      file.flush()

    yield append


def _chosen() -> list[tuple[str, str]]:
  """The cells of --only."""
  unknown = [name for name in _ONLY.value if name not in CONFIGS and name not in TARGETS]
  if unknown:
    known = ", ".join([*CONFIGS, *TARGETS])
    raise UserError(f"--only: unknown {', '.join(unknown)}; known: {known}")
  configs = {name for name in _ONLY.value if name in CONFIGS} or set(CONFIGS)
  targets = {name for name in _ONLY.value if name in TARGETS} or set(TARGETS)
  return [(c, t) for c, t in cells() if c in configs and t in targets]


def compile_all() -> None:
  """Compiles the cells that are left, or lists them with --dry_run."""
  chosen, path = _chosen(), pathlib.Path(_RESULTS.value)
  if _DRY_RUN.value:
    attempts = read(path)
    left = [(c, t, next_setting(c, t, attempts, _LIMIT.value)) for c, t in chosen]
    left = [f"{c} {t}: {setting.name}" for c, t, setting in left if setting]
    print("\n".join([*left, f"{len(left)} of {len(chosen)} cells are left"]))
    return
  end = None if _MINUTES.value is None else time.monotonic() + _MINUTES.value * 60
  with _alone(path) as append:
    attempts = read(path)
    for config, target in chosen:
      while setting := next_setting(config, target, attempts, _LIMIT.value):
        if end is not None and time.monotonic() >= end:
          print("the time of --minutes is over")
          return
        line = attempt(config, target, setting)
        append(line)
        attempts.append(line)
        what = [f"{_now()} {config} {target} {setting.name}: {line['outcome']}"]
        what += [f"{line[k]} {unit}" for k, unit in _SHOWN.items() if k in line]
        print(", ".join(what), flush=True)


_SHOWN = {"peak_gib": "GiB", "seconds": "s", "message": ""}


def repeat_estimates() -> None:
  """Replaces the estimates in the file by those of the present code."""
  path = pathlib.Path(_RESULTS.value)
  _attempts()  # before the file is opened, which would create it
  with _alone(path):
    lines = read(path)
    for line in lines:
      (setting,) = (
        s for s in settings_of(line["config"], line["target"]) if s.name == line["setting"]
      )
      line["estimate"] = estimate(line["config"], line["target"], setting)
      cell = f"{line['config']} {line['target']} {line['setting']}"
      print(f"{cell}: {line['estimate']}, compiled {line.get('peak_gib')}", flush=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _attempts() -> list[dict]:
  """The attempts in the file; UserError if there is none."""
  attempts = read(pathlib.Path(_RESULTS.value))
  if not attempts:
    raise UserError(f"--results={_RESULTS.value}: has no attempts yet")
  return attempts


def write_page() -> None:
  """Writes the page from the file."""
  page = pathlib.Path(_PAGE.value)
  attempts = _attempts()
  every = [(config, target) for config in CONFIGS for target in TARGETS]
  done = {cell: finished(*cell, attempts) for cell in every}
  table = topology_page.render(attempts, done)
  try:
    page.write_text(table, encoding="utf-8")
  except OSError as error:
    raise UserError(f"--page={page}: cannot be written: {error.strerror}") from error
  print(f"written: {page}")


_WHAT = {"page": write_page, "estimate": repeat_estimates}
_WORD = sys.argv[1] if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else ""


def main(argv):
  """Does what the word at the beginning of the command line says, or compiles."""
  del argv
  if _WORD in _WHAT:
    door.check_unused(("only", "dry_run", "minutes"), f"with {_WORD}")
    _WHAT[_WORD]()
  elif _WORD:
    raise UserError(f"unknown word {_WORD!r}; known: {', '.join(_WHAT)}")
  else:
    compile_all()


if __name__ == "__main__":
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
  door.run(main, [sys.argv[0], *sys.argv[2 if _WORD else 1 :]])
