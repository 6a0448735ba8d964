"""TGAN, MoCoGAN and VGAN with the discriminators of "Lower Dimensional Kernels ..." (LDVD)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.models import contract, registry
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

# Numbers of parameters of the generator and of the discriminators.
TGAN_G = 4_448_135
COUNTS = {
  ("tgan", "svc"): (TGAN_G, {"video": 11_032_385}),
  ("tgan", "normal"): (TGAN_G, {"video": 11_032_385}),
  ("tgan", "f_c0"): (TGAN_G, {"video": 2_782_081}),
  ("tgan", "f_c1"): (TGAN_G, {"video": 2_847_745}),
  ("tgan", "f_c2"): (TGAN_G, {"video": 3_110_145}),
  ("tgan", "f_c3"): (TGAN_G, {"video": 4_159_233}),
  ("tgan", "tsm_c0"): (TGAN_G, {"video": 2_765_633}),
  ("tgan", "tsm_c2"): (TGAN_G, {"video": 2_765_633}),
  ("mocogan", "base"): (3_249_684, {"image": 663_296, "video": 2_650_880}),
  ("mocogan", "f_c0"): (3_249_684, {"video": 679_680}),
  ("mocogan", "f_c1"): (3_249_684, {"video": 745_216}),
  ("mocogan", "f_c2"): (3_249_684, {"video": 1_007_360}),
  ("mocogan", "f_c3"): (3_249_684, {"video": 1_007_364}),
  ("mocogan", "tsm_c1"): (3_249_684, {"video": 663_296}),
  ("mocogan", "tgan_f"): (3_249_684, {"video": 2_847_745}),
  # Each category adds a row of 16 * 512 to the kernel of the first layer.
  ("mocogan", "categorical"): (
    3_249_684 + 101 * 8192,
    {"image": 663_296, "video": 14_366_464},
  ),
  ("vgan", "ucf101_16"): (15_426_183, {"video": 11_041_474}),
}
ROWS = [
  *[("tgan", row) for row in ("svc", "normal", "f_c1", "tsm_c2", "f_128_all", "f_mug_512")],
  *[
    ("mocogan", row) for row in ("base", "f_sn", "tsm_c1", "tgan_f", "categorical", "image_only_k8")
  ],
  *[("vgan", row) for row in ("ucf101_16", "ucf101_32")],
]


def counts(gan):
  """Numbers of parameters, from shapes alone."""
  shapes = jax.eval_shape(lambda: gan.init(jax.random.key(0)))
  total = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree["params"]))
  return total(shapes["generator"]), {n: total(v) for n, v in shapes["discriminators"].items()}


@pytest.mark.parametrize(("file", "row"), COUNTS)
def test_parameter_counts(load_config, file, row):
  assert counts(registry.build(load_config(file, row))) == COUNTS[file, row]


def test_reductions(load_config):
  """LDVD Table 8, to the printed digits where the table is consistent."""
  size = lambda file, row: sum(counts(registry.build(load_config(file, row)))[1].values())
  percent = lambda part, whole: round(100 * (1 - part / whole), 2)
  of_tgan, of_mocogan = size("tgan", "svc"), size("mocogan", "base")
  assert percent(size("tgan", "tsm_c2"), of_tgan) == 74.93
  assert percent(size("tgan", "f_c1"), of_tgan) == 74.19
  assert percent(size("mocogan", "tsm_c1"), of_mocogan) == 79.99
  # The table has 69.61 for MoCoGAN-F and 15.16 with TGAN-F's discriminator; see docs/ldvd.md.
  assert percent(size("mocogan", "f_c1"), of_mocogan) == 77.51
  assert percent(size("mocogan", "f_c3"), of_mocogan) == 69.6
  assert percent(size("mocogan", "tgan_f"), of_mocogan) == 14.07


@pytest.mark.parametrize(
  ("row", "millions"),
  [
    ("f_128", 15.70),
    ("f_128_4xtemporal", 26.83),
    ("f_128_2ximage", 24.92),
    ("f_128_2xtime", 15.70),
    ("f_128_all", 69.74),
  ],
)
def test_sizes_at_128(load_config, row, millions):
  generator, discriminators = counts(registry.build(load_config("tgan", row)))
  assert round((generator + sum(discriminators.values())) / 1e6, 2) == millions


@pytest.mark.parametrize(
  ("row", "millions"),
  [("double", 13.2), ("double_video_only", 10.5), ("video_only_k2", 0.3), ("image_only_k8", 2.7)],
)
def test_sizes_of_the_ablation(load_config, row, millions):
  assert round(sum(counts(registry.build(load_config("mocogan", row)))[1].values()) / 1e6, 1) == (
    millions
  )


@pytest.fixture(scope="module")
def seen(load_config, randomized):
  """Returns a function (file, row) -> (frames that one score depends on, scores)."""

  def frames(file, row, name="video"):
    gan = registry.build(load_config(file, row + ",runlocal"))
    shapes = jax.eval_shape(lambda: gan.init(jax.random.key(0)))["discriminators"][name]
    variables = {
      "params": randomized(shapes["params"]),
      "batch_stats": jax.tree.map(lambda a: jnp.ones(a.shape), shapes["batch_stats"]),
    }
    clip = np.random.default_rng(0).normal(size=(1, 16, 64, 64, 3)).astype(np.float32)
    module = gan.discriminators[name].clone(noise=0.0)
    run = jax.jit(lambda clip: module.apply(variables, clip=clip, train=False))
    return module, variables, clip, run

  return frames


@pytest.mark.parametrize(
  ("file", "row", "reach"),
  [("mocogan", "tsm_c0", 3), ("mocogan", "tsm_c1", 5), ("mocogan", "tsm_c2", 7)],
)
def test_temporal_reach_of_shifts(seen, file, row, reach):
  """LDVD Table 6: how many frames one score depends on."""
  _, _, clip, run = seen(file, row)
  slope = jax.grad(lambda clip: jnp.sum(run(clip)[:, 8]))(clip)
  moving = np.flatnonzero(np.max(np.abs(slope), axis=(0, 2, 3, 4)) > 0)
  assert len(moving) == reach
  assert moving[0] + moving[-1] == 16  # about frame 8


@pytest.mark.parametrize(("row", "reach"), [("tsm_c0", 3), ("tsm_c1", 5), ("tsm_c2", 7)])
def test_temporal_reach_of_tgan_before_its_frames_are_pooled(seen, load_config, row, reach):
  module, variables, clip, _ = seen("tgan", row)

  def scores(clip):
    # The scores that the last layer would give single frames: layer and mean over frames commute.
    _, collections = module.apply(
      variables, clip=clip, train=False, capture_intermediates=True, mutable=["intermediates"]
    )
    return collections["intermediates"]["norm3"]["__call__"][0]

  slope = jax.grad(lambda clip: jnp.sum(scores(clip)[:, 8]))(clip)
  moving = np.flatnonzero(np.max(np.abs(slope), axis=(0, 2, 3, 4)) > 0)
  assert len(moving) == reach and moving[0] + moving[-1] == 16


@pytest.mark.parametrize(
  ("row", "shape"), [("base", (4, 4, 4)), ("f_c1", (14, 4, 4)), ("tsm_c1", (16, 4, 4))]
)
def test_mocogan_scores_patches(seen, row, shape):
  _, _, clip, run = seen("mocogan", row)
  assert run(clip).shape == (1, *shape)


def test_the_image_discriminator_scores_patches_of_one_frame(seen):
  _, _, clip, run = seen("mocogan", "base", "image")
  assert run(clip[:, :1]).shape == (1, 1, 4, 4)


def test_the_categorical_discriminator_has_one_score_and_logits(seen):
  _, _, clip, run = seen("mocogan", "categorical")
  assert run(clip).shape == (1, 1 + 8)


@pytest.mark.parametrize(("file", "row"), ROWS)
def test_every_network_fits_the_contract(load_config, file, row):
  """Shapes of samples, views and scores, without computing them."""
  gan = registry.build(load_config(file, row + ",runlocal"))

  def play():
    variables = gan.init(jax.random.key(0))
    batch, context = gan.example_batch(2), contract.Context()
    key = jax.random.key(0)
    latents, inputs = gan.latents(key, 2), gan.generated_inputs(key, batch, context)
    samples, moments = gan.generate(variables["generator"], latents, inputs, key, True)
    views = gan.views(key, samples, inputs, context)
    scores = {
      name: gan.discriminate(name, v, views[name], key)[0]
      for name, v in variables["discriminators"].items()
    }
    side = contract.Side(inputs=inputs, samples=samples, latents=latents, scores=scores)
    real = contract.Side(
      inputs=gan.real_inputs(key, batch, context),
      samples=gan.real_samples(key, batch, context),
      scores=scores,
    )
    losses = (
      gan.discriminator_losses(real, side, context),
      gan.generator_losses(side, real, context),
    )
    return samples, scores, losses, moments

  samples, scores, losses, _ = jax.eval_shape(play)
  size = (gan.resolution, gan.resolution, 3)
  assert samples["clip"].shape == (2, gan.frames, *size)
  assert samples["clip"].dtype == jnp.float32
  assert all(s.shape[0] == 2 for s in scores.values())
  assert all(part.shape == () for side in losses for part in side.values())


def test_summaries_refuse_unknown_optimizers():
  with pytest.raises(UserError, match="unknown optimizer 'sgd'; known: adam, rmsprop"):
    summary.static_bytes({"generator": {"total": 1}}, "sgd")


@pytest.mark.parametrize("file", ["tgan", "mocogan", "vgan"])
def test_summaries_count_operations_and_memory(load_config, file):
  costs = summary.summarize(load_config(file))
  ratio = costs["iteration"]["none"]["tflop"] / costs["iteration"]["as_written"]["tflop"]
  # Cells save no products. Counted gradients on padded maps include the taps on the padding.
  assert 1 <= ratio < 1.2 and list(costs["activations"]) == ["none"]
  static, moments = costs["static_bytes"], {"tgan": ("rmsprop", 1)}.get(file, ("adam", 2))
  assert static[moments[0]] == moments[1] * static["parameters"]


def test_batch_norms_have_a_bias_only_where_the_code_has_one(load_config):
  """Batch norm has no bias in TGAN's discriminator and temporal generator."""
  shapes = jax.eval_shape(
    lambda: registry.build(load_config("tgan", "svc")).init(jax.random.key(0))
  )
  critic = shapes["discriminators"]["video"]["params"]
  assert set(critic["norm1"]) == {"gain"} and "norm0" not in critic
  assert set(shapes["generator"]["params"]["temporal"]["norm0"]) == {"gain"}
  assert set(shapes["generator"]["params"]["norm0"]) == {"gain", "bias"}


