"""ProgressiveVGAN: counts, both networks and all losses against NumPy, phases, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.cost import summary
from vidgan_jax.models import registry, switches
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.models.progressive_vgan import config as progressive_vgan_config
from vidgan_jax.ops import cpu
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

PAPER = {
  "ucf101_128x32_sw": (3_706_434, 3_719_056, 48.1),
  "ucf101_128x32_wgan": (3_706_434, 3_702_545, 48.1),
  "ucf101_256x32_sw": (3_711_661, 3_724_296, 69.9),
}
FRAMES = {4: 4, 8: 8, 16: 8, 32: 16, 64: 16, 128: 32, 256: 32}
LEVELS = (4, 8, 16)  # of the tiny system
WIDTHS = {4: 6, 8: 6, 16: 4}


@pytest.fixture(scope="module")
def tiny(load_config):
  """A function (**changes) that returns a config of 16x16 pixels with three levels."""

  def build(**changes):
    config = load_config("progressive_vgan", "shapes,runlocal").unlock()
    values = {
      "model.resolution": 16,
      "model.frames": 8,
      "model.latent_dim": 5,
      "model.channel_base": 32,
      "model.channel_most": 6,
      "model.batch_sizes": (8, 4, 4),
      "model.rate_factors": (1.0, 1.0, 1.0),
      "model.fade_clips": 8,
      "model.stay_clips": 8,
      "precision": "float64",
      **changes,
    }
    schema.set_fields(config, values)
    return config

  return build


@pytest.mark.parametrize("row", PAPER)
def test_parameters_and_operations_are_the_known_ones(load_config, row):
  config = load_config("progressive_vgan", row)
  gan = registry.build(config, platform="gpu", ops="plain")
  variables = summary.abstract_variables(gan)
  generator, discriminator, work = PAPER[row]
  counts = summary.count_parameters(variables)
  assert counts["generator"]["total"] == generator
  assert counts["video"]["total"] == discriminator
  for flops in summary.forward_flops(gan, variables).values():
    assert flops / 1e9 == pytest.approx(work, rel=0.01)


def test_the_wgan_gp_head_at_256_pixels(load_config):
  config = load_config("progressive_vgan", "ucf101_256x32_sw").unlock()
  config.model.head = "wgan_gp"
  counts = summary.count_parameters(summary.abstract_variables(registry.build(config)))
  assert counts["generator"]["total"] == 3_711_661 and counts["video"]["total"] == 3_707_785


def lrelu(x):
  return np.where(x < 0, 0.2 * x, x)


def pixel_norm(x):
  return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-8)


def repeat(x, factors):
  for axis, factor in enumerate(factors, 1):
    x = x.repeat(factor, axis)
  return x


def grows(resolution):
  return (FRAMES[resolution] // FRAMES[resolution // 2], 2, 2)


GAIN = np.sqrt(2)


def scaled(params, gain=GAIN):
  """Kernel, multiplied by its equalised gain, and bias."""
  kernel = np.asarray(params["kernel"], np.float64)
  return kernel * gain / np.sqrt(kernel[..., 0].size), np.asarray(params["bias"])


def expected_clip(reference, params, z, level, fade):
  """The generator written once more; `level` is a resolution."""
  convolve = lambda name, x, gain=GAIN: reference.convolve(x, *scaled(params[name], gain))
  kernel, bias = scaled(params["dense"], np.sqrt(2) / 4)
  x = (pixel_norm(z) @ kernel + bias).reshape(len(z), 4, 4, 4, WIDTHS[4])
  x = pixel_norm(lrelu(convolve("conv4", pixel_norm(lrelu(x)))))
  clip = convolve("rgb4", x, 1.0)
  for resolution in LEVELS[1 : LEVELS.index(level) + 1]:
    x = repeat(x, grows(resolution))
    for part in "ab":
      x = pixel_norm(lrelu(convolve(f"conv{resolution}{part}", x)))
    old, clip = repeat(clip, grows(resolution)), convolve(f"rgb{resolution}", x, 1.0)
    clip = old + (fade if resolution == level else 1.0) * (clip - old)
  return clip


def expected_features(reference, params, clip, level, fade):
  """The discriminator up to its head."""
  convolve = lambda name, x: lrelu(reference.convolve(x, *scaled(params[name])))
  x = convolve(f"rgb{level}", clip)
  for resolution in reversed(LEVELS[1 : LEVELS.index(level) + 1]):
    for part in "ab":
      x = convolve(f"conv{resolution}{part}", x)
    x = reference.average(x, grows(resolution))
    if resolution == level:
      old = convolve(f"rgb{level // 2}", reference.average(clip, grows(resolution)))
      x = old + fade * (x - old)
  deviation = np.empty((*x.shape[:-1], 1))
  for begin in range(0, len(x), 4):
    group = x[begin : begin + 4]
    spread = np.sqrt(np.mean((group - group.mean(0)) ** 2, axis=0) + 1e-8)
    deviation[begin : begin + 4] = spread.mean()
  x = convolve("conv4", np.concatenate([x, deviation], -1))
  kernel, bias = scaled(params["dense"])
  return lrelu(x.reshape(len(x), -1) @ kernel + bias)


def expected_scores(reference, params, clip, level, fade):
  x = expected_features(reference, params, clip, level, fade)
  if "score" in params:
    kernel, bias = scaled(params["score"], 1.0)
    return (x @ kernel + bias)[:, 0]
  head = {name: np.asarray(value) for name, value in params["sliced"].items()}
  return lrelu(head["scale"] * (x @ head["projection"]) + head["offset"]).mean(axis=1)


@pytest.fixture
def drawn(x64, tiny, randomized):
  """A function (head) that returns a system and variables with every number away from 0."""

  def make(head="wgan_gp", **changes):
    gan = registry.build(tiny(**{"model.head": head, **changes}), ops="plain")
    return gan, randomized(summary.abstract_variables(gan), 0)

  return make


@pytest.mark.parametrize("level", LEVELS)
def test_generator_equals_numpy(drawn, normal, reference, assert_close, assert_gradient, level):
  gan, variables = drawn()
  gan, z, fade = gan.at(LEVELS.index(level)), normal((2, 5)), np.array([0.3, 0.3])
  params = variables["generator"]["params"]
  draw = lambda p, z: gan.generator.apply({"params": p}, {"z": z}, {"fade": fade}, True, 8)["clip"]
  expected = expected_clip(reference, params, z, level, 0.3)
  assert expected.shape == (2, FRAMES[level], level, level, 3)
  assert_close(jax.jit(draw)(params, z), expected)
  weights = normal(expected.shape, 1)
  assert_gradient(lambda p, z: jnp.sum(weights * draw(p, z)), (params, z), tolerance=1e-6)


@pytest.mark.parametrize(("level", "head"), [(4, "sliced"), (8, "wgan_gp"), (16, "sliced")])
def test_discriminator_equals_numpy(
  drawn, normal, reference, assert_close, assert_gradient, level, head
):
  gan, variables = drawn(head)
  gan, fade = gan.at(LEVELS.index(level)), np.full(4, 0.3)
  clip = normal((4, FRAMES[level], level, level, 3))
  params, module = variables["discriminators"]["video"]["params"], gan.discriminators["video"]

  def scores(params, clip):
    found = module.apply({"params": params}, clip, fade)
    return found["score"] if head == "sliced" else found

  expected = expected_scores(reference, params, clip, level, 0.3)
  assert_close(jax.jit(scores)(params, clip), expected)
  assert_gradient(lambda p, x: jnp.sum(scores(p, x) ** 2), (params, clip), tolerance=1e-6)


def test_a_faded_in_level_at_0_is_the_level_before_enlarged(drawn, normal, assert_close):
  gan, variables = drawn()
  z, none = normal((2, 5)), np.zeros(2)
  draw = lambda index: np.asarray(
    gan.at(index).generator.apply(
      variables["generator"], {"z": z}, {"fade": none + index}, True, 8
    )["clip"]
  )
  # Level 1 is drawn whole, then as what level 2 begins with.
  whole = draw(1)
  begun = gan.at(2).generator.apply(variables["generator"], {"z": z}, {"fade": none}, True, 8)
  assert_close(begun["clip"], repeat(whole, grows(16)))


def test_real_clips_are_means_and_fade_like_the_level(drawn, reference, assert_close):
  gan, _ = drawn()
  clips = np.random.default_rng(0).integers(0, 256, (2, 8, 16, 16, 3), dtype=np.uint8)
  batch = {"clip": clips, "label": np.zeros(2, np.int32)}
  full = clips / 127.5 - 1
  for index, level in enumerate(LEVELS):
    own = gan.at(index)
    for done, fade in ((0, 0.0), (1, 0.5), (2, 1.0), (5, 1.0)):
      step = own.phase.begin + done * max(own.phase.fade // 2, 1)
      found = own.real_samples(jax.random.key(0), batch, Context(jnp.int32(step)))["clip"]
      expected = reference.average(full, (8 // FRAMES[level], 16 // level, 16 // level))
      if index:
        old = repeat(reference.average(expected, grows(level)), grows(level))
        expected = old + fade * (expected - old)
      assert_close(found, expected)
      inputs = own.real_inputs(jax.random.key(0), batch, Context(jnp.int32(step)))
      np.testing.assert_array_equal(inputs["fade"], np.full(2, fade if index else 1.0))


def slopes(function, x, step=1e-5):
  """The gradient of the sum of `function(x)` by x, by central differences."""
  gradient = np.empty_like(x)
  for place in np.ndindex(*x.shape):
    moved = x.copy()
    moved[place] += step
    above = function(moved).sum()
    moved[place] -= 2 * step
    gradient[place] = (above - function(moved).sum()) / (2 * step)
  return gradient


@pytest.mark.parametrize("head", ["wgan_gp", "sliced"])
def test_losses_equal_numpy(drawn, normal, reference, assert_close, head):
  """At 4x4, with the gradients of the scores by the mixed clips taken by differences."""
  gan, variables = drawn(head)
  gan, params = gan.at(0), variables["discriminators"]["video"]["params"]
  batch, context, key = {"label": np.zeros(4, np.int32)}, Context(jnp.int32(0)), jax.random.key(3)
  real, fake = normal((4, 4, 4, 4, 3)), normal((4, 4, 4, 4, 3), 1)
  score = lambda name, view: gan.discriminate(name, {"params": params}, view, key)[0]

  @jax.jit
  def losses(real, fake):
    inputs = gan.real_inputs(key, batch, context), gan.generated_inputs(key, batch, context)
    views = [
      gan.views(key, {"clip": x}, i, context) for x, i in zip((real, fake), inputs, strict=True)
    ]
    scores = [{"video": score("video", view["video"])} for view in views]
    sides = [
      Side(inputs=i, samples={"clip": x}, scores=s)
      for i, x, s in zip(inputs, (real, fake), scores, strict=True)
    ]
    parts = gan.discriminator_losses(*sides, context)
    parts |= gan.penalties(score, *views, key, context)
    generator = gan.generator_losses(sides[1], sides[0], context)
    return parts, generator["video"], inputs[0].get("share")

  parts, of_generator, blend = losses(real, fake)
  scores = lambda x: expected_scores(reference, params, x, 4, 1.0)
  features = lambda x: expected_features(reference, params, x, 4, 1.0)
  share = np.asarray(jax.random.uniform(key, (4,), jnp.float64))
  mixed = real + share[:, None, None, None, None] * (fake - real)
  squares = np.sum(slopes(scores, mixed) ** 2, axis=(1, 2, 3, 4))
  if head == "wgan_gp":
    expected = {
      "real": -scores(real).mean(),
      "generated": scores(fake).mean(),
      "drift": 1e-3 * np.mean(scores(real) ** 2),
      "gradient_penalty": 10 * np.mean((np.sqrt(squares) - 1) ** 2),
    }
    assert_close(of_generator, -scores(fake).mean())
  else:
    head = {name: np.asarray(value) for name, value in params["sliced"].items()}
    blend = np.asarray(blend)[:, None]
    blended = (1 - blend) * features(real) + blend * features(fake)
    q = lrelu(head["scale"] * (blended @ head["projection"]) + head["offset"])
    m = 0.1 * (np.abs(q) - q) + 0.5 * (np.abs(q) + q)
    expected = {
      "real": scores(real).mean(),
      "generated": -scores(fake).mean(),
      "projection_penalty": 10 * np.mean((head["scale"] * m - 0.01) ** 2),
      "gradient_penalty": 50 * np.mean((1 - share) ** 2 * squares),
    }
    assert_close(of_generator, scores(fake).mean())
  assert_close(parts, expected, 1e-7)


@pytest.mark.parametrize("narrow", [64, 2])
def test_savings_change_nothing_through_the_double_backward(
  drawn, tiny, normal, assert_close, monkeypatch, narrow
):
  """Of all forms. Each convolution takes the CPU's form for large ones, with either gradient."""
  monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 1, "many pixels": 1})
  monkeypatch.setattr(cpu, "_NARROW", narrow)
  _, variables = drawn("sliced")
  params, key = variables["discriminators"]["video"]["params"], jax.random.key(0)
  view = lambda seed: {"video": {"clip": normal((4, 8, 8, 8, 3), seed), "fade": np.full(4, 0.4)}}
  views = view(0), view(1)

  def gradients(ops):
    system = registry.build(tiny(**{"model.head": "sliced"}), ops=ops).at(1)

    def penalty(params):
      score = lambda name, view: system.discriminate(name, {"params": params}, view, key)[0]
      return system.penalties(score, *views, key, Context(0))["gradient_penalty"]

    return jax.jit(jax.value_and_grad(penalty))(params)

  plain = gradients("plain")
  for ops in ("folded", "cpu", "cpu_forward"):
    assert_close(gradients(ops), plain)


