import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidgan_jax.layers import normalization
from vidgan_jax.layers.convolution import Conv
from vidgan_jax.layers.residual import DiscriminatorBlock
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

# Numbers of parameters of generator, spatial and temporal discriminator. They change only if the
# model changes.
PARAMETERS = {
  "kinetics600_64x12": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_64x48": (47_717_447, 154_411_777, 162_683_137),
  "kinetics600_128x12": (143_284_935, 154_883_457, 156_954_753),
  "kinetics600_128x48": (141_185_735, 154_883_457, 156_954_753),
  "kinetics600_256x12": (153_969_863, 174_809_473, 176_880_769),
  "kinetics600_64x16_stride1": (182_265_671, 154_411_777, 162_683_137),
  "ucf101_128x16": (143_225_055, 153_861_505, 155_932_801),
  "kinetics600_phi_identity": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_phi_pool2": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_phi_pool4": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_phi_half_crop": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_k_1": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_k_2": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_k_8": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_k_10": (182_265_671, 154_411_777, 162_683_137),
  "kinetics600_64x12_stacked": (307_576_135, 154_411_777, 162_683_137),
  "thesis_kinetics400": (31_086_215, 38_711_681, 5_583_425),
  "thesis_kinetics400_code": (30_217_863, 38_711_681, 5_021_697),
}


@pytest.fixture(scope="module")
def row(load_config):
  """Returns a function from a row's name to its full-size model and its variables' shapes."""

  @functools.cache
  def build(name):
    gan = registry.build(load_config("dvd_gan", name))
    return gan, abstract(gan)

  return build


def abstract(gan):
  """Shapes of the variables of all networks."""
  return jax.eval_shape(gan.init, jax.random.key(0))


def size(variables):
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def paths(tree):
  return {"/".join(k.key for k in path) for path, _ in jax.tree.leaves_with_path(tree)}


def one_pass(gan, variables, batch_size=2):
  """Passes real and generated clips through all networks to the losses, as training does."""
  key = jax.random.key(0)
  batch = gan.example_batch(batch_size)
  latents = gan.latents(key, batch_size)
  inputs = gan.generated_inputs(key, batch, Context())
  samples, reported = gan.generate(variables["generator"], latents, inputs, key, True)
  sides = {
    "real": Side(
      inputs=gan.real_inputs(key, batch, Context()),
      samples=gan.real_samples(key, batch, Context()),
    ),
    "generated": Side(inputs=inputs, samples=samples, latents=latents),
  }
  for name, side in sides.items():
    views = gan.views(key, side.samples, side.inputs, Context())
    scores = {
      n: gan.discriminate(n, v, views[n], key)[0] for n, v in variables["discriminators"].items()
    }
    sides[name] = side.replace(scores=scores)
  losses = gan.discriminator_losses(sides["real"], sides["generated"], Context())
  losses |= {
    f"generator_{name}": part
    for name, part in gan.generator_losses(sides["generated"], sides["real"], Context()).items()
  }
  return sides, reported, losses