def test_first_layers_are_initialised_as_transposed_convolutions(load_config):
  """Chainer and PyTorch count the outputs of a transposed convolution as its fan in."""
  draw = lambda file, row: registry.build(load_config(file, row)).init(jax.random.key(0))
  tgan = jax.jit(lambda: draw("tgan", "f_c1"))()["generator"]["params"]
  assert np.std(tgan["temporal"]["layer0"]["kernel"]) == pytest.approx(512**-0.5, rel=0.02)
  mocogan = jax.jit(lambda: draw("mocogan", "f_c1"))()["generator"]["params"]
  kernel = np.abs(mocogan["layer0"]["kernel"])
  assert np.max(kernel) == pytest.approx((512 * 16) ** -0.5, rel=1e-3)


def test_optimizers_and_batch_sizes_are_those_of_the_authors(load_config):
  """Optimizers, batch sizes and orders of updates are those of the authors' code."""
  tgan, mocogan, vgan = (load_config(file) for file in ("tgan", "mocogan", "vgan"))
  of = lambda config, *names: tuple(config.optimizer[name] for name in names)
  rates = ("kind", "generator_lr", "discriminator_lr")
  assert of(tgan, *rates, "rmsprop_decay", "eps") == ("rmsprop", 5e-5, 5e-5, 0.99, 1e-8)
  for config in (mocogan, vgan):
    assert of(config, *rates, "beta1", "beta2", "eps") == ("adam", 2e-4, 2e-4, 0.5, 0.999, 1e-8)
  assert [c.optimizer.weight_decay for c in (tgan, mocogan, vgan)] == [0, 1e-5, 0]
  assert [c.batch_size for c in (tgan, mocogan, vgan)] == [32, 32, 64]
  assert [c.data.stride for c in (tgan, mocogan)] == [1, 2]
  systems = [registry.build(config) for config in (tgan, mocogan, vgan)]
  assert [gan.constraint_period for gan in systems] == [5, 0, 0]
  assert [gan.schedule.generator_first for gan in systems] == [True, False, False]
  assert [gan.schedule.shared_fakes for gan in systems] == [True, False, True]
  # Their batch norm normalises real and generated clips separately.
  assert not any(gan.joint_scores for gan in systems)
  assert registry.build(load_config("tgan", "normal")).constraint_period == 0


