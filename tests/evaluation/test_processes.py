"""Two processes compute the scores of one, and save the same best state.

This file is also the program that each of the two processes runs.
"""

import dataclasses
import functools
import json
import os

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from tests import two_processes
from vidgan_jax import evaluation
from vidgan_jax.data.sources.moving_shapes import CLASS_NAMES
from vidgan_jax.evaluation import hook
from vidgan_jax.evaluation.features.extractor import Extractor
from vidgan_jax.evaluation.metrics.prediction import PredictionQuality
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import page, results
from vidgan_jax.models import registry, stored_config
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.hooks import HookContext
from vidgan_jax.sampling import stream
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.logs import Log, Reader

COUNT, STEPS = 22, (2, 4, 6)  # 22 clips in batches of 8: the last is filled up
PREDICTIONS = {"protocol": "predictions", "best": "psnr", "steps": (2,)}
# SSIM needs frames of 11 pixels or more.
SMALL_PREDICTION = {
  "model.resolution": 16,
  "model.generator.multipliers": (2, 2, 1),
  "model.discriminator.multipliers": (1, 2, 2),
  "model.discriminator.temporal": False,
}


def _apply(variables, clips):
  flat = clips.reshape(clips.shape[0], -1)
  features = jnp.tanh(jnp.matmul(flat, variables["in"], precision="highest"))
  return {"features": features, "logits": 3 * features[:, :3]}


def _extractor(frames, side):
  size = frames * side * side * 3
  weights = np.random.default_rng(0).normal(size=(size, 6)).astype(np.float32)
  variables = {"in": weights / np.sqrt(size)}
  return Extractor(
    name="stand_in",
    weights_hash="hash",
    outputs={"features": 6, "logits": 3},
    min_frames=2,
    input_size=None,
    variables=variables,
    apply=_apply,
    constants={},
    class_names=CLASS_NAMES,
  )


def _protocols():
  """Protocols by name: "tiny", and "predictions" for runs that continue given frames."""
  scale = (("scale", 2 / 255, -1.0),)
  kinds = {"is": "logits", "fid": "features", "kvd": "features", "accuracy": "logits"}
  measures = tuple(METRICS[m]("stand_in", o, scale) for m, o in kinds.items())
  tiny = evaluation.Protocol("tiny", "a test", measures, real_count=37, generated_count=COUNT)
  measures = (METRICS["fid"]("stand_in", "features", scale), PredictionQuality())
  predictions = dataclasses.replace(tiny, name="predictions", metrics=measures, real_count=5)
  return {each.name: each for each in (tiny, predictions)}


def evaluate(config, workdir, devices, protocol="tiny", best="accuracy", steps=STEPS):
  """Calls the hook like the loop, with the states of `steps`."""
  mesh, gan = meshes.make_mesh(devices), registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  like = states.abstract(gan, transforms, config.seed, mesh, "zero1")
  shardings = jax.tree.map(lambda a: a.sharding, like)
  create = jax.jit(functools.partial(states.create, gan, transforms), out_shardings=shardings)
  settings = ml_collections.ConfigDict(
    {"every": 2, "protocol": protocol, "count": 0, "real_count": 0, "best": best}
  )
  extractors = {"stand_in": _extractor(gan.frames, gan.resolution)}
  evaluation_hook = hook.EvaluationHook(
    settings, stream.from_hook_context, print, lambda protocol: extractors
  )
  with (Log if processes.first() else Reader)(workdir, 0) as log:
    for step in (0, *steps):
      state = create(step)  # another seed, another generator
      state = state.replace(step=meshes.replicate(np.int32(step), mesh))
      local = processes.local(state, mesh)
      context = HookContext(
        step=step,
        state=local,
        sharded_state=state,
        frozen={},
        gan=gan,
        config=config,
        source=None,
        mesh=mesh,
        workdir=workdir,
        log=log,
      )
      if evaluation_hook.due(step, False):
        evaluation_hook.before_save(context)


def prepare(patch, folder, number):
  """Replaces the protocol, the report page and the folder of cached features."""
  patch(protocols, "all_protocols", _protocols)
  patch(page, "write", lambda content, path, *clips, **more: path)
  os.environ["VIDGAN_JAX_REFERENCES"] = str(folder / f"references{number}")