@pytest.mark.parametrize("name", PARAMETERS)
def test_rows_have_their_parameters_and_shapes(row, name):
  gan, variables = row(name)
  nets = [
    variables["generator"],
    *(variables["discriminators"][n] for n in ("spatial", "temporal")),
  ]
  assert tuple(size(network) for network in nets) == PARAMETERS[name]
  sides, reported, losses = jax.eval_shape(lambda v: one_pass(gan, v), variables)
  for side in sides.values():
    assert side.samples["clip"].shape == (2, gan.frames, gan.resolution, gan.resolution, 3)
    assert side.scores["spatial"].shape == (2, gan.sampled_frames)
    assert side.scores["temporal"].shape == (2, gan.frames // 4)
  moments = variables["generator"][normalization.COLLECTION]
  assert jax.tree.map(jnp.shape, reported) == jax.tree.map(
    jnp.shape, {normalization.COLLECTION: moments}
  )
  assert all(loss.shape == () and loss.dtype == jnp.float32 for loss in losses.values())


def test_every_row_is_pinned_and_unknown_ones_are_refused(load_config, row):
  with pytest.raises(UserError, match="unknown config argument 'kinetics700'; known: ") as error:
    load_config("dvd_gan", "kinetics700")
  known = re.search(r"known: (.*) \(each also", str(error.value)).group(1)
  assert known.split(", ") == list(PARAMETERS)
  for name in PARAMETERS:
    small = registry.build(load_config("dvd_gan", f"{name},runlocal"))
    large, variables = row(name)
    assert (small.frames, small.resolution) == (large.frames, large.resolution)
    assert paths(abstract(small)) == paths(variables), "a smaller one has the same structure"


@pytest.mark.parametrize("argument", ["", "runlocal"])
@pytest.mark.parametrize("file", ["quickstart", "weizmann"])
def test_other_configs_build(load_config, file, argument):
  gan = registry.build(load_config(file, argument))
  sides, _, _ = jax.eval_shape(lambda v: one_pass(gan, v), abstract(gan))
  for side in sides.values():
    assert side.samples["clip"].shape == (2, gan.frames, gan.resolution, gan.resolution, 3)
    assert side.scores["spatial"].shape == (2, gan.sampled_frames)


@pytest.mark.parametrize(
  ("name", "millions", "tolerance"),
  [
    ("kinetics600_64x12", (182.3, 154.4, 162.7), 0.01),
    ("kinetics600_64x48", (48, None, None), 0.01),
    ("kinetics600_128x12", (143.3, 154.9, 157.0), 0.01),
    ("thesis_kinetics400_code", (30.2, 38.7, None), 0.02),
  ],
)
def test_pinned_numbers_are_those_worked_out_by_hand(name, millions, tolerance):
  for actual, expected in zip(PARAMETERS[name], millions, strict=True):
    assert expected is None or abs(actual / 1e6 / expected - 1) < tolerance


def layers(run):
  """Returns [(name, output shape without batch)] of a network's layers in the order of calls."""
  layers = []

  def record(call, arguments, keywords, context):
    out = call(*arguments, **keywords)
    if len(context.module.path) == 1 and context.method_name == "__call__":
      layers.append((context.module.path[0], out.shape[1:]))
    return out

  with nn.intercept_methods(record):
    jax.eval_shape(run)
  return layers


def generator_layers(gan, frames=None):
  latents = gan.latents(jax.random.key(0), 1)
  inputs = gan.sampling_inputs(None, jnp.zeros((1,), jnp.int32), Context())
  run = lambda: gan.generator.init(jax.random.key(0), latents, inputs, True, frames or gan.frames)
  return layers(run)


def discriminator_layers(gan, name):
  key = jax.random.key(0)

  def run():
    batch = gan.example_batch()
    samples = gan.real_samples(key, batch, Context())
    view = gan.views(key, samples, gan.real_inputs(key, batch, Context()), Context())[name]
    return gan.discriminators[name].init(key, **view)

  return layers(run)


def test_layers_of_the_paper_at_64(row):
  """Appendix A.2: widths 8 8 8 4 2, two blocks per stage, separable attention before the last."""
  gan, _ = row("kinetics600_64x12")
  at = lambda side, width: (12, side, side, 128 * width)
  assert generator_layers(gan) == [
    ("embed", (120,)),
    ("linear", (16 * 1024,)),
    ("rnn", at(4, 8)),
    ("attention", at(4, 8)),
    ("block0", at(4, 8)),
    ("block1", at(8, 8)),
    ("block2", at(8, 8)),
    ("block3", at(16, 8)),
    ("block4", at(16, 8)),
    ("block5", at(32, 4)),
    ("block6", at(32, 4)),
    ("separable_attention", at(32, 4)),
    ("block7", at(64, 2)),
    ("norm", at(64, 2)),
    ("to_rgb", (12, 64, 64, 3)),
  ]
  at = lambda frames, side, width: (frames, side, side, 128 * width)
  assert discriminator_layers(gan, "spatial") == [
    ("block0", at(8, 32, 2)),
    ("block1", at(8, 16, 4)),
    ("block2", at(8, 8, 8)),
    ("block3", at(8, 4, 16)),
    ("block4", at(8, 4, 16)),
    ("head", (8,)),
  ]
  assert discriminator_layers(gan, "temporal") == [
    ("block0", at(6, 16, 2)),
    ("block1", at(3, 8, 4)),
    ("block2", at(3, 4, 8)),
    ("block3", at(3, 2, 16)),
    ("block4", at(3, 2, 16)),
    ("head", (3,)),
  ]


def test_layers_of_the_thesis(row):
  """Tables 3.1 to 3.3: one block per stage, and a last one; attention at 32x32; D_T ends at 4x4."""
  gan, _ = row("thesis_kinetics400")
  at = lambda side, width: (12, side, side, 64 * width)
  assert generator_layers(gan)[2:] == [
    ("rnn", at(4, 8)),
    ("attention", at(4, 8)),
    ("block0", at(8, 8)),
    ("block1", at(16, 8)),
    ("block2", at(32, 4)),
    ("separable_attention", at(32, 4)),
    ("block3", at(64, 2)),
    ("block4", at(64, 1)),
    ("norm", at(64, 1)),
    ("to_rgb", (12, 64, 64, 3)),
  ]
  assert discriminator_layers(gan, "temporal") == [
    ("block0", (6, 16, 16, 64)),
    ("block1", (3, 8, 8, 128)),
    ("block2", (3, 4, 4, 256)),
    ("block3", (3, 4, 4, 512)),
    ("head", (3,)),
  ]


def test_networks_of_the_thesis_code_without_spectral_normalisation(row):
  """In the thesis' code, ConvGRU, first linear layer and plain 3-D convolutions have none."""
  _, variables = row("thesis_kinetics400_code")
  kernels = lambda v: {p for p in paths(v["params"]) if p.endswith(("kernel", "embedding"))}
  bare = lambda v: kernels(v) - paths(v["spectral"])
  gates = {f"rnn/{gate}/kernel" for gate in ("reset", "update", "candidate")}
  assert bare(variables["generator"]) == {"embed/embedding", "linear/kernel"} | gates
  temporal = variables["discriminators"]["temporal"]
  assert bare(temporal) == {"block0/conv/kernel", "block1/conv/kernel"}
  assert bare(variables["discriminators"]["spatial"]) == set()
  _, text = row("thesis_kinetics400")
  assert bare(text["generator"]) == {"embed/embedding"}
  assert bare(text["discriminators"]["temporal"]) == set()


@pytest.fixture
def tiny(load_config):
  """Returns a function (**changes) to a config of 32x32 clips, 3 frames and a few channels."""

  def config(**changes):
    config = load_config("dvd_gan", "kinetics600_64x12,runlocal")
    small = {"resolution": 32, "frames": 3, "num_classes": 3, "latent_dim": 4, "embedding_dim": 5}
    small |= {"generator.channels": 2, "discriminator.channels": 2}
    small |= {"discriminator.sampled_frames": 2}
    changes = {name.replace("__", "."): value for name, value in changes.items()}
    schema.set_fields(config.model, small | changes)
    return config

  return config


@pytest.fixture
def build(tiny):
  return lambda **changes: registry.build(tiny(**changes))


def test_a_stacked_generator_has_a_unit_per_resolution(build):
  names = [name for name, _ in generator_layers(build(generator__variant="stacked_rnn"))]
  assert names[2:-2] == [
    *("rnn", "attention", "block0", "block1"),
    *("rnn2", "block3", "block4"),
    *("rnn5", "block6", "separable_attention", "block7"),
  ]


@pytest.mark.parametrize(
  ("block", "doubled", "final", "following"),
  [
    ("last_block", True, 0, "block5"),
    ("last_pair", True, 0, "block4"),
    ("last_upsampling", True, 0, "block5"),
    ("last_block", True, 1, "block6"),
    ("last_upsampling", True, 1, "block5"),
    ("last_block", False, 1, "block3"),
    ("last_upsampling", False, 1, "block2"),
    ("none", True, 0, None),
  ],
)
def test_separable_attention_precedes_the_configured_block(build, block, doubled, final, following):
  gan = build(
    generator__attention_before=block, generator__doubled=doubled, generator__final_multiplier=final
  )
  names = [name for name, _ in generator_layers(gan)]
  if following is None:
    assert "separable_attention" not in names
  else:
    assert names[names.index("separable_attention") + 1] == following


def test_full_attention_can_be_left_out(build):
  for present in (True, False):
    params = abstract(build(generator__full_attention=present))["generator"]["params"]
    assert ("attention" in params) == present


@pytest.mark.parametrize(("condition", "width"), [("z_class", 4 + 5), ("class", 5), ("z", 4)])
def test_batch_norm_gets_the_configured_condition(build, condition, width):
  params = abstract(build(generator__condition=condition))["generator"]["params"]
  for block in range(6):
    norm = params[f"block{block}"]["norm1"]
    assert norm["gain"]["kernel"].shape[0] == norm["bias"]["kernel"].shape[0] == width
  assert params["linear"]["kernel"].shape[0] == 4 + 5, "the first layer takes both"


@pytest.mark.parametrize(("statistics", "lead"), [("per_step", (3,)), ("shared", ())])
def test_batch_norm_takes_the_configured_statistics(build, statistics, lead):
  moments = abstract(build(generator__statistics=statistics))["generator"]["batch_stats"]
  assert {leaf.shape[:-1] for leaf in jax.tree.leaves(moments)} == {lead}
  assert set(moments) == {"norm", *(f"block{i}" for i in range(6))}


@pytest.mark.parametrize(("kind", "gates"), [("multiplicative", 5), ("standard", 3)])
def test_recurrent_unit_is_the_configured_kind(build, kind, gates):
  assert len(abstract(build(generator__rnn=kind))["generator"]["params"]["rnn"]) == gates


def test_time_is_merged_into_channels_if_configured(build):
  gan = build(frames=8, discriminator__time_into="channel")
  assert discriminator_layers(gan, "temporal")[-1] == ("head", (1,))
  kernel = abstract(gan)["discriminators"]["temporal"]["params"]["block2"]["conv1"]["kernel"]
  assert kernel.shape == (3, 3, 2 * 4 * 2, 8 * 2), "two frames of 4 ch channels become one"
  assert discriminator_layers(build(frames=8), "temporal")[-1] == ("head", (2,))


@pytest.mark.parametrize(
  ("changes", "expected"),
  [
    ({}, [(3, 8, 8, 4), (1, 4, 4, 8), (1, 2, 2, 16), (1, 2, 2, 16), (1,)]),
    (dict(pool_time=False), [(7, 8, 8, 4), (7, 4, 4, 8), (7, 2, 2, 16), (7, 2, 2, 16), (7,)]),
    (dict(plain_3d=True), [(4, 8, 8, 4), (2, 4, 4, 8), (2, 2, 2, 16), (2, 2, 2, 16), (2,)]),
    (dict(temporal_min_size=4), [(3, 8, 8, 4), (1, 4, 4, 8), (1, 4, 4, 16), (1, 4, 4, 16), (1,)]),
    (dict(temporal_multipliers=(1, 3)), [(3, 8, 8, 2), (3, 8, 8, 6), (3,)]),
  ],
)
def test_3d_blocks_halve_time_or_keep_it_and_can_be_plain(build, changes, expected):
  """Pooling drops an odd last frame of seven, strides do not. The last block does not pool."""
  gan = build(frames=7, **{f"discriminator__{name}": value for name, value in changes.items()})
  assert [shape for _, shape in discriminator_layers(gan, "temporal")] == expected


def test_only_the_first_block_has_no_relu_and_only_two_are_3d(build):
  """A ReLU on pixels in [-1, 1] would lose the negative half."""
  gan = build()
  for name, deep in (("spatial", 0), ("temporal", 2)):
    blocks = []

    def record(call, arguments, keywords, context, blocks=blocks):
      if isinstance(context.module, DiscriminatorBlock):
        blocks.append((context.module.preactivation, context.module.dimensions))
      return call(*arguments, **keywords)

    with nn.intercept_methods(record):
      discriminator_layers(gan, name)
    assert blocks == [(index > 0, 3 if index < deep else 2) for index in range(4)]


def test_discriminators_attend_at_the_configured_resolution(build):
  gan = build(discriminator__attention_resolution=8)
  names = [name for name, _ in discriminator_layers(gan, "spatial")]
  assert names == ["block0", "block1", "attention", "block2", "block3", "head"]
  names = [name for name, _ in discriminator_layers(gan, "temporal")]
  assert names == ["block0", "attention", "block1", "block2", "block3", "head"]


@pytest.mark.parametrize(
  ("kind", "side"), [("identity", 32), ("pool2", 16), ("pool4", 8), ("half_crop", 16)]
)
def test_the_temporal_discriminator_sees_phi_of_the_clip(build, kind, side):
  gan, clip = build(discriminator__downsampling=kind), jnp.zeros((2, 3, 32, 32, 3))
  inputs = {"label": jnp.zeros((2,), jnp.int32)}
  views = jax.eval_shape(lambda: gan.views(jax.random.key(0), {"clip": clip}, inputs, Context()))
  assert views["temporal"]["clip"].shape == (2, 3, side, side, 3)
  assert views["spatial"]["clip"].shape == (2, 2, 32, 32, 3)


def test_views_show_whole_sampled_frames_the_shrunk_clip_and_the_labels(build):
  gan = build(discriminator__sampled_frames=2)
  clips = np.random.default_rng(0).uniform(-1, 1, size=(16, 3, 32, 32, 3)).astype(np.float32)
  inputs = {"label": np.arange(16) % 3}
  cut = jax.jit(lambda key, clip: gan.views(key, {"clip": clip}, inputs, Context()))
  views = cut(jax.random.key(0), clips)
  chosen = set()
  for clip, seen in zip(clips, views["spatial"]["clip"], strict=True):
    frames = [t for t in range(3) if any(np.array_equal(clip[t], frame) for frame in seen)]
    np.testing.assert_array_equal(seen, clip[frames])
    chosen.add(tuple(frames))
  assert chosen == {(0, 1), (0, 2), (1, 2)}, "each clip has its own sample of frames"
  means = clips.reshape(16, 3, 16, 2, 16, 2, 3).mean((3, 5))
  np.testing.assert_allclose(views["temporal"]["clip"], means, atol=1e-6)
  for view in views.values():
    np.testing.assert_array_equal(view["label"], inputs["label"])
  # Generated clips with the same key are cut in the same way: the cut depends on the key alone.
  shifted = cut(jax.random.key(0), clips + 1)
  np.testing.assert_allclose(shifted["spatial"]["clip"], views["spatial"]["clip"] + 1, atol=1e-6)


@pytest.mark.parametrize("remat", ["conv_outputs", "block_inputs"])
def test_rematerialisation_changes_neither_parameters_nor_outputs(build, remat):
  plain, saving = build(), build(remat=remat)
  variables = abstract(plain)
  assert abstract(saving) == variables
  run = lambda gan: jax.eval_shape(lambda v: one_pass(gan, v), variables)
  assert run(saving) == run(plain)


def test_one_discriminator_can_be_left_out_but_not_both(build):
  assert set(build(discriminator__temporal=False).discriminators) == {"spatial"}
  gan = build(discriminator__sampled_frames=0)
  assert set(gan.discriminators) == set(abstract(gan)["discriminators"]) == {"temporal"}
  with pytest.raises(UserError, match="no discriminator"):
    build(discriminator__sampled_frames=0, discriminator__temporal=False)


@pytest.mark.parametrize(
  ("aggregation", "names"),
  [
    ("sum_before", {"spatial", "temporal"}),
    ("mean_after", {"spatial", "temporal"}),
    ("concat_mean", {"all"}),
  ],
)
def test_losses_are_aggregated_as_configured(build, aggregation, names):
  gan = build(aggregation=aggregation)
  scores = {"spatial": jnp.array([[0.5, -2.0]]), "temporal": jnp.array([[3.0]])}
  side = Side(inputs={}, samples={}, scores=scores)
  losses = gan.discriminator_losses(side, side, Context())
  assert set(losses) == {f"{name}_{which}" for name in names for which in ("real", "generated")}
  real = {"sum_before": 2.5, "mean_after": 1.75, "concat_mean": 3.5 / 3}[aggregation]
  assert abs(sum(losses[f"{name}_real"] for name in names) - real) < 1e-6
  generator = {"sum_before": -1.5, "mean_after": -2.25, "concat_mean": -0.5}[aggregation]
  assert abs(sum(gan.generator_losses(side, side, Context()).values()) - generator) < 1e-6


def test_pixel_loss_enters_at_its_iteration(build):
  gan = build(pixel_loss__weight=0.5, pixel_loss__start=10)
  side = lambda value: Side(
    inputs={},
    samples={"clip": jnp.full((1, 2, 4, 4, 3), value)},
    scores={"spatial": jnp.zeros((1, 2))},
  )
  parts = [gan.generator_losses(side(0.2), side(-0.2), Context(step))["pixel"] for step in (9, 10)]
  np.testing.assert_allclose(parts, [0, 0.5 * 0.4], atol=1e-6)
  assert "pixel" not in build().generator_losses(side(0.2), side(-0.2), Context())


def test_generated_labels_are_uniform_or_those_of_the_batch(build):
  batch = {"label": jnp.zeros((3000,), jnp.int32)}
  draw = lambda gan, seed: np.asarray(
    gan.generated_inputs(jax.random.key(seed), batch, Context())["label"]
  )
  gan = build()
  counts = np.bincount(draw(gan, 0), minlength=3)
  assert counts.size == 3 and np.all(np.abs(counts - 1000) < 130)
  assert not np.array_equal(draw(gan, 0), draw(gan, 1))
  assert not np.any(draw(build(generated_labels="batch"), 0))


def test_latents_are_normal_and_truncated_by_scale(build):
  gan = build()
  z = np.asarray(gan.latents(jax.random.key(0), 5000)["z"])
  assert z.shape == (5000, 4) and abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.03
  shrunk = gan.latents(jax.random.key(0), 5000, scale=0.44)["z"]
  np.testing.assert_allclose(shrunk, 0.44 * z, rtol=1e-5)


def test_real_clips_are_scaled_to_one(build):
  pixels = jnp.array([0, 255, 51], jnp.uint8).reshape(1, 1, 1, 1, 3)
  clip = build().real_samples(jax.random.key(0), {"clip": pixels}, Context())["clip"]
  np.testing.assert_allclose(clip.ravel(), [-1, 1, -0.6], atol=1e-6)


def test_without_classes_there_are_no_labels_anywhere(build):
  gan = build(num_classes=0)
  variables = abstract(gan)
  assert not any("embed" in path for path in paths(variables))
  assert gan.sampling_inputs(None, jnp.zeros((2,), jnp.int32), Context()) == {}
  sides, _, _ = jax.eval_shape(lambda v: one_pass(gan, v), variables)
  for side in sides.values():
    assert side.inputs == {} and side.scores["spatial"].shape == (2, 2)
  batch = gan.example_batch()
  samples = gan.real_samples(None, batch, Context())
  inputs = gan.real_inputs(None, batch, Context())
  views = gan.views(jax.random.key(0), samples, inputs, Context())
  assert all(set(view) == {"clip"} for view in views.values())
  norm = variables["generator"]["params"]["block0"]["norm1"]
  assert norm["gain"]["kernel"].shape[0] == 4, "z alone conditions batch norm"
  assert variables["generator"]["params"]["linear"]["kernel"].shape[0] == 4
  labelled = paths(abstract(build()))
  assert sum("embed" in path for path in labelled) == 5  # three tables, two with a vector


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("generator__variant", "no_rnn"),
    ("generator__condition", "label"),
    ("generator__statistics", "layer"),
    ("generator__attention_before", "first_block"),
    ("generator__rnn", "lstm"),
    ("generator__rnn_activation", "elu"),
    ("generator__attention_order", "hw"),
    ("generator__attention_style", "scaled"),
    ("discriminator__time_into", "height"),
    ("discriminator__downsampling", "pool3"),
    ("aggregation", "mean"),
    ("generated_labels", "real"),
    ("pixel_loss__form", "l2"),
    ("initializer", "glorot"),
    ("remat", "all"),
    ("name", "dvdgan"),
  ],
)
def test_unknown_switches_are_refused(build, name, value):
  with pytest.raises(UserError, match=re.escape(repr(value))):
    build(**{name: value})


