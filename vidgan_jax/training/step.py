"""One iteration of training as one function to be jitted, for any `VideoGan`.

The iteration runs the discriminator updates and the generator's update in the order of the system's
schedule. Each update has four parts: it normalises the weights (`gradients.normalize`), passes a
batch through the networks (`passes`), computes the gradients of its loss, averaged over
micro-batches if the batch is split (`gradients.accumulate`), and makes one optimizer step.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization
from vidgan_jax.models.contract import Arrays, Context, Side, VideoGan
from vidgan_jax.models.phases import Phase
from vidgan_jax.runtime import streams
from vidgan_jax.training import gradients, passes, updates
from vidgan_jax.training import metrics as scalars
from vidgan_jax.training.gradients import NormalizedNetwork
from vidgan_jax.training.optimizers import Optimizers
from vidgan_jax.training.passes import GeneratorPass, Update
from vidgan_jax.training.state import Average, Network, TrainState


class Iteration:
  """One iteration of `gan`: a pure function (state, batch, frozen) -> (state, metrics).

  With `config.microbatch` n, each update passes its batch through the networks n clips at a time
  and makes one optimizer step with the mean of their gradients. Whatever depends on a whole batch
  then depends on a micro-batch instead:

  * Batch normalisation normalises over the micro-batch ("ghost batch normalisation", Hoffer et al.
    2017, arXiv 1705.08741). Its running statistics move towards the mean over the micro-batches.
  * Losses that are not means over clips are averaged over the micro-batches.

  Each micro-batch also has separate random keys. All else is as for the whole batch.

  Args:
    gan: a `VideoGan`.
    optimizers: optimizers of its networks.
    config: the whole config.
    mesh: devices that share a batch. None is one device.
    phase: the phase of training, with the batch size and the iterations that begin with a reset of
      the optimizers. None has the config's batch size and no resets.
  """

  def __init__(
    self,
    gan: VideoGan,
    optimizers: Optimizers,
    config: ConfigDict,
    mesh: Mesh | None = None,
    phase: Phase | None = None,
  ):
    self.gan, self.optimizers, self.mesh = gan, optimizers, mesh
    self.seed = config.seed
    self.ema_decay, self.ema_start = config.ema.decay, config.ema.start
    self.dark_level = config.guard.dark_level
    self.rules = config.sharding
    self.resets = phase.resets if phase else ()
    batch_size = phase.batch_size if phase else config.batch_size
    self.micro_batches = batch_size // (config.microbatch or batch_size)
    self.chunks = config.get("chunks", 1)

  def __call__(
    self, state: TrainState, batch: Arrays, frozen: dict[str, Any] | None = None
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    """Runs the iteration.

    Args:
      state: before the iteration.
      batch: {"clip": uint8 [D steps, B, T, H, W, 3], "label": int32 [D steps, B]}. The generator's
        update gets the last of these real batches.
      frozen: variables of frozen earlier stages; see `Context`.

    Returns:
      The new state, and metrics {name: scalar}: loss terms and their sums, norms of the parameters'
      gradients, mean scores, largest sigmas, pixel statistics, and "finite", which is 1 if
      losses, gradients and (unless it is sharded) the state are finite, otherwise 0. Metrics of the
      discriminators are means over their updates.
    """
    if self.resets:
      state = updates.reset_optimizers(state, self.resets)
    schedule = self.gan.schedule
    steps, shared = schedule.discriminator_steps, schedule.shared_fakes
    update = lambda number: Update(self.seed, Context(state.step, frozen or {}), number)
    generator_update = update(self._generator_microstep())
    last_batch = jax.tree.map(lambda a: a[-1], batch)
    # The generator is normalised once for all discriminator updates that precede its own.
    generator = self._normalized(state.generator, "generator")
    generated, generator_pass, discriminator_metrics = None, None, []
    if schedule.generator_first:
      state, generated, generator_metrics = self._update_generator(
        state, generator, last_batch, generator_update
      )
      (generated, batch), generator_metrics = gradients.after_update(
        (generated, batch), generator_metrics
      )
      generator = self._normalized(state.generator, "generator")
    for step in range(steps):
      real_batch = jax.tree.map(lambda a, i=step: a[i], batch)
      last = step == steps - 1
      if shared and not schedule.generator_first and last and self.micro_batches == 1:
        # The generator's update differentiates this pass. With micro-batches it repeats the passes
        # instead, because storing the activations of all passes would need as much memory as the
        # whole batch.
        generator_pass = self._generate(generator, real_batch, update(step), differentiable=True)
        generated = generator_pass.side
      state, metrics = self._update_discriminators(
        state, generator, real_batch, update(step), generated
      )
      weights, metrics = gradients.after_update(generator.weights, metrics)
      generator = dataclasses.replace(generator, weights=weights)
      discriminator_metrics.append(metrics)
      generated = None
    if not schedule.generator_first:
      state, _, generator_metrics = self._update_generator(
        state, generator, last_batch, generator_update, generator_pass
      )
    means = jax.tree.map(lambda *values: sum(values) / steps, *discriminator_metrics)
    metrics = {**means, **generator_metrics}
    metrics["finite"] = scalars.all_finite(metrics)
    if self.rules == "replicated" or self.mesh is None or self.mesh.devices.size == 1:
      # A sharded state would need a collective per array. The loop checks it before a save instead.
      metrics["finite"] *= scalars.state_finite(state)
    return state.replace(step=state.step + 1), metrics

  def _generator_microstep(self) -> int:
    """The microstep of the generator's update; see `Update`."""
    steps = self.gan.schedule.discriminator_steps
    if not self.gan.schedule.shared_fakes:
      return steps
    return 0 if self.gan.schedule.generator_first else steps - 1

  def _normalized(self, network: Network, name: str) -> NormalizedNetwork:
    return gradients.normalize(
      network, name, eps=self.gan.spectral_eps, mesh=self.mesh, rules=self.rules
    )

  def _normalized_discriminators(self, state: TrainState) -> dict[str, NormalizedNetwork]:
    return {n: self._normalized(v, f"discriminators/{n}") for n, v in state.discriminators.items()}

  def _accumulate(
    self, function: Callable, weights: Any, batch: Arrays, generated: Side | None = None
  ) -> tuple[Any, Any, Any]:
    return gradients.accumulate(
      function, weights, batch, generated, count=self.micro_batches, mesh=self.mesh
    )

  def _real(self, batch: Arrays, update: Update, index: jax.Array | None) -> Side:
    return passes.real_side(self.gan, update.key(streams.REAL, index), batch, update.context)

  def _generate(
    self,
    generator: NormalizedNetwork,
    batch: Arrays,
    update: Update,
    index: jax.Array | None = None,
    *,
    differentiable: bool = False,
  ) -> GeneratorPass:
    generate = functools.partial(passes.generate, mesh=self.mesh, chunks=self.chunks)
    return generate(self.gan, generator, batch, update, index, differentiable=differentiable)

  def _discriminate(
    self, name: str, weights: Any, batch_stats: Any, view: Arrays, key: jax.Array
  ) -> tuple[Any, Any]:
    return passes.discriminate(
      self.gan, name, weights, batch_stats, view, key, mesh=self.mesh, chunks=self.chunks
    )

  def _update_discriminators(
    self,
    state: TrainState,
    generator: NormalizedNetwork,
    batch: Arrays,
    update: Update,
    generated: Side | None = None,
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    """Updates all discriminators once.

    Args:
      state: before the update.
      generator: network to generate clips with.
      batch: the real batch.
      update: seed, context and microstep of this update.
      generated: clips that the generator's update uses too, with one row per micro-batch if the
        batch is split. None generates new clips.

    Returns:
      The new state and metrics.
    """
    networks = self._normalized_discriminators(state)

    def differentiate(
      weights: dict[str, Any], batch: Arrays, generated: Side | None, index: jax.Array | None
    ) -> tuple[Any, Any, None]:
      real = self._real(batch, update, index)
      if generated is None:
        generated = self._generate(generator, batch, update, index).side
      loss = self.discriminator_loss(
        networks, real, jax.lax.stop_gradient(generated), update, index
      )
      by_weights, (metrics, batch_stats) = jax.grad(loss, has_aux=True)(weights)
      metrics |= scalars.pixel_metrics("real", real.samples["clip"], self.dark_level)
      return by_weights, (metrics, batch_stats), None

    weights = {name: network.weights for name, network in networks.items()}
    by_weights, (metrics, batch_stats), _ = self._accumulate(
      differentiate, weights, batch, generated
    )
    updated = {}
    for name, network in state.discriminators.items():
      by_params = networks[name].pullback(by_weights[name])
      metrics[f"gradient_norm/{name}"] = optax.global_norm(by_params)
      metrics[f"sigma_max/{name}"] = scalars.largest(networks[name].sigmas)
      network = updates.updated(
        network,
        networks[name],
        by_params,
        self.optimizers.discriminators[name],
        batch_stats[name],
        update.context.step,
      )
      updated[name] = self._constrained(name, network, update)
    return state.replace(discriminators=updated), metrics

  def discriminator_loss(
    self,
    networks: dict[str, NormalizedNetwork],
    real: Side,
    generated: Side,
    update: Update,
    index: jax.Array | None,
  ) -> Callable[[dict[str, Any]], tuple[jax.Array, Any]]:
    """The loss of all discriminators, as a function of their weights.

    Returns:
      A function ({name: weights}) -> (loss, (metrics, {name: list of reported batch statistics})).
    """
    gan, context = self.gan, update.context
    noise_key = update.key(streams.NOISE_DISCRIMINATOR, index)
    penalty_key = update.key(streams.PENALTY, index)
    views = lambda stream, side: gan.augmented_views(
      update.key(stream, index), side.samples, side.inputs, context
    )
    real_views, generated_views = (
      views(streams.VIEWS_REAL, real),
      views(streams.VIEWS_GENERATED, generated),
    )

    def loss(weights: dict[str, Any]) -> tuple[jax.Array, Any]:
      def score(name: str, view: Arrays) -> tuple[Any, Any]:
        return self._discriminate(name, weights[name], networks[name].batch_stats, view, noise_key)

      real_scores, generated_scores, batch_stats = {}, {}, {}
      for name in weights:
        if gan.joint_scores:
          joint, _ = score(name, passes.interleave(real_views[name], generated_views[name]))
          real_scores[name], generated_scores[name] = passes.separate(joint)
          batch_stats[name] = []
        else:
          real_scores[name], of_real = score(name, real_views[name])
          generated_scores[name], of_generated = score(name, generated_views[name])
          batch_stats[name] = [of_real, of_generated]
      parts = gan.discriminator_losses(
        real.replace(scores=real_scores), generated.replace(scores=generated_scores), context
      )
      parts |= gan.penalties(
        lambda name, view: score(name, view)[0], real_views, generated_views, penalty_key, context
      )
      metrics = scalars.loss_metrics("discriminator", parts)
      for name in weights:
        metrics[f"score/{name}_real"] = scalars.mean(real_scores[name])
        metrics[f"score/{name}_generated"] = scalars.mean(generated_scores[name])
      return metrics["loss/discriminator"], (metrics, batch_stats)

    return loss

  def _constrained(self, name: str, network: Network, update: Update) -> Network:
    """Applies the system's constraint after the last discriminator update of every period.

    The period is `VideoGan.constraint_period` iterations; in all other updates nothing changes.
    """
    period = self.gan.constraint_period
    if not period or update.microstep != self.gan.schedule.discriminator_steps - 1:
      return network
    variables = {"params": network.params, normalization.COLLECTION: network.batch_stats}
    params = jax.lax.cond(
      (update.context.step + 1) % period == 0,
      lambda v: self.gan.constrain(name, v),
      lambda v: v["params"],
      variables,
    )
    return network.replace(params=params)

  def _update_generator(
    self,
    state: TrainState,
    generator: NormalizedNetwork,
    batch: Arrays,
    update: Update,
    generator_pass: GeneratorPass | None = None,
  ) -> tuple[TrainState, Side | None, dict[str, jax.Array]]:
    """Updates the generator and its moving average once.

    Args:
      state: before the update.
      generator: the generator in `state`, spectrally normalised.
      batch: the real batch.
      update: seed, context and microstep of this update.
      generator_pass: a pass that generated clips with this generator; its gradients are used. None
        generates new clips.

    Returns:
      The new state, the generated clips if a later discriminator update uses them too, and metrics.
    """
    networks = self._normalized_discriminators(state)
    keep = self.gan.schedule.shared_fakes and self.gan.schedule.generator_first

    def differentiate(
      weights: Any, batch: Arrays, _: None, index: jax.Array | None
    ) -> tuple[Any, Any, Side | None]:
      real = self._real(batch, update, index)
      current = generator_pass
      if current is None:
        network = dataclasses.replace(generator, weights=weights)
        current = self._generate(network, batch, update, index, differentiable=True)
      side = current.side
      loss = self.generator_loss(networks, real, side, update, index)
      by_samples, metrics = jax.grad(loss, has_aux=True)(side.samples)
      metrics |= scalars.pixel_metrics("generated", side.samples["clip"], self.dark_level)
      assert current.pullback is not None
      by_weights = current.pullback(by_samples)
      return by_weights, (metrics, current.batch_stats), side if keep else None

    by_weights, (metrics, batch_stats), side = self._accumulate(
      differentiate, generator.weights, batch
    )
    by_params = generator.pullback(by_weights)
    network = updates.updated(
      state.generator,
      generator,
      by_params,
      self.optimizers.generator,
      [batch_stats],
      update.context.step,
    )
    metrics["gradient_norm/generator"] = optax.global_norm(by_params)
    metrics["sigma_max/generator"] = scalars.largest(generator.sigmas)
    ema = self._average(state.ema, network, update.context.step)
    return state.replace(generator=network, ema=ema), side, metrics

  def generator_loss(
    self,
    networks: dict[str, NormalizedNetwork],
    real: Side,
    side: Side,
    update: Update,
    index: jax.Array | None,
  ) -> Callable[[Arrays], tuple[jax.Array, Any]]:
    """The generator's loss, as a function of the samples of `side`.

    Returns:
      A function (samples) -> (loss, metrics).
    """

    def loss(samples: Arrays) -> tuple[jax.Array, Any]:
      generated = side.replace(samples=samples)
      views_key = update.key(streams.VIEWS_GENERATED, index)
      views = self.gan.augmented_views(
        views_key, generated.samples, generated.inputs, update.context
      )
      noise_key = update.key(streams.NOISE_DISCRIMINATOR, index)
      scores = {
        name: self._discriminate(name, n.weights, n.batch_stats, views[name], noise_key)[0]
        for name, n in networks.items()
      }
      parts = self.gan.generator_losses(generated.replace(scores=scores), real, update.context)
      metrics = scalars.loss_metrics("generator", parts)
      return metrics["loss/generator"], metrics

    return loss

  def _average(self, ema: Average, generator: Network, step: jax.Array | int) -> Average:
    """Moves the average towards the new generator; before `ema_start` copies it (DVD-GAN A.3)."""
    decay = jnp.where(step + 1 < self.ema_start, 0.0, self.ema_decay)

    def move(old: jax.Array, new: jax.Array) -> jax.Array:
      # In this form, decay 0 returns the new value bit for bit.
      return (decay * old + (1 - decay) * new).astype(old.dtype)

    return jax.tree.map(move, ema, Average(generator.params, generator.batch_stats))
