"""Shared by the benchmarks: flags, inputs, fresh processes, tables and the file of results."""

import datetime
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
  sys.path.insert(0, str(ROOT))

from absl import flags  # noqa: E402

from configs import dvd_gan  # noqa: E402
from vidgan_jax.runtime import door  # noqa: E402
from vidgan_jax.runtime.config import configuration  # noqa: E402
from vidgan_jax.runtime.errors import UserError  # noqa: E402

# --help of a benchmark then lists the flags that it defines through this module.
flags.disclaim_key_flags()

_PACKAGES = "jax jaxlib flax optax numpy pillow simplejpeg tensorflow torch".split()


def get_config(channels: int = 16, precision: str = "float32", savings: bool = True):
  """Returns DVD-GAN at 64x64 and 12 frames, `kinetics600_64x12`, small enough for a CPU.

  Args:
    channels: base width "ch" of the generator and of the discriminators, 128 in the paper.
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
  """Defines the flag --results. Parsing the flags fails if the file cannot be written."""
  flag = flags.DEFINE_string(
    "results",
    str(ROOT / "benchmarks" / "results.jsonl"),
    "File to which the results are appended as lines of JSON.",
  )
  flags.register_validator("results", _writable)
  return flag


def _writable(path: str) -> bool:
  """Returns True, or raises ValidationError if `path` cannot be written. Does not change it."""
  try:
    if pathlib.Path(path).exists():
      open(path, "a", encoding="utf-8").close()
    else:
      tempfile.TemporaryFile(dir=pathlib.Path(path).parent).close()
  except OSError as error:
    raise flags.ValidationError(f"cannot be written: {error.strerror or error}") from error
  return True


def above_zero(*names: str) -> None:
  """Makes parsing fail if one of these flags has a value that is not a number above 0, or None."""
  for name in names:
    flags.register_validator(
      name, lambda value: value is None or 0 < value < math.inf, "must be a number above 0"
    )


def define_cases(name: str, known: Iterable[str]):
  """Defines the flag --`name`, a list of cases to measure; all `known` ones by default."""
  return flags.DEFINE_list(name, list(known), f"Names to measure, of {', '.join(known)}.")


def define_precision_and_savings():
  """Defines --precision and --savings; returns both flags."""
  precision = flags.DEFINE_string("precision", "auto", "See config.precision.")
  return precision, flags.DEFINE_bool("savings", True, "See config.model.savings.")


def define_worker() -> None:
  """Defines --worker, with which a benchmark runs itself in a fresh process; see `run`."""
  flags.DEFINE_string("worker", None, "Measure this case in this process and print JSON.")


def run(main: Callable[[], None], measure: Callable[[str], dict] | None = None) -> None:
  """Parses the flags and runs a benchmark.

  Args:
    main: the benchmark.
    measure: measures one case in this process, for `in_fresh_process`. With --worker=CASE the
      benchmark calls only this function and prints its result as JSON. Call `define_worker` first
      to define the flag.
  """

  def program(argv):
    del argv
    if measure and flags.FLAGS.worker:
      print(json.dumps(measure(flags.FLAGS.worker)))
    else:
      main()

  door.run(program)


def synthetic_batch(config, seed: int = 0) -> dict:
  """Random data for one iteration.

  Args:
    config: the whole config.
    seed: of the random numbers.

  Returns:
    {"clip": uint8 [D steps, B, T, H, W, 3], "label": int32 [D steps, B]}.
  """
  import numpy as np

  random, model = np.random.default_rng(seed), config.model
  shape = (model.get("discriminator_steps", 1), config.batch_size)
  pixels = (*shape, model.frames, model.resolution, model.resolution, 3)
  return {
    "clip": random.integers(0, 256, pixels, dtype=np.uint8),
    "label": random.integers(0, max(1, model.num_classes), shape, dtype=np.int32),
  }


def config_of(name: str, changes: Mapping[str, Any]):
  """The config FILE.py or FILE.py:ARGUMENT in the folder of configs, with changed fields."""
  from vidgan_jax.runtime.config import schema

  file, _, argument = name.partition(":")
  module = importlib.import_module(f"configs.{file.removesuffix('.py')}")
  config = module.get_config(argument).copy_and_resolve_references()
  schema.set_fields(config, changes)
  return config


def train(name: str, workdir: pathlib.Path, changes: Mapping[str, Any]) -> None:
  """Trains a config in a process of its own. A run that is finished is left as it is.

  Args:
    name: FILE.py or FILE.py:ARGUMENT in the folder of configs.
    workdir: of the run, which continues if it exists.
    changes: {name of a field: value}.

  Raises:
    UserError: training failed; the message is the end of its output.
  """
  command = [
    *(sys.executable, "-m", "vidgan_jax.train", f"--workdir={workdir}"),
    f"--config={ROOT / 'configs' / name}",
    *(f"--config.{field}={value}" for field, value in changes.items()),
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  if done.returncode:
    raise UserError((done.stdout + done.stderr)[-2000:].removeprefix("error: ").rstrip())


def config_hash(config) -> str:
  """Twelve hexadecimal digits that identify a config."""
  return hashlib.sha256(configuration.to_json(config).encode()).hexdigest()[:12]


def cores() -> int:
  """Number of processor cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def cpu_name() -> str:
  """Name of the processor's model."""
  try:
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def versions() -> dict:
  """Versions of Python and of the main packages, None for packages that are not installed."""
  result = {"python": platform.python_version()}
  for package in _PACKAGES:
    try:
      result[package] = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
      result[package] = None
  return result


