"""The frame of every command: parses flags, prints help and errors, sets the exit code.

A command is a module with a docstring, absl flags and `main(argv)`. It ends with

  if __name__ == "__main__":
    door.run(main)

Exit codes:

  0    done
  1    what failed may work later (`Unavailable`: a network, another process), printed as one line
       "error: ..."; or a bug, see below
  2    bad input (flags, config, `UserError`), printed on stderr as one line "error: ..."
  3    a guard stopped the run (`Stopped`), printed as one line too
  75   a signal stopped training (EX_TEMPFAIL); the same command continues it
  130  Ctrl-C
  141  the program that reads stdout has closed it, as `head` does
  143  SIGTERM (only `train` catches it)

Files are written completely or not at all, so in all these cases the same command can be run again.
Any other error is a bug of this program, or of the code in a config file, and shows a traceback.
"""

import atexit
import contextlib
import functools
import logging
import os
import re
import sys
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterable

from absl import app, flags
from ml_collections import ConfigDict
from tqdm import tqdm

from vidgan_jax.runtime import interrupts
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.config import field_options, named
from vidgan_jax.runtime.errors import Stopped, UserError, exit_code
from vidgan_jax.runtime.files import paths, temporary
from vidgan_jax.runtime.text import printable

# The defaults of settings of JAX that the environment may set for other programs. Other values
# would change a run's random numbers when it resumes, or make additions of arrays fail.
_JAX_DEFAULTS = {
  "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
  "JAX_NUMPY_DTYPE_PROMOTION": "standard",
  "JAX_NUMPY_RANK_PROMOTION": "allow",
  "JAX_THREEFRY_PARTITIONABLE": "1",
}
# Messages of Python and absl about a flag's value, and what users read instead.
_REPLACED_MESSAGES = (
  (r"invalid literal for int\(\) with base 10: ('[^']*')", r"\1 is not an integer"),
  (r"could not convert string to float: ('[^']*')", r"\1 is not a number"),
  (r"\('Non-boolean argument to boolean flag', ('[^']*')\)", r"\1 is not true or false"),
  (r"Failed to parse ('[^']*') as a ConfigDict: .*", r"\1 cannot replace a group; set its fields"),
  (
    r"Error while parsing string: (.*) as tuple\. If .*",
    r"\1 is no tuple, such as (4,2)",
  ),
  (r"^ERROR:: ", ""),
)
_HELP = ("-h", "-help", "--help", "-helpshort", "--helpshort")
_REQUIRED = "must have a value other than None"  # in absl's message


def run(
  main,
  argv: list[str] | None = None,
  *,
  fields: Callable[[ConfigDict], list[str]] | None = None,
) -> None:
  """Parses the flags, calls `main` and exits with one of the codes above.

  Args:
    main: called with [name of the program]; returns the exit code, or None for 0.
    argv: the command line, by default sys.argv.
    fields: for commands with --config: returns the lines about the fields of a config, which
      --config=NAME --help prints too.
  """
  interrupts.begin()
  atexit.register(_flush_streams)
  sys.excepthook = _without_closed_loops(sys.excepthook)
  sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
  _open_standard_streams()
  _use_jax_defaults()
  # JAX logs the accelerators that it does not find at INFO, which absl shows.
  logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
  # If stdout or stderr is not UTF-8, characters that it cannot encode are printed like \xe9.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  try:
    app.run(
      staged.writing_back(main),
      sys.argv if argv is None else argv,
      flags_parser=functools.partial(_parse, fields=fields),
    )
  except (UserError, Stopped) as error:
    _fail(error, exit_code(error))
  except KeyboardInterrupt:
    interrupts.leave()
  except BrokenPipeError:
    _silence(sys.stdout)
    _exit(141)
  except Exception as error:
    if interrupts.caused(error):
      interrupts.leave()
    if not _is_distributed():
      raise
    traceback.print_exc()
    _exit(1)


