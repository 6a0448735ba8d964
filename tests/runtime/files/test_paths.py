"""Paths from users: `~` is the home folder, and addresses are never used as local folders."""

import dataclasses
import os

import jax
import pytest
from ml_collections import ConfigDict

from vidgan_jax.analysis import cli as analysis
from vidgan_jax.data.build import build_source
from vidgan_jax.data.prepare import settings, verify
from vidgan_jax.evaluation import cli as evaluation
from vidgan_jax.evaluation.features import convert, extractor, references
from vidgan_jax.runtime import door
from vidgan_jax.runtime.buckets import objects
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.sampling import cli as sampling
from vidgan_jax.sampling import conditioning, export_request, run
from vidgan_jax.training import earlier, loop
from vidgan_jax.training.starts import restarts, weights
from vidgan_jax.viewer import request as viewing

ADDRESSES = [
  "gs://bucket/run", "gs:/bucket/run", "s3://a", "hdfs://a/b", "file:///data", "GS://a", "http://a",
  "me@host:/data", " gs://a",
]  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch):
  """Sets HOME to an empty folder, and makes another empty folder the current one."""
  for name in ("home", "here"):
    (tmp_path / name).mkdir()
  names = ("XDG_CACHE_HOME", "VIDGAN_JAX_REFERENCES", "VIDGAN_JAX_WEIGHTS")
  for name in (*names, "JAX_COMPILATION_CACHE_DIR"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.chdir(tmp_path / "here")
  compiled = jax.config.jax_compilation_cache_dir
  yield tmp_path / "home"
  jax.config.update("jax_compilation_cache_dir", compiled)


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_refused_by_the_flag_that_holds_them(address):
  with pytest.raises(UserError, match=r"--output is .*an address and not a local path"):
    paths.local(address, "--output")


@pytest.mark.parametrize("path", ["", "a", "/a:/b", "a/b://c", "./gs://a", "a:b", "12:30", "ü [1]"])
def test_local_paths_stay_as_they_are(path):
  assert paths.local(path, "--output") == path


def test_home_folders(home):
  assert paths.local("~/a", "x") == f"{home}/a" and paths.local("~", "x") == str(home)
  root = os.path.expanduser("~root")
  assert paths.local("~root/a", "x") == os.path.join(root, "a")
  with pytest.raises(UserError, match="there is no such home folder"):
    paths.local("~nobody-of-this-name/a", "x")
  with pytest.raises(UserError, match="NUL"):
    paths.local("a\0b", "x")


def test_an_empty_home_counts_as_unset(monkeypatch):
  monkeypatch.delenv("HOME", raising=False)
  wanted = paths.local("~/run", "--workdir")
  monkeypatch.setenv("HOME", "")
  assert paths.local("~/run", "--workdir") == wanted != "/run"
  assert paths.cache("jax") != "/.cache/vidgan_jax/jax"


def test_the_cache_is_in_the_home_folder_or_nowhere(home, monkeypatch):
  assert paths.cache("jax") == f"{home}/.cache/vidgan_jax/jax"
  monkeypatch.setenv("XDG_CACHE_HOME", "~/other")
  assert paths.cache("jax") == f"{home}/other/vidgan_jax/jax"
  monkeypatch.setenv("XDG_CACHE_HOME", "gs://a")
  with pytest.raises(UserError, match="XDG_CACHE_HOME"):
    paths.cache("jax")
  monkeypatch.delenv("XDG_CACHE_HOME")
  monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # neither HOME nor an account
  assert paths.cache("jax") is None
  lines = []
  assert compilation.enable_cache(report=lines.append) is None and "no home folder" in lines[0]


def _data(config, **changes):
  with config.unlocked():
    config.data.update(changes)
  return build_source(config.data, frames=2, resolution=8, num_classes=0)


BAD = "gs://bucket/x"


def entries(bad):
  """Every flag, field and argument that holds a path, as functions that use `bad` there."""
  return {
    "train": lambda config: loop.Trainer(config, bad),
    "train in a branch": lambda config: restarts.train(config, bad, None),
    "train init_from": lambda config: weights.for_training(bad, "a", config, None, (), None),
    "sample": lambda config: sampling.Request(bad, "a"),
    "sample output": lambda config: sampling.Request("a", bad),
    "sample data_directory": lambda config: sampling.Request("a", "b", data_directory=bad),
    "export": lambda config: export_request.Request(bad, "a"),
    "export output": lambda config: export_request.Request("a", bad),
    "web": lambda config: viewing.Request(("a", bad)),
    "sample conditioning": lambda config: conditioning.read([bad], None),
    "load": lambda config: run.load(bad),
    "earlier run": lambda config: earlier.with_absolute_run(
      ConfigDict({"model": {"earlier_run": bad}})
    ),
    "earlier samples": lambda config: earlier._samples(bad, None, None),
    **{
      f"evaluate {field}": lambda config, field=field: evaluation.Request(**{field: bad})
      for field in ("workdir", "output", "data_directory", "weights", "clips", "real", "reference")
    },
    **{
      f"analyze {field}": lambda config, field=field, value=value: analysis.Request(
        **{"workdirs": ["a"], field: value}
      )
      for field, value in (
        ("workdirs", ["a", bad]), ("output", bad), ("data_directory", bad), ("held_out", bad),
      )
    },
    **{
      f"prepare {field}": lambda config, field=field, value=value: settings.Request(
        **{"source": "folder", "input": "a", "output": "b", field: value}
      )
      for field, value in (("input", bad), ("output", bad), ("lists", ("a", bad)), ("classes", bad))
    },
    "verify": lambda config: verify.verify(bad),
    "convert": lambda config: convert.convert("c3d_ucf101", bad),
    "convert output": lambda config: convert.convert("c3d_ucf101", "a", bad),
    "convert mean": lambda config: convert.convert("c3d_ucf101", "a", mean=bad),
    "weights": lambda config: extractor.load_extractor("c3d_ucf101", bad),
    "compilation": lambda config: compilation.enable_cache(bad),
    "directory": lambda config: _data(config, directory=bad),
    "cache_directory": lambda config: _data(config, cache_directory=bad),
    "mixture": lambda config: _data(config, mixture=("a", bad)),
  }  # fmt: skip


ENTRIES = list(entries(BAD))
# Those that are read from a bucket, or written to one.
IN_BUCKETS = {
  *("train", "train in a branch", "train init_from", "sample", "sample output", "export", "load"),
  *("sample data_directory", "sample conditioning", "export output", "web", "earlier run"),
  *("earlier samples", "weights", "directory", "mixture"),
  *(name for name in ENTRIES if name.startswith(("evaluate ", "analyze "))),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.usefixtures("home")
def test_every_entry_of_the_library_refuses_an_address(entry, lean_config):
  with pytest.raises(UserError, match=r"s3://bucket/x.* is an address"):
    entries("s3://bucket/x")[entry](lean_config())
  assert os.listdir() == []


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.usefixtures("home")
def test_buckets_are_read_or_refused(entry, lean_config, monkeypatch):
  """Without the packages for buckets, so that the message says which of the two it is."""
  monkeypatch.setattr(objects, "_is_installed", lambda name: False)
  reason = r"pip install 'vidgan_jax\[gcs\]'" if entry in IN_BUCKETS else "gcloud storage cp"
  with pytest.raises(UserError, match=f"gs://bucket/x.*{reason}"):
    entries(BAD)[entry](lean_config())
  assert os.listdir() == []


@pytest.mark.parametrize(
  "variable, use",
  [
    ("JAX_COMPILATION_CACHE_DIR", lambda: compilation.enable_cache(None)),
    ("VIDGAN_JAX_REFERENCES", references.default_folder),
    ("VIDGAN_JAX_WEIGHTS", lambda: extractor.default_path("c3d_ucf101")),
    ("XDG_CACHE_HOME", references.default_folder),
  ],
)
def test_variables_of_the_environment(home, monkeypatch, variable, use):
  monkeypatch.setenv(variable, BAD)
  with pytest.raises(UserError, match=variable):
    use()
  monkeypatch.setenv(variable, "~/cache")
  assert str(use()).startswith(f"{home}/cache")
  assert os.listdir() == []


def test_requests_expand_home_folders(home):
  request = analysis.Request(workdirs=["~/a", "b"], output="~/c")
  assert (request.workdirs, request.output) == ([f"{home}/a", "b"], f"{home}/c")
  request = settings.Request("ucf101", "~/in", "~/out", lists=("~/x.csv", "y.csv"))
  assert dataclasses.astuple(request)[1:3] == (f"{home}/in", f"{home}/out")
  assert request.lists == (f"{home}/x.csv", "y.csv")


def test_a_run_in_the_home_folder(home, lean_config):
  trainer = loop.Trainer(lean_config(), "~/run", devices=jax.devices()[:1])
  assert str(trainer.workdir) == f"{home}/run" and os.listdir() == []


def test_config_files(home):
  assert door._with_local_config("--config=~/c.py:x") == f"--config={home}/c.py:x"
  for option in ("--config=configs/dvd_gan.py:a,runlocal", "--config.data.directory=~/a", "~/a"):
    assert door._with_local_config(option) == option
  with pytest.raises(UserError, match=r"--config is 'gs://a/c\.py'"):
    door._with_local_config("-config=gs://a/c.py")


def test_whether_a_folder_can_be_written_is_known_without_creating_it(tmp_path, monkeypatch):
  (tmp_path / "file").write_text("mine")
  (tmp_path / "link").symlink_to(tmp_path / "new")
  before = sorted(tmp_path.iterdir())
  for folder in (tmp_path, tmp_path / "a" / "b", tmp_path / "link", tmp_path / "link" / "a"):
    paths.check_writable(folder)
  for folder in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
    with pytest.raises(UserError, match=f"cannot write to {folder}: {tmp_path}/file is no folder"):
      paths.check_writable(folder)
  monkeypatch.setattr(paths.os, "access", lambda path, mode: path != tmp_path)
  with pytest.raises(
    UserError, match=f"cannot write to {tmp_path}/a: {tmp_path} cannot be written"
  ):
    paths.check_writable(tmp_path / "a")
  assert sorted(tmp_path.iterdir()) == before