def test_sizes_that_do_not_fit_are_refused(build):
  with pytest.raises(UserError, match="no width list for resolution 48; known: 32, 64, 128, 256"):
    build(resolution=48)
  with pytest.raises(UserError, match="3 generator widths cannot grow 4x4 to 32x32"):
    build(generator__multipliers=(4, 2, 1))
  with pytest.raises(UserError, match="samples 4 frames of clips of 3"):
    build(discriminator__sampled_frames=4)
  wide = {"generator__multipliers": (4, 2, 1, 1, 1), "discriminator__multipliers": (1, 2)}
  assert generator_layers(build(resolution=64, **wide))[-1] == ("to_rgb", (3, 64, 64, 3))


def fill(shapes, seed=0):
  """Random variables of moderate size: none is at its initial 0 or 1, none overflows."""
  generator = np.random.default_rng(seed)

  def draw(path, leaf):
    values = generator.normal(size=leaf.shape)
    if path[0].key == normalization.COLLECTION:
      values = np.exp(0.1 * values) if path[-1].key == "variance" else 0.1 * values
    elif leaf.ndim > 1:
      values /= np.sqrt(np.prod(leaf.shape[:-1]))
    return values.astype(leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def generating():
  """Caches compiled generators by model, because many tests run the same few."""
  compiled = {}

  def run(gan, variables, inputs, train=True, frames=None, seed=0):
    key = (gan.generator, train, frames)
    if key not in compiled:
      compiled[key] = jax.jit(
        lambda v, z, i: gan.generate(v, z, i, jax.random.key(0), train, frames)
      )
    batch = len(inputs["label"])
    return compiled[key](variables, gan.latents(jax.random.key(seed), batch), inputs)

  return run


@pytest.fixture
def small(build):
  """A tiny model with one block per stage and its variables."""
  gan = build(generator__doubled=False)
  return gan, fill(abstract(gan))


def test_clips_lie_between_minus_one_and_one_and_differ_by_latents_and_labels(small, generating):
  gan, variables = small
  labels = jnp.array([0, 0, 2])
  samples, _ = generating(gan, variables["generator"], {"label": labels})
  clip = np.asarray(samples["clip"])
  assert clip.shape == (3, 3, 32, 32, 3) and clip.dtype == np.float32
  assert np.all(np.abs(clip) <= 1) and clip.std() > 0.05
  assert not np.allclose(clip[0], clip[1], atol=1e-3)
  other, _ = generating(gan, variables["generator"], {"label": labels.at[1].set(1)})
  assert not np.allclose(clip[1], other["clip"][1], atol=1e-3)


def test_clips_are_the_last_normalised_features_through_relu_convolution_and_tanh(small):
  gan, variables = small

  @jax.jit
  def run(variables):
    inputs = {"label": jnp.array([0, 1, 2])}
    outer = lambda module, _: len(module.path) == 1
    samples, state = gan.generator.apply(
      *(variables, gan.latents(jax.random.key(0), 3), inputs, True, 3),
      capture_intermediates=outer,
      mutable=["intermediates", "batch_stats"],
    )
    (features,) = state["intermediates"]["norm"]["__call__"]
    picture = Conv(3, (3, 3), gan.generator.settings).apply(
      {"params": variables["params"]["to_rgb"]}, jnp.maximum(features, 0)
    )
    return samples["clip"], jnp.tanh(picture), features

  clip, expected, features = run(variables["generator"])
  np.testing.assert_allclose(clip, expected, atol=1e-5)
  assert np.min(features) < -0.5, "the ReLU has something to do"


def test_one_hot_weights_are_labels_and_others_mix(small, generating):
  gan, variables = small
  labels = jnp.array([2, 0, 1])
  by_label, _ = generating(
    gan, variables["generator"], gan.sampling_inputs(None, labels, Context())
  )
  mixing = lambda weights: generating(
    gan,
    variables["generator"],
    gan.sampling_inputs(None, jnp.asarray(weights, jnp.float32), Context()),
  )[0]["clip"]
  np.testing.assert_allclose(mixing(np.eye(3)[labels]), by_label["clip"], atol=1e-4)
  between = mixing([[0, 0.5, 0.5], [0.5, 0.5, 0], [1, 0, 0]])
  assert not np.allclose(between, by_label["clip"], atol=1e-2)


def test_longer_clips_than_in_training_need_separate_statistics(small, generating):
  gan, variables = small
  inputs = {"label": jnp.array([0, 1, 2])}
  samples, reported = generating(gan, variables["generator"], inputs, True, 5)
  assert samples["clip"].shape == (3, 5, 32, 32, 3)
  assert reported["batch_stats"]["norm"]["mean"].shape[0] == 5
  with pytest.raises(ValueError, match=r"are \(3, \d+\), the activations need \(5, \d+\)"):
    generating(gan, variables["generator"], inputs, False, 5)
  # Normalised with the statistics that these longer clips reported, they come out the same.
  standing = {**variables["generator"], **reported}
  again, nothing = generating(gan, standing, inputs, False, 5)
  np.testing.assert_allclose(again["clip"], samples["clip"], atol=1e-4)
  assert not nothing


def test_statistics_over_time_serve_clips_of_any_length(build):
  gan, key = build(generator__doubled=False, generator__statistics="shared"), jax.random.key(0)
  variables = fill(abstract(gan))["generator"]
  run = lambda: gan.generate(
    variables, gan.latents(key, 2), {"label": jnp.array([0, 1])}, key, False, 5
  )
  samples, _ = jax.eval_shape(run)
  assert samples["clip"].shape == (2, 5, 32, 32, 3)


def test_gains_of_conditional_batch_norm_start_from_one(small, generating):
  """With conditional maps of zero, frames still have contrast; with gains W c they would not."""
  gan, variables = small
  params = dict(variables["generator"]["params"])
  for name in [name for name in params if name.startswith("block")]:
    norms = {n: jax.tree.map(np.zeros_like, params[name][n]) for n in ("norm1", "norm2")}
    # Without the shortcut, all activations pass through both norms.
    passing = {c: jax.tree.map(np.zeros_like, params[name][c]) for c in ("shortcut",)}
    params[name] = {**params[name], **norms, **passing}
  inputs = {"label": jnp.array([0, 1, 2])}
  samples, _ = generating(gan, {**variables["generator"], "params": params}, inputs)
  assert np.asarray(samples["clip"]).std(axis=(2, 3)).min() > 1e-3


@pytest.fixture(scope="module")
def scoring():
  compiled = {}

  def run(gan, name, variables, clip, label):
    module = gan.discriminators[name]
    if (module, clip.shape) not in compiled:
      compiled[module, clip.shape] = jax.jit(
        lambda v, c, y: gan.discriminate(name, v, {"clip": c, "label": y}, jax.random.key(0))[0]
      )
    variables = variables["discriminators"][name]
    return np.asarray(compiled[module, clip.shape](variables, clip, label))

  return run


def test_the_spatial_discriminator_scores_each_frame_by_itself(small, scoring):
  gan, variables = small
  clip = np.random.default_rng(0).uniform(-1, 1, size=(2, 2, 32, 32, 3)).astype(np.float32)
  label = np.array([0, 2])
  scores = scoring(gan, "spatial", variables, clip, label)
  assert scores.shape == (2, 2)
  swapped = scoring(gan, "spatial", variables, clip[:, ::-1], label)
  np.testing.assert_allclose(swapped, scores[:, ::-1], rtol=1e-4, atol=1e-4)
  exchanged = scoring(gan, "spatial", variables, clip[::-1], label[::-1])
  np.testing.assert_allclose(exchanged, scores[::-1], rtol=1e-4, atol=1e-4)
  assert not np.allclose(scoring(gan, "spatial", variables, clip, label[::-1]), scores, atol=1e-2)


def test_the_temporal_discriminator_sees_the_order_of_frames(small, scoring):
  gan, variables = small
  clip = np.random.default_rng(0).uniform(-1, 1, size=(2, 3, 16, 16, 3)).astype(np.float32)
  label = np.array([0, 2])
  scores = scoring(gan, "temporal", variables, clip, label)
  assert scores.shape == (2, 1)
  backwards = scoring(gan, "temporal", variables, clip[:, ::-1], label)
  assert not np.allclose(backwards, scores, atol=1e-2)


def test_forms_change_no_network(tiny, generating, scoring):
  """Compares the plain form of whole networks with the form for CPUs, in float32."""
  config = tiny(generator__doubled=False)
  plain, saving = registry.build(config, ops="plain"), registry.build(config, platform="cpu")
  for gan, ops in ((plain, "plain"), (saving, "cpu")):
    networks = [gan.generator, *gan.discriminators.values()]
    assert [network.settings.ops for network in networks] == [ops] * 3
  assert paths(abstract(plain)) == paths(abstract(saving))
  variables, label = fill(abstract(saving)), jnp.array([0, 1, 2])
  clips = [
    np.asarray(generating(gan, variables["generator"], {"label": label})[0]["clip"])
    for gan in (plain, saving)
  ]
  np.testing.assert_allclose(*clips, atol=2e-4)
  small = clips[0].reshape(3, 3, 16, 2, 16, 2, 3).mean((3, 5))
  for name, view in (("spatial", clips[0][:, :2]), ("temporal", small)):
    scores = [scoring(gan, name, variables, view, label) for gan in (plain, saving)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-4)


def test_every_parameter_has_a_gradient(small):
  """The discriminators' and the generator's losses together depend on all parameters."""
  gan, variables = small
  stats, key = variables["generator"]["batch_stats"], jax.random.key(0)
  inputs = {"label": jnp.array([0, 1, 2])}

  def total(params):
    generator = {"params": params["generator"], "batch_stats": stats}
    samples, _ = gan.generate(generator, gan.latents(key, 3), inputs, key, True)
    views = gan.views(key, samples, inputs, Context())
    scores = {n: gan.discriminate(n, {"params": params[n]}, views[n], key)[0] for n in views}
    side = Side(inputs=inputs, samples=samples, scores=scores)
    return sum(gan.discriminator_losses(side, side, Context()).values()) + 0.5 * sum(
      gan.generator_losses(side, side, Context()).values()
    )

  params = {"generator": variables["generator"]["params"]}
  params |= {n: v["params"] for n, v in variables["discriminators"].items()}
  gradient = jax.jit(jax.grad(total))(params)
  for path, leaf in jax.tree.leaves_with_path(gradient):
    name = jax.tree_util.keystr(path)
    assert np.all(np.isfinite(leaf)), name
    assert np.any(leaf != 0), name