def test_all_levels_are_drawn_from_the_start(drawn):
  gan, variables = drawn()
  names = lambda network: set(network["params"])
  generator, discriminator = variables["generator"], variables["discriminators"]["video"]
  blocks = {"conv4", "conv8a", "conv8b", "conv16a", "conv16b", "dense", "rgb4", "rgb8", "rgb16"}
  assert names(generator) == blocks and names(discriminator) == {*blocks, "score"}
  assert gan.at(0) is gan.at(0) and gan.sampler(0) is gan.sampler(0)  # programs are compiled once


def test_samples_have_full_size_at_every_phase(drawn, normal, assert_close):
  gan, variables = drawn()
  z, begins = {"z": normal((2, 5))}, [phase.begin for phase in gan.phases]
  for step in (0, *begins[1:], begins[1] + 1, begins[2] + 3):
    sampler = gan.sampler(step)
    inputs = sampler.sampling_inputs(None, np.zeros(2, np.int32), Context(step))
    samples, _ = sampler.generate(variables["generator"], z, inputs, jax.random.key(0), False)
    assert samples["clip"].shape == (2, 8, 16, 16, 3)
    own = gan.at_step(step)
    inputs = own.sampling_inputs(None, np.zeros(2, np.int32), Context(step))
    small, _ = own.generate(variables["generator"], z, inputs, jax.random.key(0), False)
    factor = 16 // small["clip"].shape[2]
    assert_close(
      samples["clip"], repeat(small["clip"], (8 // small["clip"].shape[1],) + (factor,) * 2)
    )


def test_samples_at_a_border_are_of_the_level_that_is_trained(drawn):
  """Without a fade, the next level is random noise until its first iteration."""
  gan, _ = drawn(**{"model.fade_clips": 0})
  begin = gan.phases[1].begin
  assert [gan.sampler(begin + done).generator.level for done in (-1, 0, 1)] == [0, 0, 1]
  assert gan.at_step(begin).generator.level == 1  # the next iteration trains it


def test_phases_of_the_paper(load_config):
  """Clips and iterations of the released schedule; 12 million clips at 128x128."""
  phases = progressive_vgan_config.phases(load_config("progressive_vgan", "ucf101_128x32_sw").model)
  assert [p.begin for p in phases] == [0, 18_750, 56_250, 131_250, 206_250, 356_250]
  assert [p.first_clip for p in phases] == [0, 600_000, 1_800_000, 3_000_000, 4_200_000, 5_400_000]
  assert [p.fade for p in phases] == [0, 18_750, 37_500, 37_500, 75_000, 75_000]
  assert [p.frames for p in phases] == [4, 8, 8, 16, 16, 32]
  assert [p.rate for p in phases] == [1, 1, 1, 1, 1, 1.5]
  iterations = load_config("progressive_vgan", "ucf101_128x32_sw").num_iterations
  assert phases[-1].first_clip + (iterations - phases[-1].begin) * 8 == 12_000_000
  large = load_config("progressive_vgan", "ucf101_256x32_sw")
  last = progressive_vgan_config.phases(large.model)[-1]
  assert last.frames == 32 and last.first_clip == 6_600_000
  assert last.first_clip + (large.num_iterations - last.begin) * 4 == 12_000_000


def test_batch_factor_scales_batches_and_borders(tiny):
  config = tiny(**{"model.batch_factor": 3, "model.fade_clips": 100, "model.stay_clips": 50})
  phases = progressive_vgan_config.phases(config.model)
  assert [p.batch_size for p in phases] == [24, 12, 12]
  # Rounded up to whole iterations: 3, then 9 + 5, each of which shows whole batches.
  assert [p.begin for p in phases] == [0, 3, 17]
  assert [p.first_clip for p in phases] == [0, 72, 72 + 14 * 12]
  assert phases[1].resets == (3, 12) and phases[0].resets == ()
  assert [phases[1].faded(step) for step in (3, 12, 16)] == [0.0, 1.0, 1.0]
  assert phases[1].faded(6) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"model.resolution": 512}, "resolution is 512; ProgressiveVGAN has a table of frames for 8, "),
    ({"model.resolution": 24}, "resolution is 24; ProgressiveVGAN has a table"),
    ({"model.frames": 16}, "frames is 16; ProgressiveVGAN has 8 frames at 16x16"),
    ({"model.batch_sizes": (8, 4)}, "batch_sizes has 2 elements, must have 3"),
    ({"model.rate_factors": (1.0,) * 4}, "rate_factors has 4 elements, must have 3"),
    ({"model.batch_sizes": (8, 6, 4)}, "the batch at 8x8 is 6, must be a multiple of 4"),
    ({"batch_size": 8}, "config.batch_size is 8, must be 4: the last of"),
    ({"model.batch_factor": 2}, "config.batch_size is 4, must be 8: the last of"),
    ({"microbatch": 8}, "the batch at 8x8 is 4, which is not divisible by microbatch 8"),
    ({"model.stay_clips": 0}, "stay_clips is 0, must be an integer from 1 to"),
    ({"model.batch_factor": 2**20}, "it must be at most"),
    ({"optimizer.weight_decay": 1e-4}, "weight_decay is 0.0001, must be 0: it would change"),
    ({"optimizer.orthogonal_penalty": 1e-4}, "orthogonal_penalty is 0.0001, must be 0"),
  ],
)
def test_phases_that_do_not_add_up_are_refused(tiny, changes, words):
  with pytest.raises(UserError) as refused:
    switches.check(tiny(**changes))
  assert words in str(refused.value) and "\n" not in str(refused.value)


def test_classes_are_refused(tiny):
  with pytest.raises(UserError, match="progressive_vgan knows no classes; num_classes must be 0"):
    registry.build(tiny(precision="float32", **{"model.num_classes": 3}))
