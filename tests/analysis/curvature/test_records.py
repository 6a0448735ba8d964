"""Curvature and gradient norms of a run, from its folder to files and pictures."""

import json
import re
import types

import jax
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.analysis import cli
from vidgan_jax.analysis.curvature import gradients, hessian, records
from vidgan_jax.analysis.curvature.hook import CurvatureHook
from vidgan_jax.data.build import build_source
from vidgan_jax.models import registry
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.runtime.hooks import HookContext
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states

OPTIONS = dict(batch_size=4, eigenvalues=3, products=8)


@pytest.fixture(scope="module")
def run(lean_config, randomized, tmp_path_factory):
  """A run's folder with checkpoints at iterations 1 and 2, and its config, states and data."""
  workdir = tmp_path_factory.mktemp("runs") / "tiny"
  config = lean_config(**{"model.num_classes": 2})
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  initial = jax.jit(lambda: states.create(gan, transforms, 0))()
  by_step = {}
  moved = lambda params, seed: jax.tree.map(
    lambda a, noise: a + 0.1 * noise, params, randomized(params, seed)
  )
  with Checkpoints(workdir / states.CHECKPOINTS) as checkpoints:
    for step in (1, 2):
      networks = [initial.generator, *initial.discriminators.values()]
      generator, spatial = (
        network.replace(params=moved(network.params, step)) for network in networks
      )
      by_step[step] = initial.replace(
        step=jax.numpy.int32(step), generator=generator, discriminators={"spatial": spatial}
      )
      checkpoints.save(step, by_step[step], {"seconds": 0.0})
  (workdir / states.CONFIG).write_text(configuration.to_json(config))
  source = build_source(config.data, frames=4, resolution=8, num_classes=2)
  return types.SimpleNamespace(workdir=workdir, config=config, states=by_step, source=source)


@pytest.fixture(scope="module")
def lines(run):
  """Lines that a request for all analyses of all checkpoints returns."""
  request = cli.Request(
    [str(run.workdir)], what=("hessian", "gradients"), every_checkpoint=True, **OPTIONS
  )
  return cli.fulfil(request, report=lambda line: None)


def picture(path):
  """Pixels of a PNG. The picture must have content: more than 20 colours."""
  pixels = np.asarray(Image.open(path).convert("RGB"))
  assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
  return pixels


def test_files_and_lines_of_a_request(run, lines):
  folder = run.workdir / "analysis"
  names = [f"{stem}.{kind}" for stem in ("hessian", "gradient_norms") for kind in ("json", "png")]
  assert sorted(path.name for path in folder.iterdir()) == sorted([locks.FILE, *names])
  assert lines[4:] == [f"written: {folder / name}" for name in names]
  content = json.loads((folder / "hessian.json").read_text())
  for step, line in enumerate(lines[:2], start=1):
    record = content["records"][step - 1]
    span = f"from {record['smallest']:.3g} to {record['largest']:.3g}; "
    assert line.startswith(f"hessian, spatial, iteration {step}: eigenvalues {span}")
  assert [record["step"] for record in content["records"]] == [1, 2]
  gan = hessian.for_analysis(run.config, "cpu")
  batch = records.fixed_batch(run.source, 4, 0)
  assert content["settings"]["products"] == 8
  for record in content["records"]:
    state = run.states[record["step"]]
    expected = hessian.spectrum(gan, state, batch, "spatial", count=3, iterations=8)
    np.testing.assert_allclose(record["eigenvalues"], expected.eigenvalues, rtol=1e-5)
    assert record["largest"] == pytest.approx(expected.largest, rel=1e-5)
    assert record["discriminator"] == "spatial"
    assert record["converged"] == expected.converged
  (_, last) = records.read(folder / "gradient_norms.json", "gradients")["records"]
  total = np.sqrt(sum(sides["real"] ** 2 for sides in last["layers"].values()))
  assert lines[3].startswith(f"gradients, spatial, iteration 2: norm {total:.3g} real, ")
  first = last["layers"]["block0/conv1"]["generated"]
  assert re.search(rf"; first layer, block0/conv1: \S+ real, {first:.3g} generated$", lines[3])
  blocks = [layer.split("/")[0] for layer in last["layers"]]  # in the order of the network
  assert list(dict.fromkeys(blocks)) == ["block0", "block1", "head"]
  assert last["layers"] == {
    name: pytest.approx(sides, rel=1e-4, abs=1e-6)
    for name, sides in gradients.norms(gan, state, batch, "spatial").items()
  }
  picture(folder / "hessian.png")
  picture(folder / "gradient_norms.png")


