r"""Kills a training run and starts second ones on its folder, at random moments; compares the end.

  python tests/soak/kills_and_starts.py [--kills=30] [--starts=10] [--seed=N] [--folder=DIR]

One run is left alone. Another, of the same config, is killed (SIGKILL) and started again, and while
it lives the same command is started a second time, each at moments drawn from the seed: amid
imports, compiling, iterations and saves. Afterwards both must hold the same state to the bit, the
same log and the same sample pictures, every second process must have been refused in one line or
have taken over after a kill, and nothing may have been set aside as damaged. Prints a table; the
exit code is 0 where all of that holds, else 1. Takes 5 to 20 minutes on two CPU cores.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# DVD-GAN of 8x8 pixels and 4 frames; an iteration takes some hundredths of a second.
TINY = {
  "batch_size": 4, "checkpoint_every": 3, "log_every": 1, "sample_every": 25,
  "data.num_examples": 40, "ema.start": 2, "model.frames": 4, "model.resolution": 8,
  "model.discriminator_steps": 1, "model.latent_dim": 4, "model.embedding_dim": 4,
  "model.generator.channels": 4, "model.generator.multipliers": "(2,1)",
  "model.discriminator.temporal": False, "model.discriminator.channels": 4,
  "model.discriminator.multipliers": "(1,2)", "model.discriminator.sampled_frames": 2,
  "model.savings": False,
}  # fmt: skip


class Process:
  """One call of the train command; its words go to a file."""

  def __init__(self, workdir, iterations, number):
    self.number, self.out = number, workdir.parent / f"{workdir.name}.{number}.out"
    fields = {**TINY, "num_iterations": iterations}
    command = [sys.executable, "-m", "vidgan_jax.train"]
    command += [f"--config={ROOT / 'configs' / 'quickstart.py'}:runlocal", f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in fields.items()]
    with open(self.out, "wb") as out:
      self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)
    self.begin = time.monotonic()

  @property
  def alive(self):
    return self.process.poll() is None

  def outcome(self) -> str:
    """How the process ended; an unexpected end is given with the last line of output."""
    code, text = self.process.wait(), self.out.read_text(errors="replace")
    lines = [line for line in text.replace("\r", "\n").splitlines() if line.strip()]
    if "damaged" in text or "Traceback" in text:
      return f"FAULT: {lines[-1]}"
    if code == 2 and "has been using it since" in lines[-1]:
      return "refused in one line"
    return {0: "done", -signal.SIGKILL: "killed"}.get(code) or f"FAULT: exit {code}: {lines[-1]}"


def steps_logged(workdir) -> int:
  """Lines of the log so far."""
  log = workdir / "log.jsonl"
  return log.read_bytes().count(b"\n") if log.exists() else 0


def holder(workdir, processes):
  """The living process that holds the lock, or any that lives."""
  living = [each for each in processes if each.alive]
  lock = workdir / ".lock"
  words = lock.read_text().split() if lock.exists() else []
  named = [each for each in living if str(each.process.pid) == (words + ["", ""])[1]]
  return (named or living or [None])[0]


def wait_for_a_moment(draw, workdir, victim):
  """Waits until a random moment of a process' life, or its end; returns what the moment is of."""
  if draw.random() < 0.4:
    limit = draw.uniform(0, 12)
    while victim.alive and time.monotonic() - victim.begin < limit:
      time.sleep(0.01)
  else:
    wanted = draw.randint(1, 9)
    before = steps_logged(workdir)
    while victim.alive and steps_logged(workdir) < before + wanted:
      time.sleep(0.005)
    time.sleep(draw.uniform(0, 0.15))
  return "training" if " it" in victim.out.read_text(errors="replace")[-200:] else "before training"


