"""Runs commands and scripts as users do: in an environment with only PATH and HOME.

These processes do not get what tests/conftest.py sets: JAX_PLATFORMS, XLA_FLAGS and caches. They do
get PYTHONPATH, because the installed package may be that of another checkout.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

# A DVD-GAN of 8x8 pixels and 4 frames with one discriminator, which compiles in seconds.
TINY = (
  "--config.batch_size=4", "--config.model.resolution=8", "--config.model.frames=4",
  "--config.model.discriminator.temporal=False", "--config.model.discriminator.sampled_frames=2",
  "--config.model.latent_dim=4", "--config.model.embedding_dim=4", "--config.model.savings=False",
  "--config.model.generator.channels=4", "--config.model.discriminator.channels=4",
  "--config.model.generator.multipliers=(2,1)", "--config.ema.start=2",
  "--config.model.discriminator.multipliers=(1,2)", "--config.data.num_examples=40",
)  # fmt: skip

# Words before a command that run it as a user without an account, who may read all files, as in a
# shared project, but write only its own.
_STRANGER = 12345
STRANGER = (
  "setpriv", f"--reuid={_STRANGER}", f"--regid={_STRANGER}", "--clear-groups",
  "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
  "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


class Outside:
  """Starts commands in an emptied environment.

  Attributes:
    home: the default HOME of the commands. It contains the cache of compiled programs.
    project: a copy of the project. Its path has a space, brackets and an accent.
    here: the folder in which commands are started, outside the project.
  """

  def __init__(self, folder):
    self.home, self.here = folder / "home", folder / "here"
    self.project = folder / "été [1]" / "a project"
    for path in (self.home, self.here, self.project):
      path.mkdir(parents=True)
    for name in ("vidgan_jax", "configs", "launch", "tests"):
      ignored = shutil.ignore_patterns("__pycache__")
      shutil.copytree(ROOT / name, self.project / name, ignore=ignored)
    for path in [p for end in ("txt", "toml", "md", "LICENSE") for p in ROOT.glob(f"*{end}")]:
      shutil.copy(path, self.project)

  def run(self, *command, code=0, cwd=None, **environment):
    """Runs a command and checks that it prints no traceback.

    Args:
      *command: words of the command.
      code: the expected exit code.
      cwd: the folder in which to run it.
      **environment: variables to set; None unsets one.

    Returns:
      The `subprocess.CompletedProcess`.
    """
    variables = {
      "PATH": os.environ["PATH"], "HOME": self.home, "PYTHONPATH": self.project, **environment,
    }  # fmt: skip
    result = subprocess.run(
      list(map(str, command)),
      cwd=cwd or self.here,
      env={name: str(value) for name, value in variables.items() if value is not None},
      stdin=subprocess.DEVNULL,
      capture_output=True,
      text=True,
      encoding="utf-8",
      timeout=900,
      check=False,
    )
    assert result.returncode == code, (result.stdout[-2000:], result.stderr[-4000:])
    assert "Traceback" not in result.stderr, result.stderr[-4000:]
    return result

  def command(self, name, *arguments, before=(), **options):
    """Runs `vidgan_jax.NAME`; `before` are words before the command line."""
    return self.run(*before, sys.executable, "-m", f"vidgan_jax.{name}", *arguments, **options)

  def train(self, workdir, *arguments, **options):
    """Trains the tiny run for three iterations."""
    config = f"--config={self.project}/configs/quickstart.py:runlocal"
    return self.command("train", config, *TINY, f"--workdir={workdir}", *arguments, **options)


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
  return Outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="session")
def trained(outside):
  """A run that was trained in the emptied environment, and the result of that command."""
  workdir = outside.here / "ünder [2]" / "a run"
  return types.SimpleNamespace(workdir=workdir, result=outside.train(workdir))


@pytest.fixture(scope="session")
def tiny_flags():
  """Flags that make the quickstart's config tiny."""
  return TINY


@pytest.fixture
def stranger():
  """A user without an account: `prefix`, words before a command that run it as this user; `folder`,
  an empty folder of the user; and `number`, its user id.

  The folder is not in pytest's temporary folder, which only the owner may enter.
  """
  if os.geteuid() or not shutil.which("setpriv"):
    pytest.skip("needs setpriv, run by the superuser, to become another user")
  if subprocess.run([*STRANGER, "true"], capture_output=True, check=False).returncode:
    pytest.skip("setpriv cannot grant the right to read all files")
  with tempfile.TemporaryDirectory() as folder:
    os.chown(folder, _STRANGER, _STRANGER)
    yield types.SimpleNamespace(prefix=STRANGER, folder=pathlib.Path(folder), number=_STRANGER)


@pytest.fixture
def read_only(outside):
  """A function that takes a folder and returns words before a command, which mount it read-only."""
  prefix = lambda folder: (
    "unshare", "--mount", "sh", "-c", 'mount --bind -o ro "$0" "$0" && exec "$@"', str(folder),
  )  # fmt: skip
  if not shutil.which("unshare"):
    pytest.skip("needs unshare")
  if subprocess.run([*prefix(outside.here), "true"], capture_output=True, check=False).returncode:
    pytest.skip("this system does not allow its user to mount a folder read-only")
  return prefix