def workdir_of(folder, name):
  workdir = folder / name
  workdir.mkdir(exist_ok=True)
  (workdir / states.DATA).write_text(json.dumps({"class_names": []}))
  return workdir


def test_two_processes_score_as_one_and_save_the_best_state(lean_config, tmp_path, monkeypatch):
  config = lean_config()
  (tmp_path / "config.json").write_text(configuration.to_json(config))
  alone, two = (workdir_of(tmp_path, name) for name in ("one", "two"))
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", "")
  prepare(monkeypatch.setattr, tmp_path, 1)
  evaluate(config, alone, jax.devices()[:1])
  output = two_processes.run(__file__, tmp_path, devices=2)
  # Again: now process 0 alone has the cached features and labels of the real clips.
  two_processes.run(__file__, tmp_path, devices=2)
  one, both = (
    results.read(w / "evaluation" / "tiny" / "results.json")["records"] for w in (alone, two)
  )
  assert [r["step"] for r in both if r["metric"] == "fid"] == [*STEPS]
  for a, b in zip(one, both, strict=True):
    assert (a["metric"], a["step"], a["fingerprint"]) == (b["metric"], b["step"], b["fingerprint"])
    # Pixels are rounded: a value in the middle of two may be rounded either way.
    np.testing.assert_allclose(b["value"], a["value"], rtol=1e-3, err_msg=a["metric"])
    np.testing.assert_allclose(b["floor"]["value"], a["floor"]["value"], rtol=1e-5)
  marks = [json.loads((w / "best" / "best.json").read_text()) for w in (alone, two)]
  assert marks[0]["step"] == marks[1]["step"]
  saved = states.load(two / "best")[2]
  assert int(saved.step) == marks[1]["step"]
  expected = states.load(alone / "best")[2]
  for a, b in zip(
    jax.tree.leaves(expected.generator), jax.tree.leaves(saved.generator), strict=True
  ):
    np.testing.assert_allclose(a, b, rtol=1e-6)
  # Process 0 decides whether features are computed, and writes them. It had none in the first run.
  assert len(list((tmp_path / "references0").glob("*.npz"))) == 1
  assert "features of 37 real clips: " not in output


def test_two_processes_continue_the_same_frames(tiny_prediction_config, tmp_path, monkeypatch):
  config = tiny_prediction_config(**SMALL_PREDICTION)
  (tmp_path / "predictions.json").write_text(configuration.to_json(config))
  alone, two = (workdir_of(tmp_path, name) for name in ("one", "two"))
  monkeypatch.setenv("VIDGAN_JAX_REFERENCES", "")
  prepare(monkeypatch.setattr, tmp_path, 1)
  evaluate(config, alone, jax.devices()[:1], **PREDICTIONS)
  two_processes.run(__file__, tmp_path, devices=2)
  one, both = (
    results.read(w / "evaluation" / "predictions" / "results.json")["records"] for w in (alone, two)
  )
  assert {r["metric"] for r in both} == {"fid"} | {n.name for n in PredictionQuality.numbers}
  for a, b in zip(one, both, strict=True):
    assert (a["metric"], a["step"], a["fingerprint"]) == (b["metric"], b["step"], b["fingerprint"])
    np.testing.assert_allclose(b["value"], a["value"], rtol=1e-3, atol=1e-3, err_msg=a["metric"])
    assert b["fields"]["conditioning"] == a["fields"]["conditioning"]
  assert all(r["fields"]["futures"] == 4 for r in both if r["metric"] == "psnr_best")


def evaluate_in_two(folder):
  """The program of each of the two processes."""
  prepare(setattr, folder, jax.process_index())
  predictions = (folder / "predictions.json").exists()
  name = "predictions.json" if predictions else "config.json"
  config = stored_config.from_json((folder / name).read_text())
  options = PREDICTIONS if predictions else {}
  evaluate(config, folder / "two", jax.devices(), **options)


if __name__ == "__main__":
  two_processes.main(evaluate_in_two)