def disturb(workdir, iterations, kills, starts, draw):
  """Runs, kills and starts; returns all processes and how many kills met a process."""
  events = ["kill"] * kills + ["start"] * starts
  draw.shuffle(events)
  processes = [Process(workdir, iterations, 0)]
  moments = collections.Counter()
  for number, event in enumerate(events, start=1):
    victim = holder(workdir, processes)
    if victim is None:
      break  # the run has reached its end
    if event == "start":
      if draw.random() < 0.5:
        wait_for_a_moment(draw, workdir, victim)
      processes.append(Process(workdir, iterations, number))
      print(f"{number:3} of {len(events)}: started a second process", flush=True)
      continue
    wait_for_a_moment(draw, workdir, victim)
    victim = holder(workdir, processes)
    if victim is None:
      break
    done = steps_logged(workdir)
    saving = any((workdir / "checkpoints").glob("*tmp*"))
    victim.process.kill()
    victim.process.wait()
    moments[
      "an unfinished save there" if saving else "training" if done else "before the first iteration"
    ] += 1
    print(f"{number:3} of {len(events)}: killed after {done} iterations", flush=True)
    if holder(workdir, processes) is None:
      processes.append(Process(workdir, iterations, number))
  for each in processes:
    each.process.wait()
  while not (workdir / "checkpoints" / str(iterations)).is_dir() and len(processes) < 200:
    processes.append(Process(workdir, iterations, len(processes) + 1000))
    processes[-1].process.wait()
  return processes, moments


def differences(one, other) -> list[str]:
  """What two finished runs do not share, and what was set aside in the second."""
  import jax
  import numpy as np

  from vidgan_jax.runtime.trees import leaf_names
  from vidgan_jax.training import state as states

  found = []
  first, second = (jax.device_get(states.load(folder)[2]) for folder in (one, other))
  for name, a, b in zip(leaf_names(first), *map(jax.tree.leaves, (first, second)), strict=True):
    if not np.array_equal(a, b, equal_nan=True):
      found.append(f"state: {name}")
  logs = []
  for folder in (one, other):
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    logs.append([{k: v for k, v in r.items() if not k.startswith("time/")} for r in records])
  if logs[0] != logs[1]:
    found.append(f"log: {len(logs[0])} and {len(logs[1])} records, or others")
  pictures = [{p.name: p.read_bytes() for p in (f / "samples").iterdir()} for f in (one, other)]
  if pictures[0] != pictures[1]:
    found.append("samples")
  aside = [path for path in other.rglob("*") if "damaged" in path.name or "tmp" in path.name]
  return found + [f"left or set aside: {path.relative_to(other)}" for path in aside]


def main():
  """Runs all; returns the exit code."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("--kills", type=int, default=30)
  parser.add_argument("--starts", type=int, default=10)
  parser.add_argument("--iterations", type=int, default=0, help="default: 12 for each kill")
  parser.add_argument("--seed", type=int, default=None, help="of the moments; default: drawn")
  parser.add_argument("--folder", type=pathlib.Path, default=None, help="kept; default: removed")
  options = parser.parse_args()
  seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
  iterations = options.iterations or 12 * max(1, options.kills)
  print(f"seed {seed}, {iterations} iterations", flush=True)
  with tempfile.TemporaryDirectory() as temporary:
    folder = (options.folder or pathlib.Path(temporary)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    alone = Process(folder / "alone", iterations, 0)
    if alone.outcome() != "done":
      print(alone.out.read_text())
      return 1
    print(f"left alone: {time.monotonic() - begin:.0f} s", flush=True)
    processes, moments = disturb(
      folder / "disturbed", iterations, options.kills, options.starts, random.Random(seed)
    )
    outcomes = collections.Counter(each.outcome() for each in processes)
    found = differences(folder / "alone", folder / "disturbed")
    print(f"\n{'kills':34}{sum(moments.values()):5}")
    for moment, count in sorted(moments.items()):
      print(f"  {moment:32}{count:5}")
    print(f"{'processes':34}{len(processes):5}")
    for outcome, count in sorted(outcomes.items()):
      print(f"  {outcome:32}{count:5}")
    print(f"{'differences from the run left alone':34}{len(found):4}")
    for each in found:
      print(f"  {each}")
    print(f"seconds {time.monotonic() - begin:.0f}")
  faults = [outcome for outcome in outcomes if outcome.startswith("FAULT")]
  missed = sum(moments.values()) < options.kills
  if missed:
    print("the run ended before all kills; more --iterations meet more of them")
  return int(bool(found or faults or missed))


if __name__ == "__main__":
  sys.exit(main())