def test_initial_distributions(load_config):
  """Initial distributions are those of Chainer, TGAN's code, PyTorch and VGAN's code."""
  draw = lambda file, row: registry.build(load_config(file, row + ",runlocal")).init
  tgan, mocogan, vgan = (
    jax.device_get(jax.jit(draw(file, row))(jax.random.key(0)))
    for file, row in (("tgan", "svc"), ("mocogan", "base"), ("vgan", "ucf101_16"))
  )
  image = tgan["generator"]["params"]
  assert 0.0099 < np.max(np.abs(image["frame_linear"]["kernel"])) <= 0.01
  assert 0.0099 < np.max(np.abs(image["layer0"]["kernel"])) <= 0.01
  critic = tgan["discriminators"]["video"]["params"]
  assert np.std(critic["c3"]["kernel"]) == pytest.approx((64 * 16) ** -0.5, rel=0.02)
  gru = mocogan["generator"]["params"]["motion"]
  assert 0.9 / 10**0.5 < np.max(np.abs(gru["state_bias"])) <= 10**-0.5
  patches = np.abs(mocogan["discriminators"]["video"]["params"]["c2"]["kernel"])
  assert np.max(patches) == pytest.approx((64 * 8) ** -0.5, rel=0.01)
  scene = vgan["generator"]["params"]
  assert np.std(scene["foreground1"]["kernel"]) == pytest.approx(0.01, rel=0.02)
  gains = np.concatenate([leaf["gain"] for name, leaf in scene.items() if "norm" in name])
  assert np.mean(gains) == pytest.approx(1, abs=0.01) and 0.015 < np.std(gains) < 0.025