def test_gradients_of_the_two_sides(run, lines):
  """Compares with gradients of the loss in which the other side's scores are constant."""
  gan, state = hessian.for_analysis(run.config, "cpu"), run.states[2]
  batch = records.fixed_batch(run.source, 4, 0)
  fixed = hessian.fix_inputs(gan, 0, state, batch)
  spatial = state.discriminators["spatial"]
  variables = {"params": fixed.weights["spatial"]}
  views = (fixed.real_views["spatial"], fixed.generated_views["spatial"])
  scores = [gan.discriminate("spatial", variables, view, jax.random.key(0))[0] for view in views]
  params = dict(spatial.params, head=dict(spatial.params["head"]))
  # Scores around zero, so that the hinge loss is active for both sides.
  linear = params["head"]["linear"]
  params["head"]["linear"] = dict(linear, bias=linear["bias"] - np.median(scores))
  state = state.replace(discriminators={"spatial": spatial.replace(params=params)})
  norms = gradients.norms(gan, state, batch, "spatial")

  def loss(params, side):
    def score(view, constant):
      weights = hessian._normalized(params, fixed.spectral["spatial"], gan.spectral_eps)
      scores = gan.discriminate("spatial", {"params": weights}, view, jax.random.key(0))[0]
      return {"spatial": jax.lax.stop_gradient(scores) if constant else scores}

    real = fixed.real.replace(scores=score(fixed.real_views["spatial"], side != "real"))
    fake = score(fixed.generated_views["spatial"], side != "generated")
    parts = gan.discriminator_losses(real, fixed.generated.replace(scores=fake), fixed.context)
    return sum(parts.values())

  for side in ("real", "generated"):
    expected = jax.jit(jax.grad(loss), static_argnums=1)(params, side)
    leaves = jax.tree_util.tree_leaves_with_path(expected)
    squares = {}
    for path, leaf in leaves:
      layer = "/".join(str(part.key) for part in path[:-1])
      squares[layer] = squares.get(layer, 0) + np.sum(np.square(leaf))
    assert set(squares) == set(norms)
    assert any(squares.values())
    for layer, square in squares.items():
      assert norms[layer][side] == pytest.approx(np.sqrt(square), rel=1e-4, abs=1e-6), layer


def test_comparison_of_runs(run, lines, tmp_path):
  request = cli.Request([str(run.workdir)], what=("compare",), output=str(tmp_path / "out"))
  last = json.loads((run.workdir / "analysis" / "hessian.json").read_text())["records"][-1]
  largest = max(map(abs, last["eigenvalues"]))
  assert cli.fulfil(request) == [
    f"tiny, spatial, iteration 2: largest magnitude among the eigenvalues {largest:.3g}",
    f"written: {tmp_path / 'out' / 'comparison.png'}",
  ]
  picture(tmp_path / "out" / "comparison.png")


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (dict(what=("spectrum",)), "unknown --what 'spectrum'; known: hessian, gradients, neighbours"),
    (dict(discriminators=("video",)), "unknown discriminator 'video'; known: spatial"),
    (dict(batch_size=2), "has records with batch_size 4, not 2; choose another folder"),
    (dict(seed=1), "has records with seed 0, not 1"),
    (dict(checkpoint=1, every_checkpoint=True), "either --checkpoint or --every_checkpoint"),
    (dict(workdirs=("a", "b")), "several runs are for --what=compare"),
    (dict(what=("compare",)), "needs --output"),
    (dict(what=("compare", "hessian")), "cannot be combined with other analyses"),
    (dict(what=("compare",), output="out", workdirs=("nowhere",)), "does not exist"),
    (dict(eigenvalues=9), "9 eigenvalues need at least as many products, not 8"),
    (dict(output="/sys"), "cannot write .*/sys"),
    (dict(products=9), "has records with products 8, not 9"),
    (dict(workdirs=()), "must name something"),
    (dict(workdirs=("nowhere",)), "no run in nowhere"),
    (dict(checkpoint=7), "7"),
  ],
)
def test_bad_requests_change_nothing(run, lines, changes, words):
  folder = run.workdir / "analysis"
  before = {path.name: path.read_bytes() for path in folder.iterdir()}
  with pytest.raises(UserError, match=words):
    cli.fulfil(cli.Request(**{"workdirs": [str(run.workdir)], **OPTIONS, **changes}))
  assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_data_is_refused(run, lines, tmp_path):
  for name in (states.CONFIG, states.CHECKPOINTS):
    (tmp_path / name).symlink_to(run.workdir / name)
  description = run.source.description() | {"num_examples": 7}
  (tmp_path / states.DATA).write_text(json.dumps(description))
  with pytest.raises(UserError, match="trained on other data: num_examples 7 there, 40 here"):
    cli.fulfil(cli.Request([str(tmp_path)], **OPTIONS), report=lambda line: None)
  assert not (tmp_path / "analysis").exists()


