"""How every command-line door behaves: flags, help, and faults told in one line.

A door is a module with a docstring, absl flags and `main(argv)`; it ends with

  if __name__ == "__main__":
    door.run(main)

Exit codes: 0 done; 2 bad input (flags, config, `UserError`), told as one line "error: ..." on
stderr; 3 a guard stopped the run (`Stopped`), told likewise; 75 (EX_TEMPFAIL) a signal stopped
training, and the same command continues; 130 interrupted from the keyboard; 141 whoever read stdout
has left, as `head` does; 143 ended by SIGTERM, which `train` alone catches. Files are written whole
or not at all, so that the same command can follow in every case.
Anything else is a fault of this program, or of the code in a config file, and shows its traceback.
"""

import contextlib
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable

from absl import app, flags
from tqdm import tqdm

from vidgan_jax.runtime import interrupts
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.text import printable

# Settings of JAX that somebody's environment may hold for other programs, and their defaults.
# With others a run would draw other random numbers than where it began, or stop at an addition.
_JAX_DEFAULTS = {
  "JAX_DEFAULT_PRNG_IMPL": "threefry2x32",
  "JAX_NUMPY_DTYPE_PROMOTION": "standard",
  "JAX_NUMPY_RANK_PROMOTION": "allow",
  "JAX_THREEFRY_PARTITIONABLE": "1",
}
# What Python and absl say of a value that is no number or truth value, in a user's words.
_PYTHONS_WORDS = (
  (r"invalid literal for int\(\) with base 10: ('[^']*')", r"\1 is not an integer"),
  (r"could not convert string to float: ('[^']*')", r"\1 is not a number"),
  (r"\('Non-boolean argument to boolean flag', ('[^']*')\)", r"\1 is not true or false"),
)
_HELP = ("-h", "-help", "--help", "-helpshort", "--helpshort")
_REQUIRED = "must have a value other than None"  # absl's words


def run(main, argv: list[str] | None = None) -> None:
  """Parses the flags, calls main(argv) and exits; see the module for the exit codes.

  Args:
    main: called with the program's name alone in a list; its result is the exit code, None is 0.
    argv: the command line, by default sys.argv.
  """
  interrupts.begin()
  sys.excepthook = _without_closed_loops(sys.excepthook)
  sys.unraisablehook = _without_closed_loops(sys.unraisablehook)
  _open_standard_streams()
  _use_jax_defaults()
  # jax says at INFO, which absl shows, which of the accelerators it knows are not here.
  logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
  # A terminal or log file without UTF-8 shows what it cannot print as \xe9.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  try:
    app.run(main, sys.argv if argv is None else argv, flags_parser=_parse)
  except UserError as error:
    _fail(error, 2)
  except Stopped as error:
    _fail(error, 3)
  except KeyboardInterrupt:
    interrupts.leave()
  except BrokenPipeError:
    _silence_stdout()
    _exit(141)
  except Exception as error:
    if interrupts.caused(error):
      interrupts.leave()
    if not _among_others():
      raise
    traceback.print_exc()
    _exit(1)


def report(line: str) -> None:
  """Prints a line for the user on stdout at once, above a progress bar where one is shown.

  Where stdout cannot be written any more, because its terminal has closed or its disk is full, the
  program goes on without it: hours of training are worth more than the line.

  Raises:
    BrokenPipeError: whoever read stdout has left.
  """
  try:
    tqdm.write(line)
    sys.stdout.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    _silence_stdout()
    with contextlib.suppress(OSError):
      reason = error.strerror or error
      print(f"WARNING: stdout: {reason}; nothing more is written to it", file=sys.stderr)


def given() -> list[str]:
  """Names of the door's own flags that the command line sets."""
  own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
  return [flag.name for flag in own if flag.present]


def check_unused(names: Iterable[str], why: str) -> None:
  """UserError where the command line sets flags that would change nothing.

  Args:
    names: of these flags.
    why: when they change nothing, as "with --list".
  """
  unused = [f"--{name}" for name in given() if name in set(names)]
  if unused:
    raise UserError(f"{', '.join(unused)}: no effect {why}; leave out what is not meant")


