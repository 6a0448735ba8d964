"""Runs that go back to an earlier checkpoint: where a user asks, and after a collapse."""

import dataclasses
import json
import shutil

import jax
import pytest

from tests.runs import losses, same
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.hooks import Hook
from vidgan_jax.training import curves, loop
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import read_log
from vidgan_jax.training.starts import branches, records, restarts

RATE = "optimizer.generator_lr"


class Collapse(Hook):
  """Stops a run as a guard does."""

  def __init__(self, at):
    self.at = at

  def metrics(self, step, metrics):
    if step == self.at:
      raise Stopped(f"stopped at iteration {step}: collapsed")


def train(config, workdir, restart_from=None, collapses=(), lines=None):
  """Calls `restarts.train`; the n-th folder that is trained collapses at collapses[n]."""
  report = [] if lines is None else lines
  moments = iter(collapses)

  def start(config, workdir):
    hooks = [Collapse(next(moments, None))]
    return loop.Trainer(config, workdir, hooks, devices=jax.devices()[:1], report=report.append)

  trainer = restarts.train(config, workdir, start, restart_from=restart_from, report=report.append)
  return trainer.workdir


def files(folder):
  """{path: bytes} of all files of a run, those of its branches left out."""
  paths = [p for p in folder.rglob("*") if p.is_file()]
  names = {p: p.relative_to(folder).parts for p in paths}
  return {n: p.read_bytes() for p, n in names.items() if n[0] != records.FOLDER}


