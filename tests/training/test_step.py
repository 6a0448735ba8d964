"""One iteration: which networks change, which metrics are reported, what is averaged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models.contract import Context
from vidgan_jax.runtime import streams
from vidgan_jax.training import optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training.passes import Update


@pytest.fixture(scope="module")
def played(tiny_config, game):
  """A tiny system, its compiled iteration, and its compiled single updates."""
  played = game(tiny_config())
  played.step = jax.jit(played.iteration)

  def halves(state, batch):
    iteration = played.iteration
    generator = iteration._normalized(state.generator, "generator")
    last = jax.tree.map(lambda a: a[-1], batch)
    update = lambda microstep: Update(iteration.seed, Context(state.step), microstep)
    first, _ = iteration._update_discriminators(state, generator, last, update(0))
    second, _, _ = iteration._update_generator(state, generator, last, update(2))
    return first, second

  played.discriminators_moved, played.generator_moved = jax.jit(halves)(played.state, played.batch)
  played.after, played.metrics = played.step(played.state, played.batch)
  return played


def _equal(a, b):
  return all(
    np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
  )


def _all_moved(a, b):
  return {
    jax.tree_util.keystr(path): not np.array_equal(leaf, other)
    for (path, leaf), other in zip(
      jax.tree_util.tree_flatten_with_path(a)[0], jax.tree.leaves(b), strict=True
    )
  }


def test_discriminators_update_leaves_the_generator_and_its_average_alone(played):
  before, after = played.state, played.discriminators_moved
  assert _equal(before.generator, after.generator)
  assert _equal(before.ema, after.ema)
  for name in before.discriminators:
    moved = _all_moved(before.discriminators[name].params, after.discriminators[name].params)
    # While all scores are within the hinges' margin, the gradients of the score's bias cancel.
    still = [path for path, there in moved.items() if not there]
    assert still in ([], ["['head']['linear']['bias']"]), still


def test_generator_update_leaves_the_discriminators_alone(played):
  before, after = played.state, played.generator_moved
  assert _equal(before.discriminators, after.discriminators)
  moved = _all_moved(before.generator.params, after.generator.params)
  # While attention's gamma is zero, its kernels have no gradient; gamma itself changes.
  still = [p for p, there in moved.items() if not there]
  assert all("attention" in path and "gamma" not in path for path in still), still


def test_vectors_advance_once_in_each_update_of_their_own_network(played):
  before, after = played.state, played.after
  _, once, _ = spectral_norm.normalize(before.generator.params, before.generator.spectral)
  for new, expected in zip(
    jax.tree.leaves(after.generator.spectral), jax.tree.leaves(once), strict=True
  ):
    np.testing.assert_allclose(new, expected, atol=2e-5)
  assert not _equal(before.generator.spectral, after.generator.spectral)
  # Discriminator updates do not change the generator's weights and vectors.
  assert _equal(played.discriminators_moved.generator.spectral, before.generator.spectral)


def test_running_moments_move_a_tenth_towards_the_batch(played):
  gan, before = played.gan, played.state
  variables = states.generator_variables(before, use_ema=False)
  key = lambda stream: streams.key(played.config.seed, stream, before.step, 2)
  last = jax.tree.map(lambda a: a[-1], played.batch)
  latents = gan.latents(key(streams.LATENTS), 4)
  inputs = gan.generated_inputs(key(streams.INPUTS), last, Context(before.step))
  _, reported = gan.generate(variables, latents, inputs, key(streams.NOISE_GENERATOR), True)
  expected = jax.tree.map(
    lambda old, new: 0.9 * old + 0.1 * new,
    before.generator.batch_stats,
    reported[normalization.COLLECTION],
  )
  actual = played.generator_moved.generator.batch_stats
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5)


def test_average_is_a_copy_before_its_start_and_moves_after(played, tiny_config):
  assert _equal(played.after.ema, states.Average(*_average_parts(played.after)))
  again, _ = played.step(played.after, played.batch)  # ema.start is 2, so this iteration averages
  decay = tiny_config().ema.decay
  expected = jax.tree.map(
    lambda old, new: decay * old + (1 - decay) * new,
    played.after.ema,
    states.Average(*_average_parts(again)),
  )
  for a, b in zip(jax.tree.leaves(again.ema), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
  assert not _equal(again.ema.params, again.generator.params)
  assert not _equal(again.ema.batch_stats, again.generator.batch_stats)
  assert not _equal(again.ema.params, played.after.ema.params)


def _average_parts(state):
  return state.generator.params, state.generator.batch_stats


def test_live_vectors_serve_the_average(played):
  """One power iteration from the live vectors gives the average's sigmas to one percent."""
  state = played.state
  for _ in range(8):
    state, _ = played.step(state, played.batch)
  _, _, actual = spectral_norm.normalize(state.ema.params, state.generator.spectral)
  _, _, exact = spectral_norm.normalize(state.ema.params, state.generator.spectral, iterations=500)
  _, _, live = spectral_norm.normalize(state.generator.params, state.generator.spectral)
  assert not _equal(state.ema.params, state.generator.params)
  for name, sigma in actual.items():
    # The estimate for the average may be worse than the estimate in training by this much.
    live_error = abs(float(live[name]) / float(exact[name]) - 1)
    assert abs(float(sigma) / float(exact[name]) - 1) < 0.01 + live_error, name


