"""Doors and scripts as a stranger starts them: in an environment with PATH and HOME alone.

Nothing of tests/conftest.py reaches these processes: no JAX_PLATFORMS, no XLA_FLAGS, no cache. What
is set besides is PYTHONPATH, for the installed package may be that of another checkout.
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

# A DVD-GAN of 8x8 pixels and 4 frames with one discriminator: compiles in seconds.
TINY = (
  "--config.batch_size=4", "--config.model.resolution=8", "--config.model.frames=4",
  "--config.model.discriminator.temporal=False", "--config.model.discriminator.sampled_frames=2",
  "--config.model.latent_dim=4", "--config.model.embedding_dim=4", "--config.model.savings=False",
  "--config.model.generator.channels=4", "--config.model.discriminator.channels=4",
  "--config.model.generator.multipliers=(2,1)", "--config.ema.start=2",
  "--config.model.discriminator.multipliers=(1,2)", "--config.data.num_examples=40",
)  # fmt: skip

# Put before a command: a user whom the system does not know, who may read everything, as one may
# where a project is shared, and write what is its own.
_STRANGER = 12345
STRANGER = (
  "setpriv", f"--reuid={_STRANGER}", f"--regid={_STRANGER}", "--clear-groups",
  "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
  "--bounding-set=-all,+dac_read_search",
)  # fmt: skip


class Outside:
  """Starts commands in an emptied environment.

  Attributes:
    home: HOME of those commands, unless they are given another; keeps compiled programs.
    project: a copy of what the project consists of; its path has a space, brackets and an accent.
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
    for path in [*ROOT.glob("*.txt"), *ROOT.glob("*.toml"), *ROOT.glob("*.md")]:
      shutil.copy(path, self.project)

  def run(self, *command, code=0, cwd=None, **environment):
    """Runs a command, whose last words are no traceback; None in `environment` unsets a name.

    Returns:
      its exit code, stdout and stderr.
    """
    kept = {
      "PATH": os.environ["PATH"], "HOME": self.home, "PYTHONPATH": self.project, **environment,
    }  # fmt: skip
    result = subprocess.run(
      list(map(str, command)),
      cwd=cwd or self.here,
      env={name: str(value) for name, value in kept.items() if value is not None},
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

  def door(self, name, *arguments, before=(), **options):
    """Opens a door; `before` are words before its command."""
    return self.run(*before, sys.executable, "-m", f"vidgan_jax.{name}", *arguments, **options)

  def train(self, workdir, *arguments, **options):
    """Trains the tiny run, three iterations."""
    config = f"--config={self.project}/configs/quickstart.py:runlocal"
    return self.door("train", config, *TINY, f"--workdir={workdir}", *arguments, **options)


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
  return Outside(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="session")
def trained(outside):
  """A run trained in the emptied environment, and what was said."""
  workdir = outside.here / "ünder [2]" / "a run"
  return types.SimpleNamespace(workdir=workdir, said=outside.train(workdir))


@pytest.fixture(scope="session")
def tiny_flags():
  """What makes the quickstart's config tiny."""
  return TINY


@pytest.fixture
def stranger():
  """The words before a command that make it a stranger's, and an empty folder of the stranger.

  The folder is not among pytest's, which only their owner may enter.
  """
  if os.geteuid() or not shutil.which("setpriv"):
    pytest.skip("only the superuser becomes another user, by setpriv")
  if subprocess.run([*STRANGER, "true"], capture_output=True, check=False).returncode:
    pytest.skip("setpriv cannot hand on the right to read everything")
  with tempfile.TemporaryDirectory() as folder:
    os.chown(folder, _STRANGER, _STRANGER)
    yield types.SimpleNamespace(words=STRANGER, folder=pathlib.Path(folder), number=_STRANGER)


@pytest.fixture
def read_only(outside):
  """A function (folder) that returns the words before a command that sees it mounted read-only."""
  words = lambda folder: (
    "unshare", "--mount", "sh", "-c", 'mount --bind -o ro "$0" "$0" && exec "$@"', str(folder),
  )  # fmt: skip
  if not shutil.which("unshare"):
    pytest.skip("needs unshare")
  if subprocess.run([*words(outside.here), "true"], capture_output=True, check=False).returncode:
    pytest.skip("this system does not let its user mount a folder read-only")
  return words
