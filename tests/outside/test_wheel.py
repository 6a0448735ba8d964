"""A wheel contains everything that the package reads, and its configs load in an empty folder."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[2]
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".mypy_cache")
PROGRAM = """
import vidgan_jax.summarize
from vidgan_jax.configs import dvd_gan
from vidgan_jax.runtime.config import named
print(vidgan_jax.summarize.__file__, dvd_gan.get_config("kinetics600_64x12").model.resolution)
print(named.resolve("dvd_gan"), len(named.known()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The path of a wheel of this project, made from a copy: pip writes into the folder it builds."""
  folder = tmp_path_factory.mktemp("wheel")
  copy = folder / "project"
  shutil.copytree(ROOT / "vidgan_jax", copy / "vidgan_jax", symlinks=True, ignore=IGNORED)
  shutil.copytree(ROOT / "configs", copy / "configs", ignore=IGNORED)
  for name in ("pyproject.toml", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, copy)
  command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, copy]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300)
  if "No matching distribution found for setuptools" in done.stderr:
    pytest.skip("no package index is reachable")
  assert done.returncode == 0, done.stderr
  (path,) = folder.glob("*.whl")
  return path


def test_it_contains_every_file_of_the_package_and_the_configs(wheel):
  folders = {"vidgan_jax": ROOT / "vidgan_jax", "vidgan_jax/configs": ROOT / "configs"}
  wanted = {
    f"{name}/{path.relative_to(folder)}"
    for name, folder in folders.items()
    for path in folder.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }
  with zipfile.ZipFile(wheel) as archive:
    assert wanted <= set(archive.namelist())
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "vidgan = vidgan_jax.__main__:main" in archive.read(entry_points).decode()
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_a_config_loads_from_it_in_an_empty_folder(wheel, tmp_path):
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(tmp_path / "installed")
  (tmp_path / "empty").mkdir()
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM],
    cwd=tmp_path / "empty",
    env={"PYTHONPATH": str(tmp_path / "installed"), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr
  package = tmp_path / "installed" / "vidgan_jax"
  count = str(len(list((ROOT / "configs").glob("*.py"))))
  assert done.stdout.split() == [
    str(package / "summarize.py"), "64", str(package / "configs" / "dvd_gan.py"), count,
  ]  # fmt: skip
