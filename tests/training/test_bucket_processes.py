"""Two processes train a run in a bucket, each with local copies of its own.

The program that both run is this file; see `two_processes`.
"""

import json
import pathlib

import pytest

from tests import runs, two_processes
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import objects, staged
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.hardware import heartbeat
from vidgan_jax.training import loop

RUN = "gs://bucket/two"


def train_in_both(folder):
  """Trains half of a run and the rest in a bucket, and the whole in a local folder."""
  config = stored_config.from_json((folder / "config.json").read_text())
  for last, workdir in ((2, RUN), (4, RUN), (4, folder / "local")):
    with config.unlocked():
      config.num_iterations = last
    trainer = loop.Trainer(config, workdir)
    assert (staged.address(trainer.workdir) == RUN) == (workdir == RUN)
    trainer.run()
  if not processes.first():
    assert not (pathlib.Path(staged.local(RUN)) / "curves.png").exists()
  number = processes.first()
  with pytest.raises(UserError, match="is not the same in all processes"):
    processes.share_a_folder(paths.staged(f"{RUN}{number}", "--workdir"), "workdir")


def test_two_processes_train_in_a_bucket(bucket, lean_config, tmp_path):
  (tmp_path / "config.json").write_text(configuration.to_json(lean_config()))
  output = two_processes.run(__file__, tmp_path, devices=1)
  assert "continuing from the checkpoint at iteration 2" in output
  sums = lambda content: json.loads(content)["checksums"]
  there = bucket.read("two/checkpoints/4/extra/metadata")
  here = (tmp_path / "local/checkpoints/4/extra/metadata").read_bytes()
  assert sums(there) == sums(here)
  records = [json.loads(line) for line in bucket.read("two/log.jsonl").splitlines()]
  assert [r["loss/generator"] for r in records] == [
    r["loss/generator"] for r in runs.losses(tmp_path / "local")
  ]
  assert not [n for n in bucket.names() if "/alive/" in n or n.endswith(".lock")]


def test_a_silent_process_is_noticed_through_the_bucket(bucket, monkeypatch):
  monkeypatch.setattr(heartbeat, "IN_BUCKET", 1)
  workdir = pathlib.Path(staged.open_folder(RUN, "--workdir"))
  workdir.mkdir(parents=True)
  content = {"host": "other", "pid": 7, "beat": 1, "iteration": 3, "doing": "input"}
  bucket.put("two/alive/1.json", json.dumps(content).encode())
  lines = []
  with heartbeat.Heartbeat(workdir, 0, 2, lines.append, every=0.05, silent=0.2) as alive:
    assert b'"beat": 1' in bucket.read("two/alive/0.json")
    while not lines:
      alive._end.wait(0.05)
  assert "process 1 on other (pid 7, iteration 3, input) has shown no sign of life" in lines[0]
  assert objects.listing(f"{RUN}/alive").keys() == {"1.json"}


if __name__ == "__main__":
  two_processes.main(train_in_both)