def test_metrics_name_every_part(played):
  wanted = {
    "loss/discriminator",
    "loss/discriminator/spatial_real",
    "loss/discriminator/spatial_generated",
    "loss/discriminator/temporal_real",
    "loss/discriminator/temporal_generated",
    "loss/generator",
    "loss/generator/spatial",
    "loss/generator/temporal",
    "gradient_norm/generator",
    "gradient_norm/spatial",
    "gradient_norm/temporal",
    "pixel/real_red",
    "pixel/generated_blue",
    "pixel/real_dark",
    "pixel/generated_dark",
    "finite",
  }
  assert wanted <= set(played.metrics)
  parts = [v for k, v in played.metrics.items() if k.startswith("loss/discriminator/")]
  np.testing.assert_allclose(played.metrics["loss/discriminator"], sum(parts), rtol=1e-5)
  real = played.batch["clip"].astype(np.float64) / 255
  np.testing.assert_allclose(played.metrics["pixel/real_red"], real[..., 0].mean(), rtol=1e-5)


def test_dark_clips_are_counted(played):
  dark = dict(played.batch, clip=played.batch["clip"].copy())
  dark["clip"][:, 1] = 3  # one of four clips in both batches
  _, metrics = played.step(played.state, dark)
  assert float(metrics["pixel/real_dark"]) == 0.25
  assert float(metrics["finite"]) == 1


def test_non_finite_losses_are_noticed(played):
  def poison(leaf):
    return leaf.at[(0,) * leaf.ndim].set(jnp.nan)

  params = dict(played.state.generator.params)
  params["norm"] = jax.tree.map(poison, params["norm"])
  state = played.state.replace(generator=played.state.generator.replace(params=params))
  _, metrics = played.step(state, played.batch)
  assert float(metrics["finite"]) == 0


def test_second_iteration_compiles_nothing(played):
  state, _ = played.step(played.after, played.batch)
  compiled = played.step._cache_size()
  for _ in range(2):
    state, _ = played.step(state, played.batch)
  assert played.step._cache_size() == compiled


@pytest.fixture(scope="module")
def unconditional(lean_config, game):
  """Two iterations of a system without labels, whose pixel loss begins with the second."""
  changes = {"num_classes": 0, "pixel_loss.weight": 2.0, "pixel_loss.start": 1}
  played = game(lean_config(**{f"model.{name}": value for name, value in changes.items()}))
  step = jax.jit(played.iteration)
  played.after, first = step(played.state, played.batch)
  played.metrics = [first, step(played.after, played.batch)[1]]
  return played


def test_unconditional_game_has_no_labels(unconditional):
  state = unconditional.state
  names = [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path(
      (state.generator.params, [d.params for d in state.discriminators.values()])
    )
  ]
  assert names and not [name for name in names if "embed" in name]
  assert float(unconditional.metrics[0]["finite"]) == 1


def test_average_pixel_loss_enters_at_its_start(unconditional):
  first, second = unconditional.metrics
  assert float(first["loss/generator/pixel"]) == 0
  assert float(second["loss/generator/pixel"]) > 0


def test_orthogonal_penalty_moves_only_kernels_of_the_generator(played, tiny_config):
  config = tiny_config(**{"optimizer.orthogonal_penalty": 1e-2})
  gradients = jax.tree.map(jnp.zeros_like, played.state.generator.params)
  # Initial kernels are orthogonal, where the penalty has no gradient. So use other weights.
  params = jax.tree.map(lambda a: a + 0.1, played.state.generator.params)
  optimizer = optimizers.build(config, played.gan.discriminators).generator
  updates, _ = optimizer.update(gradients, optimizer.init(params), params, 0)
  for path, update in jax.tree_util.tree_leaves_with_path(updates):
    name = jax.tree_util.keystr(path)
    # A kernel with a single output has no pair of rows to make orthogonal.
    punishable = name.endswith("['kernel']") and update.shape[-1] > 1
    assert bool(np.any(update)) == punishable, name


def test_schedule_fields_are_frozen(played):
  with pytest.raises(dataclasses.FrozenInstanceError):
    played.gan.schedule.discriminator_steps = 3
