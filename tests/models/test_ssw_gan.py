"""SSW-GAN's upsampling stages: sizes, layers, injection, views, windows, bad configs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests import cascades
from tests.cascades import FRAMES
from vidgan_jax.analysis.cost import stages, summary
from vidgan_jax.data.build import build_source
from vidgan_jax.layers.separable import SeparableBlock
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import registry, stored_config, switches
from vidgan_jax.models.contract import Context
from vidgan_jax.models.ssw_gan.networks import Generator
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.subsampling import nearest

KEY = jax.random.key(0)
PLAIN = LayerSettings(spectral=False, ops="plain", dtype=jnp.float64, param_dtype=jnp.float64)

# {config: ({network: parameters}, {network: GFLOP per clip})}, counted by hand from the paper.
SIZES = {
  "kinetics600_stage1": (
    {"generator": 305_983_491, "spatial": 154_411_777, "temporal": 162_683_137},
    {"generator": 3040.41, "spatial": 59.72, "temporal": 45.98},
  ),
  "bdd100k_stage1": (
    {"generator": 300_336_131, "spatial": 153_182_977, "temporal": 161_454_337},
    {"generator": 3040.4},
  ),
  "kinetics600_stage2_12": (
    {
      "generator": 211_406_595,
      "spatial": 87_356_449,
      "temporal": 88_522_849,
      "matching": 88_530_913,
    },
    {"generator": 1611.4, "spatial": 168.7, "temporal": 54.4, "matching": 6.5},
  ),
  "kinetics600_stage2_6": (
    {
      "generator": 211_406_595,
      "spatial": 87_356_449,
      "temporal": 88_522_849,
      "matching": 88_530_913,
    },
    {"generator": 805.7},
  ),
  "kinetics600_stage2_6_no_matching": (
    {"generator": 211_406_595, "spatial": 87_356_449, "temporal": 88_522_849},
    {"generator": 805.7},
  ),
  "bdd100k_stage2": (
    {
      "generator": 86_310_915,
      "spatial": 38_302_081,
      "temporal": 40_373_377,
      "matching": 40_384_129,
    },
    {"generator": 455.9, "spatial": 59.8, "temporal": 22.7, "matching": 10.9},
  ),
  "bdd100k_stage3": (
    {
      "generator": 88_858_563,
      "spatial": 24_524_993,
      "temporal": 25_044_545,
      "matching": 25_049_921,
    },
    {"generator": 885.2, "spatial": 64.1, "temporal": 23.3, "matching": 11.3},
  ),
}

ROWS = [*SIZES, "kinetics600_stage2_12_gru", "weizmann_stage1", "weizmann_stage2"]
ROWS += [f"shapes_stage{number}" for number in (1, 2, 3)]


@pytest.mark.parametrize("name", SIZES)
def test_parameters_and_operations_are_the_papers(load_config, name):
  gan = registry.build(load_config("ssw_gan", name), platform="gpu", ops="plain")
  variables = summary.abstract_variables(gan)
  counts, forward = summary.count_parameters(variables), summary.forward_flops(gan, variables)
  parameters, operations = SIZES[name]
  assert {network: count["total"] for network, count in counts.items()} == parameters
  for network, expected in operations.items():
    assert forward[network] / 1e9 == pytest.approx(expected, rel=0.01), network


def test_a_bare_separable_convolution_has_the_parameters_of_the_appendix(load_config):
  config = load_config("ssw_gan", "kinetics600_stage2_12")
  config.model.generator.temporal = "separable"
  gan = registry.build(config, platform="gpu", ops="plain")
  variables = summary.abstract_variables(gan)
  assert summary.count_parameters(variables)["generator"]["total"] == 165_785_859
  forward = summary.forward_flops(gan, variables)
  assert forward["generator"] / 1e9 == pytest.approx(1355.3, rel=0.01)


def test_the_summary_counts_the_frozen_stage(load_config):
  """Three passes of the first stage per iteration, and its 306 M weights in memory."""
  config = load_config("ssw_gan", "kinetics600_stage2_12")
  gan = registry.build(config, platform="gpu", ops="plain")
  assert stages.stage_flops(gan) / 1e9 == pytest.approx(3040.4, rel=0.01)
  # Five passes of the generator and 14 of the discriminators, and three of the first stage.
  written = 5 * 1611.4 + 14 * (168.7 + 54.4 + 6.5) + 3 * 3040.4
  assert summary.flops_per_clip(config) / 1e9 == pytest.approx(written, rel=0.01)
  static = stages.with_weights({"parameters": 5, "total": 7}, gan)
  assert list(static) == ["parameters", "earlier stages", "total"]
  # Its batch statistics of 25 frames add 0.2%.
  assert static["earlier stages"] == pytest.approx(4 * 305_983_491, rel=5e-3)
  assert static["total"] == 7 + static["earlier stages"]
  shown = stages.with_forward_pass({}, gan, gan)["earlier stages"]
  assert shown["as_written"] == pytest.approx(3040.4, rel=0.01)


def test_a_clip_of_50_frames_in_one_pass_has_the_operations_of_50_frames(load_config):
  gan = registry.build(load_config("ssw_gan", "kinetics600_stage2_12"), platform="gpu", ops="plain")
  gan = dataclasses.replace(gan, frames=50)
  forward = summary.forward_flops(gan, summary.abstract_variables(gan))
  assert forward["generator"] / 1e9 == pytest.approx(6714.0, rel=0.01)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_allowed_and_runlocal_is_a_smaller_one_of_the_same_kind(load_config, name):
  whole, small = load_config("ssw_gan", name), load_config("ssw_gan", f"{name},runlocal")
  for config in (whole, small):
    switches.check(config)
    registry.build(config)
  factor = whole.model.resolution // small.model.resolution
  assert factor == (4 if name[0] in "kb" else 2) and whole.model.frames == small.model.frames
  while "earlier" in whole.model:
    whole, small = (ConfigDict({"model": each.model.earlier}) for each in (whole, small))
    assert whole.model.resolution == factor * small.model.resolution
  assert small.model.generator.channels == 4


@pytest.fixture
def build(load_config, x64):
  """Returns a function (stage, **changes) -> the tiny stage, in float64 and as written."""

  def make(stage, **changes):
    changes = {"precision": "float64", "model__savings": False, **changes}
    return registry.build(cascades.config(load_config, stage, **changes))

  return make


def frozen_of(gan, randomized, seed=5):
  """`Context.frozen` with random weights."""

  def fill(tree, at):
    drawn = randomized(tree, at)
    variance = lambda path, a: a**2 + 0.5 if "variance" in jax.tree_util.keystr(path) else a
    return jax.tree_util.tree_map_with_path(variance, drawn)

  return fill(gan.example_frozen(), seed)


def variables_of(gan, randomized, frames=None, seed=1):
  """Random variables of the generator, with statistics for clips of `frames` frames."""
  shapes = jax.eval_shape(lambda: gan.init(KEY))["generator"]
  params = randomized(shapes["params"], seed)
  longer = lambda a: jax.ShapeDtypeStruct((frames or a.shape[0], *a.shape[1:]), a.dtype)
  statistics = randomized(jax.tree.map(longer, shapes["batch_stats"]), seed + 1)
  positive = lambda path, a: a**2 + 0.5 if "variance" in jax.tree_util.keystr(path) else a
  return {
    "params": params,
    "batch_stats": jax.tree_util.tree_map_with_path(positive, statistics),
  }


def separable(reference, x, weights):
  """A separable convolution in NumPy: three frames, then 3x3 pixels."""
  kernel = np.asarray(weights["time"]["kernel"])[:, 0, 0]
  padded = np.pad(x, [(0, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
  frames = x.shape[1]
  x = sum(padded[:, tap : tap + frames] @ kernel[tap] for tap in range(3))
  x = x + np.asarray(weights["time"]["bias"])
  return reference.convolve(x, np.asarray(weights["space"]["kernel"]), weights["space"]["bias"])


def conditional(reference, x, weights, condition):
  gain, bias = (condition @ np.asarray(weights[n]["kernel"]) for n in ("gain", "bias"))
  return reference.relu(reference.batch_norm(x, 1 + gain, bias, "per_step"))


def test_separable_layers_are_the_papers(x64, reference, normal, randomized, assert_gradient):
  x, condition = normal((2, 4, 3, 3, 3)), normal((2, 5), 1)
  block = SeparableBlock(PLAIN)
  params = randomized(jax.eval_shape(lambda: block.init(KEY, x, condition, True))["params"])
  expected = x
  for number in (1, 2):
    expected = conditional(reference, expected, params[f"norm{number}"], condition)
    expected = separable(reference, expected, params[f"conv{number}"])
  call = lambda params, x: block.apply(
    {"params": params}, x, condition, True, mutable=["batch_stats"]
  )[0]
  np.testing.assert_allclose(jax.jit(call)(params, x), expected + x, atol=1e-10)
  weight = normal(x.shape, 2)
  assert_gradient(lambda p, x: jnp.sum(weight * call(p, x)), (params, x), directions=1)
  faster = dataclasses.replace(block, settings=dataclasses.replace(PLAIN, ops="cpu"))
  again = faster.apply({"params": params}, x, condition, True, mutable=["batch_stats"])[0]
  np.testing.assert_allclose(again, expected + x, atol=1e-10)


def test_the_generator_is_the_papers(x64, reference, normal, randomized):
  """Two units: 4x4 to 8x8, and 8x8 to 16x16; x_l has 8x8 pixels and half of the frames."""
  module = Generator((3, 3, 2), 16, 2, 4, PLAIN)
  z, labels, low = normal((2, 5)), np.array([1, 0]), normal((2, 2, 8, 8, 3), 1)
  arguments = {"z": z}, {"label": labels, "x_l": low}, True, 4
  params = randomized(jax.eval_shape(lambda: module.init(KEY, *arguments))["params"])
  out, _ = module.apply({"params": params}, *arguments, mutable=["batch_stats"])

  weights = jax.tree.map(np.asarray, params)
  condition = np.concatenate([z, weights["embed"]["embedding"][labels]], axis=1)
  x = condition @ weights["linear"]["kernel"] + weights["linear"]["bias"]
  x = x.reshape(2, 1, 4, 4, 3).repeat(4, axis=1)

  def with_low(x, name):
    side = x.shape[2]
    if side > 8:
      assert name not in weights
      return x
    chosen = low.repeat(2, axis=1)[:, :, :: 8 // side, :: 8 // side]
    return x + chosen @ weights[name]["kernel"][0, 0] + weights[name]["bias"]

  def frame_block(x, w, upsample):
    out = conditional(reference, x, w["norm1"], condition)
    if upsample:
      out, x = reference.repeat(out), reference.repeat(x)
    out = reference.convolve(out, w["conv1"]["kernel"], w["conv1"]["bias"])
    out = conditional(reference, out, w["norm2"], condition)
    out = reference.convolve(out, w["conv2"]["kernel"], w["conv2"]["bias"])
    if "shortcut" in w:
      x = x @ w["shortcut"]["kernel"][0, 0] + w["shortcut"]["bias"]
    return out + x

  for unit in range(2):
    before = x
    for number in (1, 2):
      x = conditional(reference, x, weights[f"time{unit}"][f"norm{number}"], condition)
      x = separable(reference, x, weights[f"time{unit}"][f"conv{number}"])
    x = with_low(x + before, f"low{unit}_time")
    for index in (0, 1):
      x = frame_block(x, weights[f"block{unit}_{index}"], index == 1)
      x = with_low(x, f"low{unit}_{index}")
  gain, bias = (weights["norm"][n] for n in ("gain", "bias"))
  x = reference.relu(reference.batch_norm(x, gain, bias, "per_step"))
  x = np.tanh(reference.convolve(x, weights["to_rgb"]["kernel"], weights["to_rgb"]["bias"]))
  np.testing.assert_allclose(out["clip"], x, atol=1e-10)
  assert len([name for name in weights if name.startswith("low")]) == 5


def test_data_views_and_injection_subsample_alike(build, tmp_path):
  """A clip whose every pixel has its own value: the same pixels are seen by all uses of f."""
  gan = build(2)
  shape = (1, 4, 16, 16)
  code = np.arange(np.prod(shape)).reshape(shape)
  clip = np.stack([code % 256, code // 256, 0 * code], axis=-1).astype(np.uint8)
  values = lambda a: np.unique(np.asarray(a, np.int64) @ [1, 256, 0])
  expected = np.unique(code[:, ::2, ::2, ::2])

  np.savez(tmp_path / "coded.npz", clips=clip)
  fields = dict(name="npz", directory=str(tmp_path / "coded.npz"), view="nearest", time_step=1.0)
  config = configuration.base_config().data
  config.update({**fields, "view_resolution": 16, "stride": 2})
  source = build_source(config, frames=2, resolution=8, num_classes=0)
  seen, _ = source.example(0, np.random.default_rng(0))
  np.testing.assert_array_equal(values(seen), expected)

  whole = np.repeat(clip, 2, axis=0)
  batch = {"clip": jnp.asarray(whole), "label": jnp.zeros(2, jnp.int32)}
  real, inputs = gan.real_samples(KEY, batch, Context()), gan.real_inputs(KEY, batch, Context())
  pixels = lambda a: np.rint((np.asarray(a) + 1) * 127.5)
  np.testing.assert_array_equal(values(pixels(inputs["x_l"])), expected)
  pair = gan.views(KEY, real, inputs, Context())["matching"]["clip"]
  np.testing.assert_array_equal(values(pixels(pair[..., :3])), expected)
  np.testing.assert_array_equal(values(pixels(pair[..., 3:])), expected)
  # The injection at 4x4 sees every second pixel of x_l, which is f once more.
  np.testing.assert_array_equal(
    values(pixels(nearest(inputs["x_l"], space=2))), np.unique(code[:, ::2, ::4, ::4])
  )


@pytest.mark.parametrize(
  ("temporal", "frames", "train"), [("separable_block", 16, False), ("separable", 18, True)]
)
def test_windows_give_the_clip_of_one_pass(build, normal, randomized, temporal, frames, train):
  """Frames, and the statistics of a batch; the last window repeats frames if they do not divide."""
  gan = build(2, model__generator__temporal=temporal, model__unroll_window=4 if train else 2)
  variables = variables_of(gan, randomized, frames)
  latents = {"z": normal((2, 3))}
  inputs = {"label": np.array([0, 3]), "x_l": normal((2, frames // 2, 8, 8, 3), 1)}

  def generated(gan, loops):
    generate = lambda variables: gan.generate(variables, latents, inputs, KEY, train, frames)
    lowered = jax.jit(generate).lower(variables)
    assert ("while" in lowered.as_text()) == loops
    return lowered.compile()(variables)

  clip, reported = generated(gan, True)
  expected, of_whole = generated(dataclasses.replace(gan, unroll_window=0), False)
  np.testing.assert_allclose(clip["clip"], expected["clip"], atol=1e-10)
  assert jax.tree.structure(reported) == jax.tree.structure(of_whole)
  assert bool(jax.tree.leaves(reported)) == train
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), reported, of_whole)


def test_the_memory_for_activations_does_not_grow_with_the_length(build):
  """Four times the frames need more memory for clip and x_l alone; in one pass, four times it."""
  gan = build(2)

  def temporary(gan, frames):
    variables = jax.eval_shape(lambda: gan.init(KEY))["generator"]
    longer = lambda a: jax.ShapeDtypeStruct((frames, *a.shape[1:]), a.dtype)
    variables = {**variables, "batch_stats": jax.tree.map(longer, variables["batch_stats"])}
    low = jax.ShapeDtypeStruct((2, frames // 2, 8, 8, 3), jnp.float64)
    z = jax.ShapeDtypeStruct((2, 3), jnp.float64)
    label = jax.ShapeDtypeStruct((2,), jnp.int32)
    generate = lambda variables, z, low, label: gan.generate(
      variables, {"z": z}, {"label": label, "x_l": low}, KEY, False, frames
    )[0]
    program = jax.jit(generate).lower(variables, z, low, label).compile()
    return program.memory_analysis().temp_size_in_bytes

  short, long = temporary(gan, 24), temporary(gan, 96)
  whole = temporary(dataclasses.replace(gan, unroll_window=0), 96)
  clip = 2 * (96 - 24) * (16 * 16 + 8 * 8 // 2) * 3 * 8  # bytes of the further frames
  assert long - short <= 2.1 * clip
  assert whole > 3 * long


def test_low_resolution_clips_are_windows_of_the_frozen_stages(build, randomized):
  gan = build(2)
  frozen = frozen_of(gan, randomized)
  count = 64
  latents, labels = gan.latents(KEY, count), jnp.arange(count) % 4
  low = np.asarray(jax.jit(gan.derive)(frozen, latents, {"label": labels})["x_l"])
  stage, of_stage = gan.stages["earlier"], frozen["earlier"]["variables"]
  inputs = {"z": latents["earlier_z"]}, {"label": labels}
  clips = jax.jit(lambda: stage.generate(of_stage, *inputs, KEY, False)[0]["clip"])()
  starts = np.floor(np.asarray(latents["window"]) * (FRAMES - 2 + 1)).astype(int)
  assert set(starts) == set(range(FRAMES - 2 + 1))  # each position is drawn
  for index, start in enumerate(starts):
    np.testing.assert_allclose(low[index], clips[index, start : start + 2], atol=1e-12)
  # A clip as long as the stages reach has only one window.
  whole = jax.jit(lambda: gan.derive(frozen, latents, {"label": labels}, 2 * FRAMES))()["x_l"]
  np.testing.assert_allclose(whole, clips, atol=1e-12)


def test_truncation_reaches_every_stage(build):
  gan = build(3)
  whole, half = gan.latents(KEY, 2), gan.latents(KEY, 2, scale=0.5)
  names = {"z", "earlier_z", "earlier_earlier_z"}
  assert set(whole) == names | {"window", "earlier_window"}
  for name, array in whole.items():  # positions of windows keep their distribution
    np.testing.assert_allclose(half[name], (0.5 if name in names else 1) * array)
  assert not np.allclose(whole["z"], whole["earlier_z"])
  assert not np.allclose(whole["window"], whole["earlier_window"])


def test_shown_stages_are_those_that_the_clip_comes_from(build, randomized):
  gan = build(3)
  frozen = frozen_of(gan, randomized)
  latents, inputs = gan.latents(KEY, 3), {"label": jnp.arange(3)}
  latents["window"] = jnp.array([0.0, 0.5, 0.99])
  shown = jax.jit(gan.stage_clips, static_argnums=3)
  first, second = shown(frozen, latents, inputs, gan.frames)
  low = jax.jit(gan.derive)(frozen, latents, inputs)["x_l"]
  np.testing.assert_allclose(second, np.repeat(low, 2, axis=1), atol=1e-12)
  assert first.shape == (3, gan.frames, 8, 8, 3)
  # Each frame of the first stage is the one that the second stage's frame was made from.
  stage, of_stage = gan.stages["earlier"], frozen["earlier"]["frozen"]
  inner = {name.removeprefix("earlier_"): latents[name] for name in latents if "earlier_" in name}
  of_second = jax.jit(stage.derive)(of_stage, inner, inputs)["x_l"]
  for index, start in enumerate((0, 1, 2)):  # windows of 2 of the second stage's 4 frames
    frames = (start + np.arange(4) // 2) // 2
    np.testing.assert_allclose(first[index], of_second[index, frames], atol=1e-12)


@pytest.mark.parametrize(
  ("stage", "frames", "message"),
  [
    (2, 5, "frames is 5, must be a multiple of 2"),
    (2, 14, "frames is 14, but these stages generate at most 12 frames together"),
    (3, 28, "frames is 28, but these stages generate at most 24 frames together"),
  ],
)
def test_frames_that_no_cascade_reaches_are_refused(build, stage, frames, message):
  gan = build(stage)
  for allowed in range(2, gan.reach + 1, 2):
    gan.check_frames(allowed)
  with pytest.raises(UserError, match=message):
    gan.check_frames(frames)


def test_lengths_are_resolved_backwards(load_config):
  gan = registry.build(load_config("ssw_gan", "bdd100k_stage3"), platform="cpu")
  stage = gan.stages["earlier"]
  assert (gan.stage_frames(100), stage.stage_frames(50)) == (50, 25)
  # Clips as long as in training come from windows of clips as long as in training.
  assert (gan.stage_frames(12), stage.stage_frames(12)) == (12, 25)
  assert gan.stage_frames(26) == 14  # 13 are needed, and stage 2 generates even numbers


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model__num_classes": 3}, "num_classes is 3, but the earlier stage has 4"),
    ({"model__resolution": 64}, "cannot grow 4x4 to 64 pixels"),
    ({"model__earlier__resolution": 32}, "must be a multiple of the earlier stage's, 32"),
    ({"model__frames": 5}, "frames is 5, must be a multiple"),
    ({"model__frames": 16}, "would upsample 8 frames, but the earlier stage generates 6"),
    ({"model__unroll_window": 3}, "unroll_window is 3, must be a multiple"),
    ({"model__x_l_source": "folder"}, "earlier_samples names none"),
    ({"model__x_l_source": "real", "sample_every": 5}, "sample_every must be 0"),
    ({"augmentation__colour": True}, "augmentation changes a clip, but not the x_l beside it"),
    ({"model__earlier__frames": 0}, "model.earlier.frames is 0, must be an integer from 1"),
  ],
)
def test_contradictions_are_refused_in_one_line(load_config, changes, message):
  with pytest.raises(UserError, match=message) as error:
    switches.check(cascades.config(load_config, 2, **changes))
  assert "\n" not in str(error.value)


def test_an_earlier_stage_must_be_described(load_config):
  config = cascades.config(load_config, 2)
  with config.unlocked():
    del config.model["earlier"]
  with pytest.raises(UserError, match=r"config\.model\.earlier is missing"):
    switches.check(config)
  config = cascades.config(load_config, 2)
  with config.unlocked():
    config.model.earlier.novelty = 3
  with pytest.raises(UserError, match=r"unknown field config\.model\.earlier\.novelty"):
    switches.check(config)


def test_stored_configs_describe_all_stages(load_config):
  config = load_config("ssw_gan", "bdd100k_stage3")
  again = stored_config.from_json(configuration.to_json(config))
  assert stored_config.first_difference(config, again) is None
  again.model.earlier.earlier.frames = 24
  assert stored_config.first_model_difference(again.model, config.model) == (
    "model.earlier.earlier.frames: 24 there, 25 here"
  )
  again.model.earlier.earlier.frames = 25
  again.model.earlier.earlier_run = "elsewhere"  # a folder is no part of the model
  assert stored_config.first_model_difference(again.model, config.model) is None


def test_recurrent_units_generate_long_clips_at_once(build, normal, randomized):
  gan = build(2, model__generator__temporal="gru")
  variables = variables_of(gan, randomized, 12)
  inputs = {"label": np.array([0, 3]), "x_l": normal((2, 6, 8, 8, 3), 1)}
  clip, _ = gan.generate(variables, {"z": normal((2, 3))}, inputs, KEY, False, 12)
  assert clip["clip"].shape == (2, 12, 16, 16, 3) and gan.field is None
