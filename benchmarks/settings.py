"""What is measured, and how it is told: shared by the benchmarks."""

import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
  sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402

from configs import dvd_gan  # noqa: E402
from vidgan_jax.runtime import door  # noqa: E402
from vidgan_jax.runtime.config import configuration  # noqa: E402
from vidgan_jax.runtime.errors import UserError  # noqa: E402

flags.disclaim_key_flags()  # --help of a benchmark lists those defined here for it

_PACKAGES = "jax jaxlib flax optax numpy pillow simplejpeg tensorflow torch".split()


def get_config(channels: int = 16, precision: str = "float32", savings: bool = True):
  """Returns DVD-GAN at 64x64x12, `kinetics600_64x12` on a CPU's scale.

  Args:
    channels: ch of the generator and of the discriminators, 128 in the paper.
    precision: "float32" or "float64".
    savings: see `config.model.savings`.
  """
  config = dvd_gan.get_config("kinetics600_64x12")
  with config.unlocked():
    config.batch_size = 2
    config.precision = precision
    config.model.num_classes = 101
    config.model.generator.channels = config.model.discriminator.channels = channels
    config.model.savings = savings
  return config


def define_results():
  """Defines the flag --results; a file that cannot be written is refused with the flags."""
  flag = flags.DEFINE_string(
    "results", str(ROOT / "benchmarks" / "results.jsonl"), "File a line is appended to."
  )
  flags.register_validator("results", _writable)
  return flag


def _writable(path: str) -> bool:
  """True; a flag's error where nothing can be appended to `path`, which is left as it is."""
  try:
    if pathlib.Path(path).exists():
      open(path, "a", encoding="utf-8").close()
    else:
      tempfile.TemporaryFile(dir=pathlib.Path(path).parent).close()
  except OSError as error:
    raise flags.ValidationError(f"cannot be written: {error.strerror or error}") from error
  return True


def above_zero(*names: str) -> None:
  """Refuses values of these flags that are no number above 0; None is left to the program."""
  for name in names:
    flags.register_validator(
      name, lambda value: value is None or 0 < value < math.inf, "must be a number above 0"
    )


def config_hash(config) -> str:
  """Twelve digits that stand for a config."""
  return hashlib.sha256(configuration.to_json(config).encode()).hexdigest()[:12]


def cores() -> int:
  """Processor cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_name() -> str:
  """What the processor calls itself."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def versions() -> dict:
  """Versions of Python and of the packages that matter, None where one is absent."""
  found = {"python": platform.python_version()}
  for package in _PACKAGES:
    try:
      found[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      found[package] = None
  return found


def answer(result: dict) -> None:
  """Prints what a worker measured, for `in_fresh_process` to read."""
  print(json.dumps(result))


def in_fresh_process(program: str, worker: str, environment=None, flags_of=None) -> dict:
  """Runs `program` again, in a process of its own, with --worker=`worker`.

  Args:
    program: a benchmark's file.
    worker: what it should measure.
    environment: variables besides this process'.
    flags_of: flags to hand on; by default all that this process was given.

  Returns:
    what the worker gave to `answer`.

  Raises:
    UserError: where it failed, with the end of what it said.
  """
  given = sys.argv[1:] if flags_of is None else [f"--{f.name}={f.value}" for f in flags_of]
  command = [sys.executable, os.path.abspath(program), *given, f"--worker={worker}"]
  done = subprocess.run(
    command, env={**os.environ, **(environment or {})}, capture_output=True, text=True
  )
  if done.returncode:
    raise UserError(f"{worker} failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def append(path: str, benchmark: str, result: dict) -> None:
  """Appends a line of JSON with the date, the machine and the versions.

  Where it cannot, it prints the line, so that nothing is lost, and raises UserError.

  Args:
    path: file of lines.
    benchmark: name of the program.
    result: what it measured.
  """
  record = {
    "benchmark": benchmark,
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "cpu": cpu_name(),
    "cores": cores(),
    "versions": versions(),
    **result,
  }
  line = json.dumps(record)
  try:
    with open(path, "a", encoding="utf-8") as file:
      file.write(line + "\n")
  except OSError as error:
    door.report(line)
    raise UserError(f"cannot write {path}: {error}") from error


def show(table: list[list[str]]) -> None:
  """Prints the versions and rows of text, the first being the head, as a Markdown table."""
  found = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
  door.report(f"\n{datetime.date.today()}; {found}\n")
  widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
  line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
  for row in [table[0], ["-" * width for width in widths], *table[1:]]:
    door.report(line(row))


def run_all(program: str, names: list[str], line, columns: str) -> None:
  """Measures one case after the other in fresh processes, and shows the table.

  A case that fails, or whose line cannot be appended, does not take the table with it.

  Args:
    program: a benchmark's file, which also names the benchmark.
    names: of the cases, as its --worker takes them.
    line: makes the table's row, one text per column, of a result.
    columns: their names, by spaces.

  Raises:
    UserError: at the end, where cases failed.
  """
  table, failed = [columns.split()], []
  for name in names:
    try:
      result = in_fresh_process(program, name)
      table.append(line(result))
      append(flags.FLAGS.results, pathlib.Path(program).stem, result)
    except UserError as error:
      door.report(str(error))
      failed.append(name)
      continue
    door.report(f"{name} on {result['device']}: done")
  show(table)
  if failed:
    raise UserError(f"failed: {', '.join(failed)}")


def chosen(names: list[str], known) -> list[str]:
  """The cases a flag names; UserError where one is not known."""
  names = [name.strip() for name in names]
  for name in names:
    if name not in known:
      raise UserError(f"unknown case {name!r}; known: {', '.join(known)}")
  return names
