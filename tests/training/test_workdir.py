"""The folder of a run, before training begins."""

import os

import pytest

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.training import workdir


def test_processes_without_one_folder_are_refused_before_anything_is_made(tmp_path, monkeypatch):
  """`tests/runtime/test_processes.py` tests the comparison of folders between processes."""
  calls = []

  def differ(folder, what):
    calls.append((folder, what))
    raise UserError("not one folder")

  monkeypatch.setattr(processes, "share_a_folder", differ)
  with pytest.raises(UserError, match="not one folder"):
    workdir.create(tmp_path / "run", config=None)
  assert calls == [(tmp_path / "run", "workdir")] and not (tmp_path / "run").exists()


DESCRIPTION = {"num_examples": 1}


def test_a_second_training_in_a_folder_is_refused_in_words_that_name_the_first(
  load_config, tmp_path, monkeypatch
):
  monkeypatch.setattr(locks, "PATIENCE", 0.0)
  config, run = load_config("quickstart"), tmp_path / "run"
  with workdir.locked(workdir.create(run, config), config, DESCRIPTION):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    words = rf"cannot use {run}(/best)? as workdir: process {os.getpid()} on .* has been using it"
    for again in (
      run,
      run / "best",
    ):  # "best" is a run folder too; the run around it writes it
      with pytest.raises(locks.Taken, match=words):
        workdir.create(again, config)
    with pytest.raises(locks.Taken, match=words):
      with workdir.locked(run, config, DESCRIPTION):
        pass
    after = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert after == before
  with workdir.locked(workdir.create(run, config), config, DESCRIPTION):
    pass


def test_a_config_without_checkpoints_is_replaced_in_words(load_config, tmp_path):
  """So that a run that did not get as far as its first checkpoint can begin anew."""
  run, lines = tmp_path / "run", []
  for batch_size in (8, 4):
    config = load_config("quickstart")
    config.batch_size = batch_size
    with workdir.locked(workdir.create(run, config), config, DESCRIPTION, lines.append):
      pass
  assert lines == ["replaces the config of a run without checkpoints: batch_size: 8 there, 4 here"]


@pytest.mark.parametrize("content", ['{"a":', "[]", None])
def test_what_is_no_config_is_not_replaced(load_config, tmp_path, content):
  file = tmp_path / "config.json"
  file.mkdir() if content is None else file.write_text(content)
  with pytest.raises(UserError, match=r"config\.json"):
    workdir.create(tmp_path, load_config("quickstart"))
  assert list(tmp_path.iterdir()) == [file]
  assert content is None or file.read_text() == content
