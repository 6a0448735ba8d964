"""The shell blocks of pages: finds their commands, and parses commands without running them.

Commands of this package are parsed by their own flags (`parse`). Other programs are compared with
the files and options of the project (`fault`).
"""

import importlib.util
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = sorted(
  path
  for path in (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *ROOT.glob("docs/*.md"),
    *ROOT.glob("colabs/README.md"),
  )
)
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Parses each command line in a child of its own, as `vidgan` does, but does not call its `main`.
_PARSER = """
import json, os, runpy, sys, traceback
from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

def parse(main, argv=None, **options):
  from absl import flags
  door._parse(sys.argv)
  if "config" in flags.FLAGS and flags.FLAGS.config is not None:
    from vidgan_jax.models import switches
    switches.check(flags.FLAGS.config)
  request = sys.modules["__main__"].__dict__.get("Request")
  if request:
    from vidgan_jax.runtime.config import requests
    requests.read(request)

def faults(words):
  reader, writer = os.pipe()
  if child := os.fork():
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
      fault = file.read()
    os.waitpid(child, 0)
    return fault
  fault = ""
  door.run, sys.argv = parse, ["vidgan " + words[0], *words[1:]]
  try:
    runpy.run_module("vidgan_jax." + words[0], run_name="__main__", alter_sys=True)
  except UserError as error:
    fault = " ".join(str(error).split())
  except BaseException:
    fault = traceback.format_exc()
  os.write(writer, fault.encode())
  os._exit(0)

print(json.dumps([faults(words) for words in json.load(sys.stdin)]))
"""


def blocks(path: pathlib.Path, language: str) -> list[str]:
  """The texts of the fenced blocks of a page in this language; "" is no language."""
  found = _FENCE.findall(path.read_text(encoding="utf-8"))
  return [text for name, text in found if name == language]


def commands(path: pathlib.Path) -> list[list[str]]:
  """The words of each command in the shell blocks of a page, without comments."""
  lines = []
  for text in blocks(path, "sh"):
    for line in text.replace("\\\n", " ").splitlines():
      words = shlex.split(line, comments=True)
      while "&&" in words:
        lines.append(words[: words.index("&&")])
        words = words[words.index("&&") + 1 :]
      lines.append(words)
  return [words for words in lines if words]


def parse(lines: list[list[str]]) -> list[str]:
  """Parses commands of the package, such as ["train", "--config=quickstart"].

  Returns:
    For each the message with which the command refuses its flags; "" if it accepts them.
  """
  done = subprocess.run(
    [sys.executable, "-c", _PARSER],
    cwd=ROOT,
    input=json.dumps(lines),
    capture_output=True,
    text=True,
    timeout=600,
    check=True,
  )
  return json.loads(done.stdout)


def inner(words: list[str]) -> list[list[str]]:
  """The commands of the package that a command line runs, with the placeholders filled in."""
  program, *rest = _without_prefix(words)
  if program == "vidgan":
    return [_filled(rest)] if rest[0] != "--version" else []
  if program == "python" and rest[0] == "-m" and _is_command(rest[1]):
    return [_filled([rest[1].removeprefix("vidgan_jax."), *rest[2:]])]
  if program == "docker" and rest[0] == "run":
    return [_filled(rest[rest.index("train") :])]
  name = program.removeprefix("./").removeprefix("launch/")
  if name == "babysit.sh":
    return inner([word for word in rest if word not in _own_options(rest)])
  if name == "local_multiprocess.sh":
    return inner(rest[1:])
  if name == "multi_gpu.sh":
    own = [word for word in rest if word.startswith(("--hosts=", "--port="))]
    return [_filled(["train", *(word for word in rest if word not in own)])]
  if name == "sbatch":
    return [_filled(["train", *rest[rest.index("launch/slurm.sbatch") + 1 :]])]
  if name == "cascade.sh":
    configs = [word for word in rest if not word.startswith("-")]
    fields = [word for word in rest if word.startswith("--config.")]
    return [["train", f"--config={name}", "--workdir=DIR", *fields] for name in configs]
  if name == "quickstart.sh":
    fields = [word for word in rest if word.startswith("--config.")]
    return [["train", "--config=quickstart", "--workdir=DIR", *fields]]
  if name == "tpu_vm.sh" and "--" in rest:
    return [_filled(["train", *rest[rest.index("--") + 1 :]])]
  return []


def fault(words: list[str]) -> str:
  """What is wrong with a command line, apart from the commands in it; "" if nothing is."""
  words = _without_prefix(words)
  program, *rest = words
  known = ("vidgan", "docker", "gcloud", "kubectl", "sbatch", "jupyter", "git", "eval")
  if program in known or program.startswith("ssh-"):
    files = [word for word in rest if word.startswith(("launch/", "colabs"))]
    return next((f"{file} does not exist" for file in files if not (ROOT / file).exists()), "")
  if program == "pip":
    return _pip_fault(rest)
  if program == "bash":
    return fault([rest[-1]])
  if program == "python" and rest[0] == "-m":
    return "" if importlib.util.find_spec(rest[1]) else f"there is no module {rest[1]}"
  if program == "python":
    program, *rest = rest
  path = ROOT / program
  if not path.is_file():
    return f"{program} is no program that this test knows, and no file"
  if path.suffix == ".sh":
    checked = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    if checked.returncode:
      return checked.stderr
  text = path.read_text(encoding="utf-8")
  options = _own_options(rest)
  if path.name == "tpu_vm.sh":
    text += (path.parent / "tpu_worker.sh").read_text(encoding="utf-8")
  names = {option.split("=")[0].lstrip("-") for option in options}
  knows = lambda name: re.search(rf"""(--|"){re.escape(name)}\b""", text)
  unknown = [name for name in names if not knows(name) and not knows(name.removeprefix("no"))]
  return f"{program} knows no {', '.join(unknown)}" if unknown else ""


def _without_prefix(words: list[str]) -> list[str]:
  """Drops variables of the environment and `taskset -c CORES` before a command."""
  words = list(words)
  while re.match(r"[A-Z_]+=", words[0]):
    words = words[1:]
  return words[3:] if words[0] == "taskset" else words


def _is_command(module: str) -> bool:
  from vidgan_jax.__main__ import COMMANDS

  return module.removeprefix("vidgan_jax.") in COMMANDS


def _filled(words: list[str]) -> list[str]:
  """Replaces what stands for a config of the user's, and buckets, which would be read.

  Other placeholders parse as they are. tests/test_docs.py runs tiny_gan.py itself.
  """
  words = [word for word in words if word != "..."]
  users = re.compile(r"^--config=(\.\.\.|FILE\.py|tiny_gan\.py)$")
  return [users.sub("--config=quickstart", word).replace("=gs://", "=/") for word in words]


def _own_options(words: list[str]) -> list[str]:
  """The options of a script itself: those before `--` and before the program that it starts."""
  options = []
  for word in words:
    if word == "--" or word.endswith(".sh") or word == "vidgan":
      break
    if word.startswith("-") and not word.startswith(("--config.", "--config=", "--workdir=")):
      options.append(word)
  return options


def _pip_fault(words: list[str]) -> str:
  files = [words[number + 1] for number, word in enumerate(words) if word == "-r"]
  for file in files:
    if not (ROOT / file).is_file():
      return f"{file} does not exist"
  known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
  for extras in re.findall(r"\[([\w,]+)\]", " ".join(words)):
    for extra in extras.split(","):
      if extra not in known["optional-dependencies"]:
        return f"pyproject.toml has no extra {extra}"
  return ""