def stored(workdir):
  return json.loads((workdir / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config(lean_config):
  base = {"num_iterations": 6, "checkpoint_every": 2, "log_every": 1}
  return lambda **changes: lean_config(**{**base, **changes})


@pytest.fixture(scope="module")
def original(config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("original") / "run"
  train(config(), workdir)
  return workdir


@pytest.fixture
def run(original, tmp_path):
  return shutil.copytree(original, tmp_path / "run")


def test_going_back_with_another_learning_rate(run, config, tmp_path):
  before, lines = files(run), []
  wanted = config(**{RATE: 1e-5})
  branch = train(wanted, run, restart_from=4, lines=lines)
  assert branch == run / "branches" / "1"
  assert files(run) == before  # nothing of the run changes
  assert any("going back to iteration 4" in line and "1e-05" in line for line in lines)
  assert stored(branch)["optimizer"]["generator_lr"] == 1e-5
  assert stored(branch)["seed"] != stored(run)["seed"]
  assert Checkpoints(branch / "checkpoints").steps() == [4, 6]
  old, new = losses(run), losses(branch)
  assert [r["step"] for r in new] == [1, 2, 3, 4, 5, 6]
  assert new[:4] == old[:4]
  assert [r.get("run/branch") for r in new] == [None] * 4 + [1, 1]
  assert new[4]["loss/generator"] != old[4]["loss/generator"]
  states.load(branch)  # every command opens it
  # The same command continues the same branch, in an interrupted one too.
  final = states.load(branch)[2]
  shutil.rmtree(branch / "checkpoints" / "6")
  assert train(wanted, run, restart_from=4) == branch
  assert same(states.load(branch)[2], final) and losses(branch) == new
  # So does the branch's own folder, with the run's config.
  assert train(config(num_iterations=7), branch) == branch
  assert Checkpoints(branch / "checkpoints").steps()[-1] == 7
  # Without the flag, the run itself.
  assert train(config(num_iterations=7), run) == run


def test_each_branch_has_its_own_random_numbers(run, config):
  first = train(config(), run, restart_from=4)
  second = train(config(**{RATE: 1e-5}), run, restart_from=4)
  third = train(config(), first, restart_from=6)
  assert [b.name for b in (first, second, third)] == ["1", "2", "3"]
  assert len({stored(folder)["seed"] for folder in (run, first, second, third)}) == 4
  assert losses(first)[4]["loss/generator"] != losses(run)[4]["loss/generator"]
  family = branches.Family(third)
  assert family.home == run and family.number == 3
  assert [family.branches[n].of for n in (1, 2, 3)] == [0, 0, 1]
  record = json.loads((third / "branch.json").read_text(encoding="utf-8"))
  assert record["changes"]["seed"] == [stored(first)["seed"], stored(third)["seed"]]


def test_what_is_refused(run, config, tmp_path):
  with pytest.raises(UserError, match=r"no such checkpoint .* there are: 2, 4, 6"):
    train(config(), run, restart_from=5)
  with pytest.raises(UserError, match=r"ema\.decay: .* may change only config\.optimizer"):
    train(config(**{"ema.decay": 0.5}), run, restart_from=4)
  with pytest.raises(UserError, match="no run in"):
    train(config(), tmp_path / "none", restart_from=4)
  assert not (run / "branches").exists() and not (tmp_path / "none").exists()
  for path in (run / "checkpoints" / "4" / "state").rglob("*"):
    if path.is_file() and path.stat().st_size > 200:
      path.write_bytes(path.read_bytes()[:-50])
  with pytest.raises(UserError, match=r"this checkpoint in .* is damaged"):
    train(config(), run, restart_from=4)
  branch = train(config(), run, restart_from=2)
  record = branch / "branch.json"
  content = json.loads(record.read_text(encoding="utf-8"))
  record.write_text(json.dumps({**content, "of": 7}), encoding="utf-8")
  with pytest.raises(UserError, match=r"branch\.json: its numbers"):
    train(config(), run, restart_from=2)


def test_a_collapse_restarts_the_run_a_number_of_times(config, tmp_path):
  wanted = config(**{"guard.restarts": 2, "guard.restart_rate": 0.5})
  run, lines = tmp_path / "run", []
  branch = train(wanted, run, collapses=(5, 5), lines=lines)
  # The first restart begins at the newest checkpoint. The second collapse comes before another
  # checkpoint, so the second restart begins at the one before.
  records = branches.Family(run).branches
  assert branch == run / "branches" / "2"
  assert [(records[n].of, records[n].source, records[n].step) for n in (1, 2)] == [
    (0, 0, 4), (1, 0, 2),
  ]  # fmt: skip
  assert "collapsed" in records[1].reason and records[2].restarts == 2
  assert Checkpoints(run / "checkpoints").steps() == [2, 4]
  rates = [stored(folder)["optimizer"] for folder in (run, run / "branches" / "1", branch)]
  for name in ("generator_lr", "discriminator_lr"):
    assert [r[name] / rates[0][name] for r in rates] == [1, 0.5, 0.25]
  assert any("restart 2 of 2: going back to iteration 2" in line for line in lines)
  assert [r.get("run/branch") for r in read_log(branch / "log.jsonl")] == [None] * 2 + [2] * 4
  # Commands that open the run's folder open the run, and name the branch.
  lines = []
  assert int(states.load(run, report=lines.append)[2].step) == 4
  assert len(lines) == 1 and f"training went on in {branch};" in lines[0]
  lines = []
  states.load(branch, report=lines.append)
  states.load(run, 4, report=lines.append)  # asked for by number
  assert lines == []
  # The same command continues where training stopped last.
  final = states.load(branch)[2]
  shutil.rmtree(branch / "checkpoints" / "6")
  lines = []
  assert train(wanted, run, lines=lines) == branch
  assert same(states.load(branch)[2], final)
  assert any(f"training in {branch}" in line for line in lines)


def test_the_last_collapse_stops_the_run(config, tmp_path):
  wanted = config(**{"guard.restarts": 1})
  for _ in range(2):  # the same command makes no third attempt
    with pytest.raises(Stopped, match="collapsed"):
      train(wanted, tmp_path / "run", collapses=(3, 5) if _ == 0 else (5,))
  assert sorted(branches.Family(tmp_path / "run").branches) == [1]
  with pytest.raises(Stopped):
    train(config(), tmp_path / "off", collapses=(5,))
  assert not (tmp_path / "off" / "branches").exists()
  with pytest.raises(Stopped):  # before the first checkpoint there is nothing to go back to
    train(wanted, tmp_path / "early", collapses=(1,))
  assert not branches.Family(tmp_path / "early").branches


def test_a_branch_of_a_user_collapses(run, config):
  """The same command continues in the branch that followed; so does the branch's own folder."""
  wanted = config(**{RATE: 1e-5, "guard.restarts": 1, "guard.restart_rate": 0.5})
  second = train(wanted, run, restart_from=4, collapses=(5,))
  assert second == run / "branches" / "2"
  assert stored(second)["optimizer"]["generator_lr"] == 5e-6
  assert train(wanted, run, restart_from=4) == second
  assert train(wanted, run / "branches" / "1") == second
  assert train(config(**{"guard.restarts": 1}), second) == second
  assert train(config(**{"guard.restarts": 1}), run) == run
  with pytest.raises(UserError, match=r"optimizer\.generator_lr: .* 0\.5 here"):
    train(config(**{RATE: 0.5}), second)


def test_dark_clips_restart_a_run(config, tmp_path):
  """The guard itself: from iteration 4 on, every clip counts as dark."""
  run = tmp_path / "run"
  train(config(num_iterations=4), run)
  guard = {"guard.dark_level": 1.0, "guard.dark_fraction": 0.5, "guard.dark_patience": 2}
  with pytest.raises(Stopped, match="dark"):
    train(config(num_iterations=9, **guard, **{"guard.restarts": 2}), run)
  records = branches.Family(run).branches
  assert [(records[n].source, records[n].step) for n in (1, 2)] == [(0, 4), (0, 2)]
  assert Checkpoints(run / "checkpoints").steps() == [2, 4]


def test_a_branch_of_a_run_with_other_weights(original, config, tmp_path):
  """The same command, with --init_from, continues in the branch."""
  wanted = config(**{"guard.restarts": 1, "seed": 3})
  start = lambda at: lambda config, workdir: loop.Trainer(
    config, workdir, [Collapse(next(at, None))], devices=jax.devices()[:1],
    report=lambda line: None, init_from=str(original),
  )  # fmt: skip
  restarts.train(wanted, tmp_path / "run", start(iter((5,))), report=lambda line: None)
  branch = tmp_path / "run" / "branches" / "1"
  assert (branch / "init.json").read_bytes() == (tmp_path / "run" / "init.json").read_bytes()
  # A collapse before any other checkpoint goes back to the weights that the run began with.
  early = tmp_path / "early"
  restarts.train(wanted, early, start(iter((1,))), report=lambda line: None)
  assert branches.Family(early).branches[1].step == 0


def test_commands_name_the_branch_in_which_guards_went_on(tmp_path):
  """Files alone: the run, a user's branch 1, branch 2 after a collapse of 1, 3 after one of 2."""
  begun = {"source": 0, "step": 2, "reason": "stopped at iteration 5: dark", "changes": {}}
  for number, of in ((1, 0), (2, 1), (3, 2)):
    automatic = {"automatic": number > 1, "restarts": number - 1}
    folder = tmp_path / "branches" / str(number)
    folder.mkdir(parents=True)
    record = records.Branch(number, of, **begun, **automatic)
    text = json.dumps(dataclasses.asdict(record))
    (folder / "branch.json").write_text(text, encoding="utf-8")

  def said(folder):
    lines = []
    states.mention_branch(folder, lines.append)
    return lines

  assert said(tmp_path) == said(tmp_path / "branches" / "3") == said(tmp_path / "none") == []
  (line,) = said(tmp_path / "branches" / "1")
  assert f"training went on in {tmp_path}/branches/3; name that folder" in line
  assert f"stopped the run in {tmp_path}/branches/2 (stopped at iteration 5: dark)" in line
  (tmp_path / "branches" / "2" / "branch.json").write_text("{}", encoding="utf-8")
  (line,) = said(tmp_path)  # a damaged record does not keep a command from opening the run
  assert line.startswith("WARNING: ") and "branches/2/branch.json" in line


def test_curves_mark_where_a_branch_begins():
  rows = [{"step": 1}, {"step": 2}, {"step": 3, "run/branch": 1}, {"step": 4, "run/branch": 1},
          {"step": 5, "run/branch": 3}]  # fmt: skip
  assert curves._restarts(rows) == [(2, 1), (4, 3)]
  assert curves._restarts(rows[:2]) == []
