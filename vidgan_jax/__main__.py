"""The command `vidgan`: runs one of the commands of this package.

vidgan COMMAND --FLAG=VALUE ...      the same as python -m vidgan_jax.COMMAND
vidgan COMMAND --help                explains a command and lists its flags
vidgan --version
"""

import sys

from vidgan_jax.runtime import interrupts

# What each module with a `main` does, in the order in which a user needs them.
COMMANDS = {
  "train": "trains a video GAN, or continues a run",
  "sample": "generates clips with a trained run",
  "evaluate": "scores clips of a run or of a file with a named protocol",
  "analyze": "measures curvature, copies of training clips, spectra and smoothness of a run",
  "summarize": "prints parameters, operations and memory of a config; runs nothing",
  "export": "writes the generator of a run to a folder that can be shared",
  "web": "shows what runs generate on a page in the browser",
  "prepare": "converts videos to a data set that training reads quickly",
}
_HELP = ("-h", "-help", "--help", "-helpshort", "--helpshort")


def usage() -> str:
  """The text of `vidgan --help`."""
  width = max(map(len, COMMANDS))
  lines = (__doc__ or "").rstrip().splitlines()
  lines += ["", "Commands:", *(f"  {name:{width}}  {what}" for name, what in COMMANDS.items())]
  lines += ["", "To try it, which takes minutes on a laptop:", ""]
  lines += ["  vidgan train --config=quickstart --workdir=DIR"]
  lines += ["  vidgan sample --workdir=DIR --output=DIR/final"]
  return "\n".join(lines)


def _refuse(message: str) -> int:
  print(f"error: {message}; vidgan --help explains the commands", file=sys.stderr)
  return 2


def main(argv: list[str] | None = None) -> int:
  """Runs the command that the command line names; imports no other.

  Args:
    argv: the command line, by default sys.argv.

  Returns:
    The exit code of `vidgan` itself. A command ends the process with its own exit code.
  """
  interrupts.watch()
  words = (sys.argv if argv is None else argv)[1:]
  name = words[0] if words else ""
  if name in _HELP or name == "help":
    print(usage())
    return 0
  if name == "--version":
    from vidgan_jax import __version__

    print(__version__)
    return 0
  if name not in COMMANDS:
    import difflib

    from vidgan_jax.runtime.text import printable

    known = f"known: {', '.join(COMMANDS)}"
    if not name:
      return _refuse(f"name a command; {known}")
    if name.startswith("-"):
      return _refuse(f"the command comes first, then its flags; {known}")
    similar = difflib.get_close_matches(name, COMMANDS, n=1)
    meant = f"; did you mean {similar[0]}?" if similar else ""
    return _refuse(f"unknown command {printable(name)!r}{meant}; {known}")
  import runpy

  # The module runs as `__main__`, as under `python -m`: its flags and its help depend on this.
  sys.argv = [f"vidgan {name}", *words[1:]]
  runpy.run_module(f"vidgan_jax.{name}", run_name="__main__", alter_sys=True)
  return 0


if __name__ == "__main__":
  sys.exit(main())