@pytest.mark.parametrize("text", ["", "{bad", "3"])
def test_damaged_descriptions_of_data_are_refused(run, tmp_path, text):
  for name in (states.CONFIG, states.CHECKPOINTS):
    (tmp_path / name).symlink_to(run.workdir / name)
  (tmp_path / states.DATA).write_text(text)
  with pytest.raises(UserError, match=r"data\.json: "):
    cli.fulfil(cli.Request([str(tmp_path)], **OPTIONS), report=lambda line: None)


@pytest.mark.parametrize(
  "text",
  ["", "{}", '{"settings": {}, "records": [{"step": 1}]}'],
)
def test_malformed_files_are_refused(tmp_path, text):
  (tmp_path / "hessian.json").write_text(text)
  with pytest.raises(UserError, match=r"hessian\.json: "):
    cli.fulfil(cli.Request([str(tmp_path)], what=("compare",), output=str(tmp_path / "out")))


def test_runs_analyzed_with_other_settings_are_not_compared(run, lines, tmp_path):
  content = json.loads((run.workdir / "analysis" / "hessian.json").read_text())
  content["settings"]["batch_size"] = 2
  (tmp_path / "hessian.json").write_text(json.dumps(content))
  request = cli.Request(
    [str(run.workdir), str(tmp_path)], what=("compare",), output=str(tmp_path / "out")
  )
  with pytest.raises(UserError, match="other settings than the first"):
    cli.fulfil(request)


def hook_of(every=2, **changes):
  settings = dict(every=every, batch_size=4, eigenvalues=3, products=8)
  return CurvatureHook(types.SimpleNamespace(**{**settings, **changes}))


def context(run, step, workdir, state=None, **changes):
  return HookContext(
    step=step,
    state=state or run.states[step],
    sharded_state=None,
    frozen={},
    gan=None,
    config=run.config,
    source=run.source,
    mesh=None,
    workdir=workdir,
    log=None,
    **changes,
  )


def test_the_hook_writes_the_same_as_a_request(run, lines, tmp_path):
  hook = hook_of()
  assert [step for step in range(6) if hook.due(step, last=step == 5)] == [0, 2, 4, 5]
  for step in run.states:
    hook.before_save(context(run, step, tmp_path))
  path = tmp_path / "analysis" / "hessian.json"
  assert path.read_text() == (run.workdir / "analysis" / "hessian.json").read_text()
  # A run that resumes at step 1 drops the record of step 2.
  hook_of().before_save(context(run, 1, tmp_path, start_step=1))
  assert [record["step"] for record in json.loads(path.read_text())["records"]] == [1]
  # Other settings start a new file; the old one is renamed.
  hook_of(products=7).before_save(context(run, 2, tmp_path, start_step=2))
  assert [record["step"] for record in json.loads(path.read_text())["records"]] == [2]
  assert json.loads(path.with_suffix(".1.json").read_text())["settings"]["products"] == 8


def test_the_hook_writes_nothing_when_the_run_stops_or_is_not_finite(run, tmp_path):
  hook_of().before_save(context(run, 1, tmp_path, stop_requested=lambda: True))
  broken = jax.tree.map(lambda a: a * jax.numpy.nan, run.states[1].generator.params)
  state = run.states[1].replace(generator=run.states[1].generator.replace(params=broken))
  hook_of().before_save(context(run, 1, tmp_path, state=state))
  assert not [*tmp_path.rglob("*.json")]


def test_a_hook_with_period_0_is_never_due():
  assert not hook_of(every=0).due(0, last=True)


def test_norms_that_are_not_finite_never_reach_the_file(monkeypatch):
  sides = {"real": 1.0, "generated": float("inf")}
  monkeypatch.setattr(gradients, "norms", lambda *args, **kwargs: {"block0/conv": sides})
  state = types.SimpleNamespace(step=3)
  with pytest.raises(hessian.NotFinite, match="block0/conv"):  # `CurvatureHook` catches it
    records.gradient_record(None, state, None, "spatial", records.Options())
