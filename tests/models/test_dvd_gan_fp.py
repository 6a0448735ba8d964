"""DVD-GAN-FP: its sizes, its encoder and skips against NumPy, and how given frames enter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidgan_jax.analysis.cost import summary
from vidgan_jax.layers.convolution import JoinedConv
from vidgan_jax.layers.recurrent import ConvGRU
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import registry, switches
from vidgan_jax.models.contract import Context
from vidgan_jax.models.dvd_gan_fp import config as fp_config
from vidgan_jax.models.dvd_gan_fp.system import Encoder
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError

# Parameters of the generator with its encoder, and of the encoder alone, worked out by hand.
SIZES = [
  ({}, 542_362_375, 163_667_712),
  ({"model.conditioning.skips": "average"}, 405_523_207, 163_667_712),
  ({"model.conditioning.least_skip": 8}, 438_552_327, 163_667_712),
  ({"model.generator.channels": 64}, 297_177_863, None),
  ({"model.conditioning.frames": 1}, 397_134_599, 155_279_104),
]


def size(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def full_size(**changes):
  config = configuration.base_config()
  config.model = fp_config.default()
  schema.set_fields(config, changes)
  return config


@pytest.mark.parametrize(("changes", "whole", "encoder"), SIZES)
def test_networks_have_the_parameters_of_the_paper(changes, whole, encoder):
  gan = registry.build(full_size(**changes))
  variables = jax.eval_shape(gan.init, jax.random.key(0))
  params = variables["generator"]["params"]
  assert size(params) == whole
  assert encoder in (None, size(params["encoder"]))
  sizes = {name: size(v["params"]) for name, v in variables["discriminators"].items()}
  assert sizes == {"spatial": 153_182_977, "temporal": 161_454_337}


@pytest.mark.parametrize(
  ("name", "given", "frames", "parameters"),
  [
    ("kinetics600_fp_5_11", 5, 16, 542_362_375),
    ("kinetics600_fp_5_11_stacked", 5, 16, 667_672_839),
    ("bair_fp_1_15", 1, 16, 397_134_599),
    ("bair_fp_1_15_stacked", 1, 16, 522_445_063),
  ],
)
def test_configs_of_the_paper(load_config, name, given, frames, parameters):
  config = load_config("dvd_gan_fp", name)
  switches.check(config)
  assert config.data.stride == 1  # "without frame skipping"
  gan = registry.build(config)
  assert (gan.given_frames, gan.frames, gan.resolution, gan.num_classes) == (given, frames, 64, 0)
  assert size(jax.eval_shape(gan.init, jax.random.key(0))["generator"]["params"]) == parameters


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({}, 1411.0e9),
    ({"model.conditioning.skips": "average"}, 1118.7e9),
    ({"model.conditioning.least_skip": 8}, 1374.5e9),
    ({"model.generator.channels": 64}, 556.5e9),
    ({"model.conditioning.frames": 1}, 1351.5e9),
  ],
)
def test_operations_of_a_generated_clip(changes, expected):
  gan = registry.build(full_size(**changes), ops="plain")
  forward = summary.forward_flops(gan, jax.eval_shape(gan.init, jax.random.key(0)))
  assert forward["generator"] == pytest.approx(expected, rel=0.01)
  assert forward["spatial"] == pytest.approx(238.9e9, rel=0.01)
  assert forward["temporal"] == pytest.approx(120.2e9, rel=0.01)


def block_reference(reference, params, x, pool, preactivation):
  """BigGAN's discriminator block on [B, T, H, W, C]."""
  convolve = lambda name, a: reference.convolve(a, params[name]["kernel"], params[name]["bias"])
  shrink = (lambda a: reference.average(a, (2, 2))) if pool else lambda a: a
  out = convolve("conv1", reference.relu(x) if preactivation else x)
  out = shrink(convolve("conv2", reference.relu(out)))
  return out + (shrink(convolve("shortcut", x)) if "shortcut" in params else x)


