"""What configs cost, against figures computed independently of this code.

Parameters and FLOPs of the rows come from a hand count of the papers' tables (dense convolutions,
attention and GRU included); the iteration is also counted from the program that trains.
"""

import dataclasses
import json

import jax
import pytest

from vidgan_jax.analysis.cost import summary, table
from vidgan_jax.models import registry
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.step import Iteration

ROWS = {
  # config: (changes, G, D_S, D_T in GFLOP per clip, iteration in TFLOP at batch 512)
  "kinetics600_64x12": ({}, 843.4, 238.8, 90.1, 4517),
  "kinetics600_64x12 not doubled": (
    {"model.generator.doubled": False},
    *(575.2, 238.8, 90.1, 3830),
  ),
  "kinetics600_64x12 whole time": (
    {"model.discriminator.pool_time": False},
    *(843.4, 238.8, 162.4, 5035),
  ),
  "kinetics600_64x48": ({}, 844.8, 238.8, 360.4, 6458),
  "kinetics600_128x12": ({}, 371.6, 299.4, 96.3, 3788),
  "kinetics600_128x48": ({}, 1485, 299.4, 385.0, 8707),
  "thesis_kinetics400": ({}, 156.3, 59.8, 5.6, 869),
}


@pytest.fixture(scope="module")
def row_one(load_config):
  return load_config("dvd_gan", "kinetics600_64x12")


@pytest.fixture(scope="module")
def of_row_one(row_one):
  return summary.summarize(row_one)


@pytest.mark.parametrize("row", ROWS)
def test_flops_of_the_papers_rows(load_config, row):
  changes, *networks, iteration = ROWS[row]
  config = load_config("dvd_gan", row.split()[0]).unlock()
  schema.set_fields(config, changes)
  gan = registry.build(config, ops="plain")
  forward = summary.forward_flops(gan, summary.abstract_variables(gan))
  assert list(forward) == ["generator", "spatial", "temporal"]
  for work, expected in zip(forward.values(), networks, strict=True):
    assert work / 1e9 == pytest.approx(expected, rel=0.01)
  per_clip = summary.iteration_flops(gan, forward)
  assert per_clip * 512 / 1e12 == pytest.approx(iteration, rel=0.01)
  if not changes:
    assert summary.flops_per_clip(config) == per_clip


def test_parameters_of_the_papers_first_row(of_row_one):
  totals = {name: modules["total"] for name, modules in of_row_one["parameters"].items()}
  assert totals == pytest.approx(
    {"generator": 182.3e6, "spatial": 154.4e6, "temporal": 162.7e6}, rel=0.01
  )
  for modules in of_row_one["parameters"].values():
    assert sum(modules.values()) == 2 * modules["total"]
  generator = list(of_row_one["parameters"]["generator"])
  assert {"linear", "rnn", "attention", "embed", "to_rgb"} <= set(generator)
  assert generator.index("block2") < generator.index("block7")


def test_time_floor_of_the_papers_first_row(of_row_one):
  """5.72 s on one H200; a quarter to a third less in the folded forms, 2,980 TFLOP."""
  written, executed = (of_row_one["iteration"][kind] for kind in ("as_written", "none"))
  assert written["tflop"] == pytest.approx(4517, rel=0.01)
  assert written["seconds"] == pytest.approx(5.72, rel=0.01)
  assert written["videos_per_second"] == pytest.approx(90, rel=0.01)
  assert executed["tflop"] == pytest.approx(2980, rel=0.02)


def test_memory_of_the_papers_first_row(of_row_one):
  """Block inputs of the discriminators by hand; static 8.7 GB; policies in their order."""
  assert of_row_one["static_bytes"]["total"] == pytest.approx(8.7e9, rel=0.01)
  per_clip = {r: a["bytes_per_clip"] for r, a in of_row_one["activations"].items()}
  # bfloat16, real and generated: 8 frames at 64 to 4 pixels; 12 to 3 at 32 to 2.
  spatial = 8 * (64**2 * 3 + 32**2 * 256 + 16**2 * 512 + 8**2 * 1024 + 4**2 * 2048)
  temporal = 12 * 32**2 * 3 + 6 * 16**2 * 256 + 3 * (8**2 * 512 + 4**2 * 1024 + 2**2 * 2048)
  # The head adds a little.
  blocks = per_clip["block_inputs"]["discriminators"]["fused"]
  assert 2 * 2 * (spatial + temporal) <= blocks <= 1.1 * 2 * 2 * (spatial + temporal)
  for update in ("discriminators", "generator"):
    sizes = [per_clip[remat][update] for remat in ("none", "conv_outputs", "block_inputs")]
    assert sizes[0]["fused"] > 1.2 * sizes[1]["fused"] > 1.2 * 1.4 * sizes[2]["fused"]
    assert all(size["fused"] <= size["traced"] for size in sizes)
  for remat, cost in of_row_one["activations"].items():
    larger = max(update["fused"] for update in per_clip[remat].values())
    assert cost["batch_bytes"] == 512 * larger
    assert cost["total_bytes"] == 512 * larger + of_row_one["static_bytes"]["total"]


def test_rematerialisation_repeats_work(of_row_one):
  work = {kind: rates["tflop"] for kind, rates in of_row_one["iteration"].items()}
  # No convolution is repeated; the products of separable attention are, 0.4 percent of all.
  assert 1.002 * work["none"] < work["conv_outputs"] < 1.006 * work["none"]
  assert 1.05 * work["none"] < work["block_inputs"] < 1.33 * work["none"]