def report(line: str) -> None:
  """Prints a line on stdout at once, above the progress bar if there is one.

  If stdout cannot be written, because the terminal has closed or the disk is full, the program
  continues without it: the output is worth less than hours of training.

  Raises:
    BrokenPipeError: the program that reads stdout has closed it.
  """
  try:
    tqdm.write(staged.named(line))
    sys.stdout.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    _silence(sys.stdout)
    with contextlib.suppress(OSError):
      reason = error.strerror or error
      print(f"WARNING: stdout: {reason}; nothing more is written to it", file=sys.stderr)


def present_flags() -> list[str]:
  """Names of the command's flags that the command line sets."""
  command_flags = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
  return [flag.name for flag in command_flags if flag.present]


def check_unused(names: Iterable[str], why: str) -> None:
  """Raises UserError if the command line sets flags that have no effect.

  Args:
    names: the flags without effect.
    why: when they have none, such as "with --list".
  """
  unused = [f"--{name}" for name in present_flags() if name in set(names)]
  if unused:
    raise UserError(f"{', '.join(unused)}: no effect {why}; remove the flags that you do not need")


def _without_closed_loops(show):
  """Wraps an exception hook so that it hides follow-up errors of a failed checkpoint save.

  When a save fails, its event loop ends. Each TensorStore thread that still writes an array then
  raises "Event loop is closed". The error that made the save fail is raised in the main thread.

  Args:
    show: `sys.excepthook`, which takes (type, error, traceback), or `sys.unraisablehook`, which
      takes one object with these attributes.
  """

  def hook(*arguments):
    error = arguments[1] if len(arguments) == 3 else arguments[0].exc_value
    in_thread = threading.current_thread() is not threading.main_thread()
    if not (in_thread and isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
      show(*arguments)

  return hook


def _silence(stream):
  """Redirects stdout or stderr to /dev/null.

  Otherwise Python, which flushes both when it exits, fails again and returns the exit code 120.
  """
  os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _flush_streams():
  """Writes what stdout and stderr still hold, and silences a stream that cannot be written."""
  for stream in (sys.stdout, sys.stderr):
    try:
      stream.flush()
    except OSError:
      _silence(stream)


def _open_standard_streams():
  """Opens stdin, stdout and stderr on /dev/null if the parent process has closed them.

  Otherwise the next opened files would get descriptors 0 to 2, and libraries would print into them.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor, which is `number`
  for name in ("stdout", "stderr"):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # never closed


def _use_jax_defaults():
  """Overrides variables of the environment with which JAX would change what a run computes."""
  for name, default in _JAX_DEFAULTS.items():
    value = os.environ.get(name)
    if value is None:
      continue
    os.environ[name] = default
    if value.lower() not in (default, "true" if default == "1" else default):
      print(
        f"WARNING: {name}={printable(value)} is ignored; {name}={default} is used",
        file=sys.stderr,
      )


def _fail(error, code):
  print(f"error: {printable(staged.named(' '.join(str(error).split())))}", file=sys.stderr)
  _exit(code)


def _is_distributed() -> bool:
  """Whether this is one of several processes that train together."""
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _exit(code):
  if _is_distributed():
    # At a normal exit JAX would wait for the other processes, which may wait for this one.
    sys.stdout.flush()
    sys.stderr.flush()
    temporary.exit_at_once(code)
  sys.exit(code)


def _parse(argv, fields=None):
  """Parses the command line as absl does; raises UserError if it is wrong. See `run`."""
  options = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
  if any(option in _HELP for option in options):
    print(_help(argv[0]))
    if fields:
      print("\n".join(_help_on_fields(argv, options, fields)))
    sys.exit(0)
  argv = _last_of_each_field([_with_local_config(option) for option in _joined(argv)])
  try:
    field_options.check(argv)
    rest = flags.FLAGS(argv)
    for flag in flags.FLAGS.get_key_flags_for_module(argv[0]):
      # ml_collections raises the error of a config file at the first access to the config.
      getattr(flag.value, "keys", None)
  except flags.Error as error:
    raise UserError(refusal(error)) from error
  except OSError as error:
    reason = str(error).split("failure to load:")[-1].strip().splitlines()[-1].strip()
    if reason == "Path to config file is an empty string.":
      raise UserError("--config is empty") from error
    raise UserError(f"cannot read the config file: {reason}") from error
  except (SyntaxError, ImportError) as error:
    raise UserError(f"cannot read the config file: {error}") from error
  except (AttributeError, KeyError) as error:
    if any(frame.name == "get_config" for frame in traceback.extract_tb(error.__traceback__)):
      raise
    fields = [option for option in options if re.match(r"--?\w+\.", option)]
    if not fields:
      # A KeyError's str is the repr of its message.
      reason = str(error.args[0] if error.args else error)
      reason = re.sub(r"module .* has no attribute ('get_config')", r"it defines no \1", reason)
      raise UserError(f"cannot read the config file: {reason}") from error
    raise UserError(field_options.unknown(argv, fields)) from error
  if rest[1:]:
    raise UserError(f"unexpected argument {rest[1]!r}: write all arguments as flags, --name=value")
  return rest


def _help_on_fields(argv, options, fields) -> list[str]:
  """The part of --help about the fields of the config that the command line names."""
  named_config = [o for o in _joined(options) if re.match(r"--?config(=|\.)", o)]
  if not any(re.match("--?config=", option) for option in named_config):
    return ["", "--config=NAME --help also lists the fields of that config."]
  try:
    _parse([argv[0], *named_config])
    lines = fields(flags.FLAGS["config"].value)
  except UserError as error:
    return ["", *textwrap.wrap(f"The fields of this config cannot be listed: {error}", 100)]
  return ["", "Fields of this config, with their values:", *lines]


def _last_of_each_field(argv: list[str]) -> list[str]:
  """Keeps only the last --config.FIELD=VALUE of each field.

  ml_collections would join the values if the field is a list.
  """
  fields = [re.match(r"--?(\w+\.[\w.]+)=", option) for option in argv]
  last = {match[1]: number for number, match in enumerate(fields) if match}
  pairs = zip(argv, fields, strict=True)
  return [o for number, (o, match) in enumerate(pairs) if not match or last[match[1]] == number]


def _joined(argv: list[str]) -> list[str]:
  """Joins the two arguments `--config FILE` to `--config=FILE`."""
  joined = list(argv)
  for flag in ("-config", "--config"):
    while flag in joined[:-1]:
      first = joined.index(flag)
      joined[first : first + 2] = [f"{flag}={joined[first + 1]}"]
  return joined


def _with_local_config(option: str) -> str:
  """Expands `~` and names of configs in --config=FILE.py:ARGUMENT.

  Raises:
    UserError: the path is an address such as gs://bucket, or contains a colon, which would end it;
      or the package has no config of this name.
  """
  flag, equals, path = option.partition("=")
  if flag.lstrip("-") != "config" or not equals:
    return option
  path = named.resolve(paths.local(path, "--config"))
  file, *others = path.split(":")
  while others and not os.path.isfile(path.partition(":")[0]):
    file = f"{file}:{others.pop(0)}"
    if os.path.isfile(file):
      raise UserError(
        f"the path of the config file {file!r} has a colon, which begins the file's argument; go "
        "into its folder and give the file name only, or rename the folder or file"
      )
  return f"{flag}={path}"


def refusal(error) -> str:
  """The message of an error of absl in one line, without the traceback of a config file."""
  message = str(error)
  missing = re.search(rf"Flag (\S+) {_REQUIRED}", message)
  if missing:
    return f"{missing[1]} is required"
  for pattern, replacement in _REPLACED_MESSAGES:
    message = re.sub(pattern, replacement, message)
  first, *_, last = message.splitlines() * 2
  return first if first == last else f"{first} {last}"


def _help(program: str) -> str:
  """The text of --help: the docstring and the flags of the command."""
  lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
  for flag in flags.FLAGS.get_key_flags_for_module(program):
    if "." in flag.name:
      continue  # sets a field of a config
    default = str(flag.default_as_str).strip("'")
    note = "" if flag.default is None else f" (default {default})"
    if any(_REQUIRED in str(validator.message) for validator in flag.validators):
      note = " (required)"
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    lines += [f"  {name}{note}", flags.text_wrap(flag.help, 100, "      ")]
  return "\n".join(lines)
