"""A run's folder, before anything is trained in it."""

import pytest

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import workdir


def test_processes_without_one_folder_are_refused_before_anything_is_made(tmp_path, monkeypatch):
  """`tests/runtime/test_processes.py` has what several processes find out about a folder."""
  asked = []

  def differ(folder, what):
    asked.append((folder, what))
    raise UserError("not one folder")

  monkeypatch.setattr(processes, "share_a_folder", differ)
  with pytest.raises(UserError, match="not one folder"):
    workdir.make(tmp_path / "run", config=None)
  assert asked == [(tmp_path / "run", "workdir")] and not (tmp_path / "run").exists()
