"""Short training runs for tests: starting them, and comparing their states and logs."""

import jax
import numpy as np

from vidgan_jax.training import loop
from vidgan_jax.training.logs import read_log


def train(config, workdir, **options):
  """Trains on one device, without messages; returns the state at the end."""
  options.setdefault("devices", jax.devices()[:1])
  options.setdefault("report", lambda line: None)
  return loop.Trainer(config, workdir, **options).run()


def same(a, b):
  """Whether two trees have equal arrays, bit for bit."""
  return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def losses(workdir):
  """The records of a run's log without their times."""
  return [
    {name: value for name, value in record.items() if not name.startswith("time/")}
    for record in read_log(workdir / "log.jsonl")
  ]