@pytest.fixture
def encoding(randomized):
  """A function (clip, ops, **fields of `Encoder`) that returns parameters, and what they give."""

  def encode(clip, ops="plain", **fields):
    settings = LayerSettings(dtype=jnp.float64, param_dtype=jnp.float64, ops=ops)
    encoder = Encoder((2, 3, 4), 5, settings, **fields)
    shapes = jax.eval_shape(lambda: encoder.init(jax.random.key(0), clip))
    params = randomized(shapes["params"])
    return params, encoder.apply({"params": params}, clip)

  return encode


@pytest.mark.parametrize("ops", ["folded", "plain"])
@pytest.mark.parametrize("skips", ["concatenate", "average"])
@pytest.mark.parametrize("final_activation", [False, True])
def test_the_encoder_equals_numpy(
  x64, encoding, normal, reference, assert_close, ops, skips, final_activation
):
  clip = normal((2, 3, 16, 16, 3))
  params, (state, maps) = encoding(
    clip, ops=ops, skips=skips, final_activation=final_activation, least_skip=4
  )
  combine = lambda x: x.mean(1) if skips == "average" else np.concatenate(np.moveaxis(x, 1, 0), -1)
  x = block_reference(reference, params["block0"], clip, True, False)
  expected = {8: combine(x)}
  x = block_reference(reference, params["block1"], x, True, True)
  expected[4] = combine(x)  # the first of the two outputs at 4x4
  x = block_reference(reference, params["block2"], x, False, True)
  last = reference.relu(x) if final_activation else x
  last = np.concatenate(np.moveaxis(last, 1, 0), -1)  # always concatenated
  assert_close(maps, expected)
  to_state = params["to_state"]
  assert_close(state, reference.convolve(last, to_state["kernel"], to_state["bias"]))


def test_small_maps_can_be_left_without_a_skip(x64, encoding, normal):
  _, (_, maps) = encoding(normal((1, 2, 16, 16, 3)), least_skip=8)
  assert {height: value.shape for height, value in maps.items()} == {8: (1, 8, 8, 4)}


@pytest.fixture(scope="module")
def tiny(tiny_prediction_config, randomized):
  """A tiny system and random variables of its generator."""
  gan = registry.build(tiny_prediction_config())
  variables = randomized(jax.eval_shape(gan.init, jax.random.key(0))["generator"])
  return gan, variables


def generated(gan, variables, clip, seed=0):
  key = jax.random.key(seed)
  inputs = gan.generated_inputs(key, {"clip": clip}, Context())
  samples, _ = gan.generate(variables, gan.latents(key, len(clip)), inputs, key, True)
  return np.asarray(samples["clip"])


def pixels(shape, seed=0):
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def test_clips_begin_with_the_given_frames_and_depend_on_them_and_on_z(tiny):
  gan, variables = tiny
  clip, other = pixels((2, 5, 8, 8, 3)), pixels((2, 5, 8, 8, 3), 1)
  result = generated(gan, variables, clip)
  assert result.shape == (2, 5, 8, 8, 3)
  real = gan.real_samples(jax.random.key(0), {"clip": clip}, Context())["clip"]
  np.testing.assert_array_equal(result[:, :2], real[:, :2])
  rest = lambda clip, seed=0: generated(gan, variables, clip, seed)[:, 2:]
  later = np.concatenate([clip[:, :2], other[:, 2:]], axis=1)
  np.testing.assert_array_equal(rest(later), result[:, 2:])  # later frames are not seen
  changed = clip.copy()
  changed[:, 0] = other[:, 0]  # each given frame is
  assert np.max(np.abs(rest(changed) - result[:, 2:])) > 0.01
  assert np.max(np.abs(rest(clip, 1) - result[:, 2:])) > 0.01