@pytest.mark.parametrize(
  ("file", "row", "changes", "words"),
  [
    ("tgan", "svc", {"num_classes": 3}, "has no classes"),
    ("tgan", "svc", {"frames": 12}, "generates 16 frames, not 12"),
    ("tgan", "svc", {"resolution": 48}, "must be 4 times a power of two"),
    ("tgan", "svc", {"generator.temporal_channels": (8, 8, 8)}, "16 frames need 4 widths"),
    ("tgan", "f_c1", {"discriminator.level": 5}, "discriminator.level is 5"),
    (
      "tgan",
      "f_c1",
      {"discriminator.kind": "4d"},
      "config.model.discriminator.kind is '4d', must be one of 3d, factorised, tsm",
    ),
    ("mocogan", "base", {"categories": 3}, "categories 3 must be 0 or the number of classes"),
    ("mocogan", "image_only", {"discriminator.image": False}, "no discriminator"),
    ("mocogan", "base", {"frames": 12}, "needs 13 frames or more, not 12"),
    ("mocogan", "f_c3", {"frames": 4}, "needs 5 frames or more, not 4"),
    (
      "mocogan",
      "tgan_f",
      {"frames": 8, "discriminator.tgan.level": 4},
      "needs 16 frames or more, not 8",
    ),
    ("mocogan", "base", {"discriminator.image_window": 5}, "image_window is 5, must be even"),
    ("mocogan", "base", {"infogan": True}, "infogan needs categories"),
    ("mocogan", "categorical", {"frames": 12}, "scores 16 frames, not 12"),
    ("mocogan", "base", {"resolution": 8}, "too small for patches, must be at least 16"),
    ("vgan", "ucf101_16", {"frames": 8}, "generates 16 or 32 frames, not 8"),
    ("vgan", "ucf101_16", {"resolution": 128}, "generates 64x64, not 128x128"),
  ],
)
def test_refusals(load_config, file, row, changes, words):
  config = load_config(file, row)
  with config.unlocked():
    for name, value in changes.items():
      schema.set_fields(config.model, {name: value})
  with pytest.raises(UserError, match=words):
    registry.build(config)