def counted(config, gan, batch_size=8):
  """FLOPs per clip of the very program that trains, spectral normalisation included."""
  transforms = optimizers.build(config, gan.discriminators)
  before = jax.eval_shape(lambda: state.create(gan, transforms, 0))
  batch = jax.eval_shape(lambda: gan.example_batch(batch_size))
  steps = gan.schedule.discriminator_steps
  batch = jax.tree.map(lambda a: jax.ShapeDtypeStruct((steps, *a.shape), a.dtype), batch)
  return flops.count(Iteration(gan, transforms, config), before, batch) / batch_size


def test_training_does_the_work_of_the_closed_form(row_one):
  gan = registry.build(row_one, ops="plain")
  assert counted(row_one, gan) == pytest.approx(summary.flops_per_clip(row_one), rel=0.01)


def test_training_does_the_work_of_the_estimate(row_one, of_row_one):
  """In the folded forms, with rematerialisation."""
  config = row_one.copy_and_resolve_references().unlock()
  config.model.remat = "block_inputs"
  expected = of_row_one["iteration"]["block_inputs"]["tflop"] * 1e12 / row_one.batch_size
  work = counted(config, registry.build(config, platform="gpu"))
  assert work == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(
  ("steps", "first", "shared", "generated", "scored"),
  [
    (1, False, False, 1, 8),
    (2, False, True, 1, 14),
    (1, True, False, 1, 8),
    (3, True, True, 2, 20),
  ],
)
def test_closed_form_follows_the_schedule(load_config, steps, first, shared, generated, scored):
  """n G + 6 n D + 3 G + 2 D; one G less where clips are shared."""
  gan = registry.build(load_config("dvd_gan", "kinetics600_64x12,runlocal"))
  schedule = dataclasses.replace(
    gan.schedule, discriminator_steps=steps, generator_first=first, shared_fakes=shared
  )
  gan = dataclasses.replace(gan, schedule=schedule)
  forward = {"generator": 1000, "spatial": 1, "temporal": 2}
  assert summary.iteration_flops(gan, forward) == 1000 * (generated + 3) + 3 * scored


@pytest.fixture(scope="module")
def small(load_config):
  """Few layers, since what takes time here is their number."""
  config = load_config("dvd_gan", "kinetics600_64x12,runlocal").unlock()
  config.model.resolution = 32
  config.model.generator.doubled = False
  return config.lock()


def test_unconditional_with_one_discriminator(small):
  config = small.copy_and_resolve_references().unlock()
  config.model.num_classes = 0
  config.model.discriminator.temporal = False
  result = summary.summarize(config, batch_size=3, dtype="float32", tflops=1)
  assert list(result["gflop_per_clip"]) == ["generator", "spatial"]
  assert "embed" not in result["parameters"]["generator"]
  assert result["batch_size"] == 3
  assert "no classes" in table.render(result)


def test_wider_activations_take_more(small):
  costs = []
  for dtype in summary.DTYPES:
    config = small.copy_and_resolve_references().unlock()
    config.precision = dtype
    gan = registry.build(config)
    costs.append(summary.update_costs(config, gan, summary.abstract_variables(gan)))
  narrow, wide = costs
  for update in ("discriminators", "generator"):
    assert narrow[update]["flops"] == wide[update]["flops"]
    # Masks and softmax are as wide as before.
    assert 1.3 < wide[update]["fused"] / narrow[update]["fused"] <= 2


def test_table_and_json(of_row_one):
  assert json.loads(json.dumps(of_row_one)) == of_row_one
  lines = table.render(of_row_one).splitlines()
  assert all(len(line) <= 100 and line == line.rstrip() for line in lines)
  text = {" ".join(line.split()[:-1]): line.split()[-1] for line in lines if line.strip()}
  assert text["all"] == "499.361"
  assert any(line.split() == ["as", "written", "4,516", "5.72", "89.6"] for line in lines)
  # The config's own policy is marked, and no other.
  marked = [line.split()[-5] for line in lines if " * " in line and "GB" not in line]
  assert len(marked) == 2 and all("none *" in line for line in lines if " * " in line)
  for kind, peak in of_row_one["peak_bytes"].items():
    assert peak["total"] == peak["argument"] + peak["temporary"]
    assert peak["argument"] < peak["least"] < peak["total"]
    parts = (peak[part] for part in ("argument", "temporary", "total", "least"))
    row = ["on", "one", kind.upper(), *(f"{size / 1e9:.2f}" for size in parts)]
    assert row in [line.split() for line in lines]


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(batch_size=0), "batch_size 0 must be at least 1"),
    (dict(tflops=0.0), "tflops 0.0"),
    (dict(tflops=float("nan")), "tflops nan"),
    (dict(dtype="float16"), "unknown dtype 'float16'; known: bfloat16, float32"),
  ],
)
def test_bad_options_are_refused(small, options, message):
  with pytest.raises(UserError, match=message):
    summary.summarize(small, **options)


@pytest.mark.parametrize(
  ("field", "value", "message"),
  [
    ("microbatch", -1, "config.microbatch is -1, must be an integer from 0"),
    ("microbatch", 3, "batch_size 2 is not divisible by microbatch 3"),
    ("sharding", "zero9", "config.sharding is 'zero9', must be one of replicated, zero1"),
  ],
)
def test_what_training_refuses_is_refused(small, field, value, message):
  config = small.copy_and_resolve_references().unlock()
  schema.set_fields(config, {field: value})
  with pytest.raises(UserError, match=message):
    summary.summarize(config, batch_size=2)


@pytest.mark.parametrize(
  ("field", "value"),
  [("model.remat", "everything"), ("precision", "float8"), ("model.resolution", 48)],
)
def test_bad_configs_are_refused(small, field, value):
  config = small.copy_and_resolve_references().unlock()
  schema.set_fields(config, {field: value})
  with pytest.raises(UserError, match=r"must be one of|known"):
    summary.summarize(config)
