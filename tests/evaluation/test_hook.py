"""Scores during training, and the best state saved as the folder of a complete run."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from vidgan_jax.evaluation import hook
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import page, results
from vidgan_jax.models import registry, stored_config
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hooks import HookContext
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import Log, read_log


class Noise:
  """Grey noise, brighter by `bias`."""

  def __init__(self, step, bias):
    self.shape, self._bias = (4, 8, 8, 3), bias
    self.about = {"step": step, "ema": True, "truncation": 1.0, "seed": 0}

  def __call__(self, begin, end):
    draw = lambda i: np.random.default_rng(i).integers(0, 150, self.shape) + self._bias
    clips = np.stack([draw(i) for i in range(begin, end)]).astype(np.uint8)
    return jnp.asarray(clips), np.arange(begin, end) % 8


@pytest.fixture(scope="module")
def parts(lean_config):
  """Config, system and state of a tiny run."""
  config = lean_config()
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  return config, gan, jax.jit(lambda: states.create(gan, transforms, config.seed))()


@pytest.fixture
def train(parts, protocol, stand_in, monkeypatch, tmp_path):
  """A function (biases by step, begin) that calls the hook like the loop; returns the workdir."""
  config, gan, state = parts
  protocol = dataclasses.replace(protocol, real_count=40)
  monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol})
  monkeypatch.setattr(page, "write", lambda content, path, *clips, **more: path)
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", str(tmp_path / "references"))
  workdir = tmp_path / "run"
  workdir.mkdir()
  (workdir / states.DATA).write_text(json.dumps({"class_names": []}))

  def run(biases, begin=0, leaving=lambda: False, **settings):
    settings = {
      "every": 2,
      "protocol": "tiny",
      "count": 24,
      "real_count": 0,
      "best": "fid",
      **settings,
    }
    stream = lambda context, seed: Noise(context.step, biases[context.step])
    settings = ml_collections.ConfigDict(settings)
    load = lambda protocol: {"stand_in": stand_in()}
    hooked = hook.EvaluationHook(settings, stream, lambda line: None, load)
    with Log(workdir, begin) as log:
      for step in biases:
        assert hooked.due(step, step == 5)
        now = state.replace(step=jnp.int32(step))
        mesh = meshes.make_mesh(jax.devices()[:1])
        hooked.before_save(
          HookContext(
            step=step,
            state=now,
            sharded_state=now,
            frozen={},
            gan=gan,
            config=config,
            source=None,
            mesh=mesh,
            workdir=workdir,
            log=log,
            start_step=begin,
            last=step == 5,
            stop_requested=leaving,
          )
        )
    return workdir

  return run


def read(workdir):
  return results.read(workdir / "evaluation" / "tiny" / "results.json")


def test_scores_and_the_best_state(train):
  # Real clips are dark, so darker clips have a smaller distance.
  workdir = train({0: 0, 2: 90, 4: 10, 5: 60})
  records = [r for r in read(workdir)["records"] if r["metric"] == "fid"]
  assert [r["step"] for r in records] == [2, 4, 5]
  assert {r["count_generated"] for r in records} == {24}
  best = min(records, key=lambda r: r["value"])
  mark = json.loads((workdir / "best" / "best.json").read_text())
  assert mark["step"] == best["step"] == 4 and mark["value"] == best["value"]
  # The folder is a complete run, whose newest checkpoint is the best.
  _, _, state = states.load(workdir / "best")
  assert int(state.step) == 4
  assert not read_log(workdir / "log.jsonl")  # the guard replays it, so scores go to TensorBoard
  board = b"".join(path.read_bytes() for path in (workdir / "tensorboard").iterdir())
  assert board.count(b"evaluation/fid") == 3


def test_a_run_that_continues(train):
  workdir = train({2: 90, 4: 10})
  before = read(workdir)
  train({2: 90, 4: 60}, begin=2)  # after a crash: iteration 4 is repeated, 2 has its scores
  after = read(workdir)
  steps = lambda content: [r["step"] for r in content["records"] if r["metric"] == "fid"]
  assert steps(before) == steps(after) == [2, 4]
  values = [[r["value"] for r in c["records"] if r["metric"] == "fid"] for c in (before, after)]
  assert values[0][0] == values[1][0] and values[0][1] != values[1][1]


def test_a_best_state_after_the_restart_is_removed(train):
  workdir = train({2: 60, 4: 10})
  assert int(states.load(workdir / "best")[2].step) == 4
  train({2: 60, 4: 90}, begin=2)
  assert int(states.load(workdir / "best")[2].step) == 2


def test_a_better_score_of_a_state_that_was_not_saved_is_ignored(train):
  """`evaluate --follow` beside the run evaluates each checkpoint, at other iterations too."""
  workdir = train({2: 60})
  path = workdir / "evaluation" / "tiny" / "results.json"
  content = results.read(path)
  (record,) = (r for r in content["records"] if r["metric"] == "fid")
  beside = {**record, "step": 3, "number": "beside", "value": 0.0}
  results.write(path.parent, {**content, "records": [*content["records"], beside]})
  train({4: 10}, begin=3)
  assert [r["step"] for r in read(workdir)["records"] if r["metric"] == "fid"] == [2, 3, 4]
  assert int(states.load(workdir / "best")[2].step) == 4


def test_it_stops_when_training_is_asked_to_stop(train):
  workdir = train({2: 0}, leaving=lambda: True)
  assert not (workdir / "evaluation").exists() and not (workdir / "best").exists()


def test_refusals(train, protocol):
  with pytest.raises(UserError, match="unknown protocol 'fvd'"):
    train({}, protocol="fvd")
  with pytest.raises(UserError, match=r"evaluation\.best is 'fvd'; tiny has is, fid, accuracy"):
    train({}, best="fvd")


def test_a_best_metric_that_the_data_does_not_allow_is_refused_before_training(train):
  words = "best is 'accuracy', but the data does not have the classes of stand_in"
  with pytest.raises(UserError, match=words):
    train({0: 0}, best="accuracy")


@pytest.mark.parametrize("name", ["diversity", "vendi"])
def test_a_best_metric_without_a_better_direction_is_refused(train, monkeypatch, protocol, name):
  other = dataclasses.replace(protocol, metrics=(METRICS[name]("stand_in", "features"),))
  monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": other})
  with pytest.raises(UserError, match="neither higher nor lower values of it are better"):
    train({}, best=name)


def test_when_it_is_due():
  hooked = hook.EvaluationHook(
    ml_collections.ConfigDict(
      dict(every=3, protocol="moving_shapes", count=0, real_count=0, best="")
    ),
    None,
    load=lambda protocol: {},
  )
  # The call at 0, where training begins, prepares the evaluation and scores nothing.
  assert [step for step in range(8) if hooked.due(step, step == 7)] == [0, 3, 6, 7]
  assert not hooked._scores_at(0, False)


def test_too_few_real_clips_are_refused_before_training(train):
  with pytest.raises(UserError, match="41 real clips are requested, the train split has 40"):
    train({0: 0}, real_count=41)


def test_a_run_without_evaluation_may_continue_with_it(parts):
  from vidgan_jax.runtime.config import configuration

  config, _, _ = parts
  old = json.loads(configuration.to_json(config))
  del old["evaluation"]
  old = stored_config.from_json(json.dumps(old))
  new = stored_config.from_json(configuration.to_json(config))
  new.evaluation.every = 7
  assert stored_config.first_difference(old, new) is None
  assert stored_config.identity(old) == stored_config.identity(new)