@pytest.mark.parametrize("variant", ["single_rnn", "stacked_rnn"])
def test_state_and_maps_of_the_encoder_reach_their_layers(
  tiny_prediction_config, randomized, variant
):
  changes = {"model.generator.variant": variant, "model.resolution": 16}
  changes |= {
    "model.generator.multipliers": (2, 2, 1),
    "model.discriminator.multipliers": (1, 2, 2),
  }
  gan = registry.build(tiny_prediction_config(**changes))
  variables = randomized(jax.eval_shape(gan.init, jax.random.key(0))["generator"])
  seen, encoded, order = {}, [], []

  def watch(call, arguments, keywords, context):
    result = call(*arguments, **keywords)
    name = context.module.name
    if context.method_name == "__call__" and isinstance(context.module, Encoder):
      encoded.append((result[0], dict(result[1])))
    if context.method_name == "__call__" and isinstance(context.module, ConvGRU | JoinedConv):
      seen[name] = arguments
    if context.method_name == "__call__" and len(context.module.path) == 1:
      order.append(name)
    return result

  with nn.intercept_methods(watch):
    generated(gan, variables, pixels((2, 5, 16, 16, 3)))
  ((state, maps),) = encoded
  np.testing.assert_array_equal(seen["rnn"][2], state)
  assert seen["rnn"][1] == 3  # steps: the given frames are not generated
  skips = [name for name in order if name.startswith("skip")]
  # A stage of one block has none at 4x4 that a skip could follow.
  assert skips == (["skip4", "skip8"] if variant == "stacked_rnn" else ["skip8"])
  for name in skips:
    np.testing.assert_array_equal(seen[name][1], maps[int(name[4:])])
    # Behind the first block with this size: the map has this height, and no later block has a skip.
    assert seen[name][0].shape[1:3] == (3, int(name[4:]))
  if variant == "stacked_rnn":
    assert any(name.startswith("rnn") and name != "rnn" for name in seen)


def test_savings_change_nothing(x64, tiny_prediction_config, randomized, assert_close):
  clips = []
  for ops in ("plain", "folded", "cpu"):
    gan = registry.build(tiny_prediction_config(precision="float64"), ops=ops)
    variables = randomized(jax.eval_shape(gan.init, jax.random.key(0))["generator"])
    clips.append(generated(gan, variables, pixels((2, 5, 8, 8, 3))))
  assert_close(clips[1], clips[0])
  assert_close(clips[2], clips[0])


@pytest.mark.parametrize(
  ("conditioning", "frames", "message"),
  [
    (None, None, r"continues 2 given frame\(s\): give clips to continue"),
    (
      pixels((1, 1, 8, 8, 3)),
      None,
      r"must be \[N, 2 or more, 8, 8, 3\], these are \[1, 1, 8, 8, 3\]",
    ),
    (pixels((1, 2, 4, 4, 3)), None, r"these are \[1, 2, 4, 4, 3\]"),
    (np.zeros((1, 2, 8, 8, 3), np.float32), None, "must be uint8 in 0..255, these are float32"),
    (pixels((1, 2, 8, 8, 3)), 2, "clips of 2 frames leave none to generate: 2 are given"),
    (pixels((2, 2, 8, 8, 3)), None, "2 clips to continue for 1 clips to generate"),
  ],
)
def test_unusable_given_frames_are_refused(tiny, conditioning, frames, message):
  gan, _ = tiny
  given = None if conditioning is None else {"clip": conditioning}
  with pytest.raises(UserError, match=message):
    gan.sampling_inputs(jax.random.key(0), jnp.zeros(1, jnp.int32), Context(), frames, given)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"model.num_classes": 8}, "num_classes is 8, must be 0: DVD-GAN-FP has no classes"),
    ({"model.conditioning.frames": 5}, "must be below config.model.frames, 5"),
  ],
)
def test_impossible_configs_are_refused(tiny_prediction_config, changes, message):
  with pytest.raises(UserError, match=message):
    switches.check(tiny_prediction_config(**changes))


def test_an_encoder_that_does_not_end_at_the_state_is_refused(tiny_prediction_config):
  config = tiny_prediction_config(**{"model.discriminator.multipliers": (1, 2, 2)})
  with pytest.raises(UserError, match="an encoder of 3 blocks maps 8x8 to 2x2"):
    registry.build(config)
