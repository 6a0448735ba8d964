"""Training with signs of life: a process that holds up the others is named; where time goes.

This file is also the program that each of the two processes runs.
"""

import os
import time

import jax
import pytest

from tests import two_processes
from tests.runs import train
from vidgan_jax.models import stored_config
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.hardware import heartbeat
from vidgan_jax.training import clock, loop
from vidgan_jax.training.logs import read_log

STALL = 16.0  # seconds that process 1 waits for its data


def hang_in_one(folder):
  """The program of each of the two processes: process 1 is late with the data of iteration 5."""
  config = stored_config.from_json((folder / "config.json").read_text())
  options = {"every": 0.2, "stalled": 2.0}
  loop.Heartbeat = lambda *arguments: heartbeat.Heartbeat(*arguments, **options)
  trainer = loop.Trainer(config, folder / "run", devices=jax.devices())
  batches = trainer._batches

  def late(iteration):
    if iteration == 5 and jax.process_index() == 1:
      time.sleep(STALL)
    return batches(iteration)

  trainer._batches = late
  trainer.run()


def test_the_process_that_holds_up_the_others_is_named(lean_config, tmp_path):
  (tmp_path / "config.json").write_text(configuration.to_json(lean_config(num_iterations=7)))
  output = two_processes.run(__file__, tmp_path, devices=1)
  told = [line for line in output.splitlines() if line.startswith("WARNING: iteration ")]
  host = os.uname().nodename
  assert any(f"process 1 on {host} (pid " in line and ", input)" in line for line in told), output
  assert not (tmp_path / "run" / "alive").exists()


def test_the_log_says_where_the_time_goes(lean_config, tmp_path):
  lines = []
  train(lean_config(num_iterations=3, log_every=1), tmp_path, report=lines.append)
  parts = ("training", *clock.PARTS)
  records = read_log(tmp_path / "log.jsonl")
  for record in records:
    shares = [record[f"time/share_{part}"] for part in parts]
    assert sum(shares) == pytest.approx(1) and min(shares) >= 0
  assert records[0]["time/share_compiling"] > 0 and records[0]["time/share_starting"] > 0
  (line,) = [line for line in lines if " minutes: " in line]
  assert line.startswith("iteration 3 of 3, after ") and "compiling" in line


if __name__ == "__main__":
  two_processes.main(hang_in_one)