def _without_closed_loops(show):
  """A hook that shows errors but those that TensorStore's threads meet after a save has failed.

  Each of the arrays that were still being written calls an event loop that has ended, and prints a
  traceback; the failure itself is raised where the loop was.

  Args:
    show: `sys.excepthook`, which takes (type, error, traceback), or `sys.unraisablehook`, which
      takes one object that holds them.
  """

  def hook(*given):
    error = given[1] if len(given) == 3 else given[0].exc_value
    elsewhere = threading.current_thread() is not threading.main_thread()
    if not (elsewhere and isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
      show(*given)

  return hook


def _silence_stdout():
  """Sends stdout to nowhere: Python writes what is left of it once more when it exits."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_standard_streams():
  """Opens stdin, stdout and stderr to nowhere where whoever started this process closed them.

  The next files to be opened would have their numbers, and so receive what libraries print.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
  for name in ("stdout", "stderr"):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # never closed


def _use_jax_defaults():
  """Leaves settings of JAX in the environment aside that would change what a run computes."""
  for name, default in _JAX_DEFAULTS.items():
    given = os.environ.get(name)
    if given is None:
      continue
    os.environ[name] = default
    if given.lower() not in (default, "true" if default == "1" else default):
      print(f"WARNING: {name}={printable(given)} is not used here, but {default}", file=sys.stderr)


def _fail(error, code):
  print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
  _exit(code)


def _among_others() -> bool:
  """Whether this is one of several processes that train together."""
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _exit(code):
  if _among_others():
    # By itself jax would wait, at the exit, for processes that wait for this one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def _parse(argv):
  """Parses the command line as absl does; raises UserError on whatever is refused."""
  options = argv[1 : argv.index("--")] if "--" in argv else argv[1:]
  if any(option in _HELP for option in options):
    print(_help(argv[0]))
    sys.exit(0)
  argv = _last_of_each_field([_with_local_config(option) for option in _joined(argv)])
  try:
    rest = flags.FLAGS(argv)
    for flag in flags.FLAGS.get_key_flags_for_module(argv[0]):
      # A config whose file could not be read says so when it is first looked at.
      getattr(flag.value, "keys", None)
  except flags.Error as error:
    raise UserError(refusal(error)) from error
  except OSError as error:
    reason = str(error).split("failure to load:")[-1].strip().splitlines()[-1].strip()
    raise UserError(f"cannot read the config file: {reason}") from error
  except SyntaxError as error:
    raise UserError(f"cannot read the config file: {error}") from error
  except (AttributeError, KeyError) as error:
    if any(frame.name == "get_config" for frame in traceback.extract_tb(error.__traceback__)):
      raise
    given = [option for option in options if re.match(r"--?\w+\.", option)]
    # A KeyError's str is the repr of its message.
    reason = str(error.args[0] if error.args else error)
    if not given:
      raise UserError(f"cannot read the config file: {reason}") from error
    raise UserError(_unknown_field(reason, given)) from error
  if rest[1:]:
    raise UserError(f"unexpected argument {rest[1]!r}: everything is a flag, --name=value")
  return rest


def _unknown_field(reason: str, given: list[str]) -> str:
  """Says which field of a config is not known, and which one was perhaps meant.

  Args:
    reason: the words of ml_collections.
    given: the options that set fields.
  """
  near = re.search(r'Did you mean "([^"]*)" instead of "([^"]*)"', reason)
  if not near:
    return f"unknown config field: {reason} (given {' '.join(given)})"
  meant, name = near.groups()
  own = [option for option in given if name in option.partition("=")[0].split(".")]
  return f"unknown config field {name!r} in {' '.join(own or given)}; did you mean {meant!r}?"


def _last_of_each_field(argv: list[str]) -> list[str]:
  """Leaves the last of several --config.FIELD=VALUE of one field.

  Of a field that is a list, ml_collections would join the values of all.
  """
  fields = [re.match(r"--?(\w+\.[\w.]+)=", option) for option in argv]
  last = {match[1]: number for number, match in enumerate(fields) if match}
  pairs = zip(argv, fields, strict=True)
  return [o for number, (o, match) in enumerate(pairs) if not match or last[match[1]] == number]


def _joined(argv: list[str]) -> list[str]:
  """Writes `--config FILE`, two words, as `--config=FILE`."""
  joined = list(argv)
  for flag in ("-config", "--config"):
    while flag in joined[:-1]:
      first = joined.index(flag)
      joined[first : first + 2] = [f"{flag}={joined[first + 1]}"]
  return joined


def _with_local_config(option: str) -> str:
  """Expands `~` in --config=FILE.py:ARGUMENT, which no shell does.

  Raises:
    UserError: the path is an address, or has a colon, where the argument would begin.
  """
  flag, equals, path = option.partition("=")
  if flag.lstrip("-") != "config" or not equals:
    return option
  path = paths.local(path, "--config")
  file, *others = path.split(":")
  while others and not os.path.isfile(path.partition(":")[0]):
    file = f"{file}:{others.pop(0)}"
    if os.path.isfile(file):
      raise UserError(
        f"the path of the config file {file!r} has a colon, where its argument would begin; go "
        "into its folder and name the file alone, or rename what has the colon"
      )
  return f"{flag}={path}"


def refusal(error) -> str:
  """What absl says, without the traceback that a failing config file leaves in it."""
  message = str(error)
  missing = re.search(rf"Flag (\S+) {_REQUIRED}", message)
  if missing:
    return f"{missing[1]} is required"
  for pattern, words in _PYTHONS_WORDS:
    message = re.sub(pattern, words, message)
  first, *_, last = message.splitlines() * 2
  return first if first == last else f"{first} {last}"


def _help(program: str) -> str:
  """The door's docstring and its own flags."""
  lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
  for flag in flags.FLAGS.get_key_flags_for_module(program):
    if "." in flag.name:
      continue  # an override of a config's field
    default = str(flag.default_as_str).strip("'")
    note = "" if flag.default is None else f" (default {default})"
    if any(_REQUIRED in str(validator.message) for validator in flag.validators):
      note = " (required)"
    name = f"--[no]{flag.name}" if flag.boolean else f"--{flag.name}"
    lines += [f"  {name}{note}", flags.text_wrap(flag.help, 100, "      ")]
  return "\n".join(lines)