def in_fresh_process(program: str, case: str, environment=None, flags_of=None) -> dict:
  """Measures a case in a new process that runs `program` with --worker=`case`.

  Args:
    program: path of a benchmark, which calls `run` with a function `measure`.
    case: name of the case.
    environment: variables to set besides those of this process.
    flags_of: flags whose values to pass on; by default the whole command line.

  Returns:
    the result of `measure`.

  Raises:
    UserError: the process failed; the message has the end of its stderr.
  """
  arguments = sys.argv[1:] if flags_of is None else [f"--{f.name}={f.value}" for f in flags_of]
  command = [sys.executable, os.path.abspath(program), *arguments, f"--worker={case}"]
  done = subprocess.run(
    command, env={**os.environ, **(environment or {})}, capture_output=True, text=True
  )
  if done.returncode:
    raise UserError(f"{case} failed:\n{done.stderr[-2000:]}")
  return json.loads(done.stdout.splitlines()[-1])


def append(path: str, benchmark: str, result: dict) -> None:
  """Appends a result to a file, as a line of JSON with the date, the machine and the versions.

  Args:
    path: of the file.
    benchmark: name of the benchmark.
    result: what it measured.

  Raises:
    UserError: the file cannot be written. The line is printed instead, so that no result is lost.
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
    with open(path, "a+", encoding="utf-8") as file:
      file.seek(0)
      if not f"\n{file.read()}".endswith("\n"):  # a killed run left half a line
        line = f"\n{line}"
      file.write(line + "\n")
  except OSError as error:
    door.report(line)
    raise UserError(f"cannot write {path}: {error}") from error


def show(table: list[list[str]]) -> None:
  """Prints the date, the versions and a Markdown table, whose first row is its header."""
  installed = ", ".join(f"{name} {version}" for name, version in versions().items() if version)
  door.report(f"\n{datetime.date.today()}; {installed}\n")
  widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
  line = lambda row: "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
  for row in [table[0], ["-" * width for width in widths], *table[1:]]:
    door.report(line(row))


def finish(benchmark: str, circumstances: dict, table: list[list[str]], result: dict) -> None:
  """Prints the circumstances and the table of a benchmark, and appends both to --results.

  Args:
    benchmark: its name.
    circumstances: device and settings; part of the appended line.
    table: see `show`.
    result: the other fields of the appended line.
  """
  door.report(", ".join(f"{name} {value}" for name, value in circumstances.items()))
  show(table)
  append(flags.FLAGS.results, benchmark, {**circumstances, **result})


def show_ratios(ratios: dict[str, tuple[float, list[float]]]) -> None:
  """Prints {name: (ratio, ratios of the rounds)}, one line each."""
  for name, (ratio, of_rounds) in ratios.items():
    span = f"{min(of_rounds):.2f} to {max(of_rounds):.2f}"
    door.report(f"{name:<36}{ratio:>6.2f}   rounds {span}")


def run_all(program: str, names: list[str], row: Callable[[dict], list[str]], columns: str) -> None:
  """Measures cases in fresh processes, one after the other, and prints their table.

  If a case fails, or its result cannot be appended to --results, the others are still measured.

  Args:
    program: path of a benchmark; its stem is the benchmark's name.
    names: of the cases.
    row: makes a row of the table, one text per column, from a result.
    columns: names of the columns, separated by spaces.

  Raises:
    UserError: at the end, if cases failed.
  """
  table, failed = [columns.split()], []
  for name in names:
    try:
      result = in_fresh_process(program, name)
      table.append(row(result))
      append(flags.FLAGS.results, pathlib.Path(program).stem, result)
    except UserError as error:
      door.report(str(error))
      failed.append(name)
      continue
    door.report(f"{name} on {result['device']}: done")
  show(table)
  if failed:
    raise UserError(f"failed: {', '.join(failed)}")


def chosen(names: Iterable[str], known: Iterable[str], kind: str = "case") -> list[str]:
  """The names of a flag without repeats; raises UserError for a name that is not `known`."""
  names = [name.strip() for name in names]
  for name in names:
    if name not in known:
      raise UserError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
  return list(dict.fromkeys(names))


def chosen_variants(names: Iterable[str], known: Iterable[str]) -> list[str]:
  """Like `chosen`; leaves out variants "torch..." with a message if PyTorch is not installed."""
  variants = chosen(names, known, "variant")
  if importlib.util.find_spec("torch") is None:
    for name in [name for name in variants if name.startswith("torch")]:
      door.report(f"{name} left out: no PyTorch here (pip install -r requirements-bench.txt)")
      variants.remove(name)
  if not variants:
    raise UserError("no variant to measure")
  return variants
