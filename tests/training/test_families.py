"""Features of systems other than DVD-GAN, each in a toy system that fits the contract."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vidgan_jax.layers.normalization import BatchNorm
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import contract, registry
from vidgan_jax.runtime import streams
from vidgan_jax.training import optimizers, passes, state
from vidgan_jax.training.step import Iteration

FRAMES, SIZE, BATCH = 2, 4, 6
SETTINGS = LayerSettings(spectral=False)


def dense(features, **names):
  """In float64 if JAX has it enabled."""
  return nn.Dense(features, param_dtype=jnp.result_type(float), **names)


class ToyGenerator(nn.Module):
  """Two resolutions as in TGANv2: small clips of the whole batch, larger ones of half of it."""

  @nn.compact
  def __call__(self, latents, inputs, train, frames):
    x = dense(frames * SIZE * SIZE * 3)(latents["z"]) + inputs.get("shift", 0.0)
    clip = jnp.tanh(x.reshape(-1, frames, SIZE, SIZE, 3))
    return {"clip": clip, "large": clip[::2]}


class ToyDiscriminator(nn.Module):
  """Scores clips, classifies a category as MoCoGAN's does, has batch norm as TGAN's has."""

  @nn.compact
  def __call__(self, clip, train=True):
    hidden = BatchNorm(SETTINGS, "shared", name="norm")(clip, train)
    hidden = hidden.reshape(clip.shape[0], -1)
    return {"score": dense(1, name="score")(hidden), "category": dense(3)(hidden)}


@dataclasses.dataclass(frozen=True, eq=False)
class Toy(contract.VideoGan):
  """Records the arguments of its calls for the tests."""

  seen: list = dataclasses.field(default_factory=list)

  def latents(self, key, batch_size, frames=None, scale=1.0):
    return {"z": scale * jax.random.normal(key, (batch_size, 3)), "category": jnp.zeros(batch_size)}

  def generated_inputs(self, key, batch, context):
    self.seen.append(("generated_inputs", key, context))
    shift = context.frozen["earlier"]["shift"] if context.frozen else 0.0
    return {"shift": shift * jnp.ones((batch["label"].shape[0], 1))}

  def sampling_inputs(self, key, labels, context, frames=None, conditioning=None):
    return {}

  def real_samples(self, key, batch, context):
    clip = super().real_samples(key, batch, context)["clip"]
    alpha = jnp.minimum((context.step + 1) / 4, 1.0)  # fades in, as ProgressiveVGAN
    return {"clip": alpha * clip, "large": clip[::2]}

  def views(self, key, samples, inputs, context):
    return {"small": {"clip": samples["clip"]}, "large": {"clip": samples["large"]}}

  def discriminator_losses(self, real, generated, context):
    mean = lambda side: sum(jnp.mean(s["score"]) for s in side.scores.values())
    return {"wasserstein": mean(generated) - mean(real)}

  def generator_losses(self, generated, real, context):
    guesses = generated.scores["small"]["category"]
    return {
      "wasserstein": -sum(jnp.mean(s["score"]) for s in generated.scores.values()),
      "category": -jnp.mean(jax.nn.log_softmax(guesses)[:, 0]),
    }

  def penalties(self, score, real_views, generated_views, key, context):
    total = lambda view: jnp.sum(score("small", view)["score"])
    gradient = jax.grad(total)(real_views["small"])["clip"]
    return {"r1": jnp.mean(jnp.sum(gradient**2, axis=(1, 2, 3, 4)))}

  def constrain(self, name, variables):
    return jax.tree.map(lambda a: jnp.clip(a, -0.01, 0.01), variables["params"])


@pytest.fixture
def play(tiny_config, x64):
  """Returns a function that runs a toy, and returns states, metrics and recorded arguments.

  Always in float64: the toy runs operation by operation, and each is compiled once by type.
  Arguments: schedule, frozen, iterations, fields of the toy, and
    kind: of iteration.
    system: of toy.
    repeat: how often each clip of the batch stands there, one beside the other.
    microbatch: of the config.
  """

  def run(
    schedule=None,
    frozen=None,
    iterations=1,
    *,
    kind=Iteration,
    system=Toy,
    repeat=1,
    microbatch=0,
    **fields,
  ):
    gan = system(
      name="toy",
      generator=ToyGenerator(),
      frames=FRAMES,
      resolution=SIZE,
      num_classes=0,
      schedule=schedule or contract.Schedule(),
      joint_scores=False,
      **({"discriminators": {n: ToyDiscriminator() for n in ("small", "large")}} | fields),
    )
    config = tiny_config(batch_size=repeat * BATCH, microbatch=microbatch)
    transforms = optimizers.build(config, gan.discriminators)
    iteration = kind(gan, transforms, config)
    states = [state.create(gan, transforms, config.seed)]
    shape = (gan.schedule.discriminator_steps, BATCH, FRAMES, SIZE, SIZE, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    batch = {"clip": clips, "label": np.zeros(shape[:2], np.int32)}
    batch = jax.tree.map(lambda a: np.repeat(a, repeat, axis=1), batch)
    gan.seen.clear()
    every = []
    for _ in range(iterations):
      after, metrics = iteration(states[-1], batch, frozen)
      states.append(after)
      every.append({name: float(value) for name, value in metrics.items()})
    return types.SimpleNamespace(
      gan=gan, config=config, states=states, metrics=every, batch=batch, seen=gan.seen
    )

  return run


def microsteps(played):
  """The microstep from whose key each call drew its inputs, in order."""
  keys = {
    tuple(jax.random.key_data(streams.key(played.config.seed, streams.INPUTS, 0, i)).tolist()): i
    for i in range(5)
  }
  drawn = [key for what, key, _ in played.seen if what == "generated_inputs"]
  return [keys[tuple(jax.random.key_data(key).tolist())] for key in drawn]


@pytest.mark.parametrize(
  ("schedule", "expected"),
  [
    (dict(discriminator_steps=2), [0, 1, 2]),
    (dict(discriminator_steps=2, shared_fakes=True), [0, 1]),
    (dict(discriminator_steps=2, generator_first=True), [2, 0, 1]),
    # The update next to the generator's uses the same clips and draws none.
    (dict(discriminator_steps=2, generator_first=True, shared_fakes=True), [0, 1]),
  ],
)
def test_which_updates_share_generated_clips(play, schedule, expected):
  assert microsteps(play(contract.Schedule(**schedule))) == expected


def test_generator_first_is_scored_by_the_old_discriminators(play):
  first = play(contract.Schedule(generator_first=True, shared_fakes=True))
  last = play(contract.Schedule(shared_fakes=True))
  before = first.states[0]
  loss = lambda played: played.metrics[0]["loss/generator"]
  assert np.array_equal(before.step, last.states[0].step)
  assert loss(first) != loss(last)
  # The generator comes first in an iteration, so its update alone gives the same parameters.
  alone = Iteration(
    first.gan, optimizers.build(first.config, first.gan.discriminators), first.config
  )
  batch = jax.tree.map(lambda a: a[-1], first.batch)
  generator = alone._normalized(before.generator, "generator")
  update = passes.Update(first.config.seed, contract.Context(before.step, {}), 0)
  moved, _, _ = alone._update_generator(before, generator, batch, update)
  np.testing.assert_array_equal(
    moved.generator.params["Dense_0"]["kernel"],
    first.states[1].generator.params["Dense_0"]["kernel"],
  )


def test_batch_statistics_of_real_and_generated_clips_are_apart(play):
  played = play()
  before, after = played.states
  old = before.discriminators["large"].batch_stats["norm"]
  new = after.discriminators["large"].batch_stats["norm"]
  real = played.batch["clip"][0] / 127.5 - 1
  real = real[::2]  # the larger resolution is not blended
  z = played.gan.latents(streams.key(played.config.seed, streams.LATENTS, 0, 0), BATCH)
  fake = played.gan.generator.apply({"params": before.generator.params}, z, {}, True, FRAMES)[
    "large"
  ]
  expected = np.asarray(old["mean"])
  for clips in (real, fake):  # real and generated clips in separate calls
    expected = 0.9 * expected + 0.1 * np.mean(clips, axis=(0, 1, 2, 3))
  np.testing.assert_allclose(np.ravel(new["mean"]), np.ravel(expected), atol=1e-6)


def test_constraint_after_the_last_discriminator_step_of_each_period(play):
  played = play(contract.Schedule(discriminator_steps=2), iterations=4, constraint_period=3)
  largest = [
    max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(s.discriminators["small"].params))
    for s in played.states
  ]
  clipped = [bool(value <= 0.01 + 1e-7) for value in largest]
  assert clipped == [False, False, False, True, False], largest


def test_penalty_enters_the_gradient_and_the_log(play):
  played = play()
  before, after = played.states
  metrics = played.metrics[0]
  parts = ("loss/discriminator/wasserstein", "loss/discriminator/r1")
  assert metrics["loss/discriminator/r1"] > 0
  assert abs(metrics["loss/discriminator"] - sum(metrics[name] for name in parts)) < 1e-4

  real = (played.batch["clip"][0] / 127.5 - 1) / 4  # blending has just begun
  z = played.gan.latents(streams.key(played.config.seed, streams.LATENTS, 0, 0), BATCH)
  fake = played.gan.generator.apply({"params": before.generator.params}, z, {}, True, FRAMES)
  module, network = played.gan.discriminators["small"], before.discriminators["small"]

  def loss(params):
    variables = {"params": params, "batch_stats": network.batch_stats}
    score = lambda clip: module.apply(variables, clip, mutable=["batch_stats"])[0]["score"]
    slope = jax.grad(lambda clip: jnp.sum(score(clip)))(real)
    penalty = jnp.mean(jnp.sum(slope**2, axis=(1, 2, 3, 4)))
    return jnp.mean(score(fake["clip"])) - jnp.mean(score(real)) + penalty

  gradient = jax.grad(loss)(network.params)["score"]["kernel"]
  moment = after.discriminators["small"].optimizer[0].mu["score"]["kernel"]  # beta1 is 0
  assert np.max(np.abs(gradient)) > 1e-3
  np.testing.assert_allclose(moment, gradient, rtol=1e-4, atol=1e-6)


def test_frozen_stages_and_the_step_reach_the_system(play):
  plain = play(iterations=3)
  shifted = play(frozen={"earlier": {"shift": jnp.float32(2.0)}})
  assert [int(c.step) for _, _, c in plain.seen] == [0, 0, 1, 1, 2, 2]
  pixel = "pixel/generated_red"
  assert shifted.metrics[0][pixel] > plain.metrics[0][pixel] + 0.1
  # Real clips are blended too.
  faded = [m["pixel/real_red"] - 0.5 for m in plain.metrics]
  whole = float(np.mean(plain.batch["clip"][..., 0] / 255.0)) - 0.5
  np.testing.assert_allclose(faded, [whole / 4, whole / 2, 0.75 * whole], atol=1e-5)


class WithoutSharedPass(Iteration):
  """Repeats the generator pass that its update could share with the last discriminator update."""

  def _update_generator(self, state, generator, batch, update, generator_pass=None):
    return super()._update_generator(state, generator, batch, update)


def test_a_shared_pass_equals_a_repeated_one(play, assert_close):
  schedule = contract.Schedule(discriminator_steps=2, shared_fakes=True)
  shared, again = play(schedule), play(schedule, kind=WithoutSharedPass)
  assert microsteps(shared) == [0, 1] and microsteps(again) == [0, 1, 1]
  assert_close(shared.states[-1], again.states[-1], 1e-12)
  assert_close(shared.metrics, again.metrics, 1e-12)


@pytest.mark.parametrize("first", [False, True])
def test_equal_micro_batches_equal_one_batch(play, assert_close, monkeypatch, first):
  """Two micro-batches of the same clips and random numbers do what one does."""
  schedule = contract.Schedule(discriminator_steps=2, generator_first=first, shared_fakes=first)
  alone = play(schedule)
  key = passes.Update.key
  monkeypatch.setattr(passes.Update, "key", lambda self, stream, index=None: key(self, stream))
  twice = play(schedule, repeat=2, microbatch=BATCH)
  assert_close(twice.states[-1], alone.states[-1], 1e-12)
  assert_close(twice.metrics, alone.metrics, 1e-12)


class PlainDiscriminator(nn.Module):
  """A toy without batch statistics: no clip depends on others."""

  @nn.compact
  def __call__(self, clip, train=True):
    hidden = jnp.tanh(dense(4)(clip.reshape(clip.shape[0], -1)))
    return {"score": dense(1, name="score")(hidden), "category": dense(3)(hidden)}


class Still(Toy):
  """A toy with one resolution, whose latents are always the same."""

  def latents(self, key, batch_size, frames=None, scale=1.0):
    return jax.tree.map(jnp.ones_like, super().latents(key, batch_size))

  def views(self, key, samples, inputs, context):
    return {"small": {"clip": samples["clip"]}}


def test_microbatches_add_up_to_the_batch(play, assert_close):
  """If nothing depends on the whole batch, the number of micro-batches makes no difference."""

  def states(microbatch):
    played = play(
      system=Still, discriminators={"small": PlainDiscriminator()}, microbatch=microbatch
    )
    return played.states[-1]

  assert_close(states(2), states(0), 1e-12)
  assert_close(states(3), states(0), 1e-12)


def test_tgans_kernels_are_clipped_every_period_and_grow_between(load_config):
  """Singular values after every iteration of a small TGAN that learns fast (TGAN 3.2)."""
  config = load_config("tgan", "f_c1,runlocal")
  config.unlock()
  config.model.resolution = 16
  config.model.generator.image_channels = 8
  config.model.discriminator.level = 1
  config.model.clipping_period = 3
  config.optimizer.discriminator_lr = 0.02
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  now = jax.jit(lambda: state.create(gan, transforms, 0))()
  program = jax.jit(Iteration(gan, transforms, config).__call__)
  clips = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 16, 3), dtype=np.uint8)
  batch = {"clip": clips, "label": np.zeros((1, 2), np.int32)}
  largest = []
  for iteration in range(1, 8):
    now, _ = program(now, batch, {})
    network = now.discriminators["video"]
    kernels = [leaf for leaf in jax.tree.leaves(network.params) if leaf.ndim >= 4]
    values = [np.linalg.svd(np.reshape(k, (-1, k.shape[-1])), compute_uv=False) for k in kernels]
    largest.append(max(np.max(v) for v in values))
    gain, variance = network.params["norm1"]["gain"], network.batch_stats["norm1"]["variance"]
    if iteration % 3 == 0:
      assert len(kernels) == 4 and largest[-1] <= 1 + 1e-5
      spread = np.sqrt(variance)
      assert np.all(gain <= spread * (1 + 1e-6)) and np.all(gain >= 0.01 * spread * (1 - 1e-6))
  assert largest[3] > 1 + 1e-3 and largest[4] > largest[3]  # without clipping they grow
