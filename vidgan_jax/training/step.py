"""One iteration of training, for any `VideoGan`, as one program.

Discriminator updates and the generator's update run in the system's order in one jitted function
of (state, batch, frozen). Spectral normalisation happens once per network and update, outside the
modules: `_Use` holds the normalised weights and carries gradients back through sigma.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models.contract import Context, Side, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import sharding, streams
from vidgan_jax.training.optimizers import Optimizers
from vidgan_jax.training.state import Average, Network, TrainState


@dataclasses.dataclass(frozen=True)
class _Use:
  """A network's weights as one update uses them.

  Attributes:
    weights: spectrally normalised; on several devices a copy for each (`runtime.mesh.spread`).
    pullback: maps gradients by weights to gradients by parameters.
    spectral: the vectors after this update's power iteration.
    sigmas: {path: largest singular value}.
    batch_stats: running moments.
  """

  weights: Any
  pullback: Callable
  spectral: Any
  sigmas: dict
  batch_stats: Any


@dataclasses.dataclass(frozen=True)
class _Drawn:
  """Generated clips.

  Attributes:
    side: with latents, inputs and samples.
    moments: batch statistics that the generator reported.
    pullback: maps gradients by samples to those by the weights that made them; None where nobody
      asked for it.
  """

  side: Side
  moments: Any
  pullback: Callable | None


def _use(network: Network, eps: float, spread=lambda weights: weights) -> _Use:
  def normalize(params):
    weights, spectral, sigmas = spectral_norm.normalize(params, network.spectral, eps=eps)
    return spread(weights), (spectral, sigmas)

  weights, pullback, (spectral, sigmas) = jax.vjp(normalize, network.params, has_aux=True)
  return _Use(weights, lambda g: pullback(g)[0], spectral, sigmas, network.batch_stats)


def _after(use: _Use, metrics: dict) -> tuple[_Use, dict]:
  """Makes whatever uses the weights next wait for the update that `metrics` come from.

  Nothing else orders the passes of one generator through an iteration. XLA then runs them side by
  side and holds the saved activations of the generator's update beneath both discriminator updates:
  135.9 instead of 108.2 GiB for DVD-GAN at batch 512 with `block_inputs` on one H100, as compiled.
  """
  weights, metrics = jax.lax.optimization_barrier((use.weights, metrics))
  return dataclasses.replace(use, weights=weights), metrics


def _interleave(real, generated):
  """Two batches as one of twice the size, example by example.

  Examples of one device stay there; joining end to end would move half of them.
  """
  return jax.tree.map(
    lambda r, g: jnp.stack([r, g.astype(r.dtype)], 1).reshape(-1, *r.shape[1:]), real, generated
  )


def _separate(joint):
  split = lambda which: jax.tree.map(lambda a: a.reshape(-1, 2, *a.shape[1:])[:, which], joint)
  return split(0), split(1)


def _updated(network: Network, use: _Use, gradients, optimizer, reported) -> Network:
  """The network after one optimizer step on `gradients` by parameters."""
  updates, optimizer_state = optimizer.update(gradients, network.optimizer, network.params)
  moments = network.batch_stats
  for moment in reported:
    moments = normalization.blend(moments, moment) if moment else moments
  return Network(
    params=optax.apply_updates(network.params, updates),
    spectral=use.spectral,
    batch_stats=moments,
    optimizer=optimizer_state,
  )


def _pixel_metrics(side: str, clip, dark_level: float):
  """Mean pixel per channel in [0, 1] and the fraction of dark clips (thesis 4.5)."""
  pixels = (clip.astype(jnp.float32) + 1) / 2
  means = jnp.mean(pixels, axis=(0, 1, 2, 3))
  dark = jnp.mean(jnp.mean(pixels, axis=(1, 2, 3, 4)) < dark_level, dtype=jnp.float32)
  names = ("red", "green", "blue")
  metrics = {f"pixel/{side}_{name}": means[i] for i, name in enumerate(names)}
  return {**metrics, f"pixel/{side}_dark": dark}


class Iteration:
  """One iteration of `gan`: a pure function (state, batch, frozen) -> (state, metrics).

  `batch` is {"clip": uint8 [D steps, B, T, H, W, 3], "label": int32 [D steps, B]}; the generator's
  update sees the last of its real batches. `frozen` holds variables of frozen earlier stages, {}
  where there are none. `metrics` is {name: scalar}: losses by part and in sum, gradient norms by
  parameters, mean scores, the largest sigma, pixel statistics, and "finite"; of the discriminators
  the mean over their updates.

  With `config.microbatch` n each update takes its batch through the networks n clips at a time and
  steps once, along the mean of their gradients. Each such group is a batch of its own to whatever
  looks at the whole batch: batch normalisation, whose statistics are the group's ("ghost batch
  normalisation", Hoffer et al. 2017, arXiv 1705.08741) and whose running moments move towards their
  mean over the groups, and losses that are not means over clips. All else stays as it is for the
  whole batch; random numbers are others.

  Args:
    gan: the system.
    optimizers: of its networks.
    config: the whole config.
    mesh: the devices that share a batch; None is one device.
  """

  def __init__(self, gan: VideoGan, optimizers: Optimizers, config, mesh=None):
    self.gan, self.optimizers, self.mesh = gan, optimizers, mesh
    self.seed = config.seed
    self.ema_decay, self.ema_start = config.ema.decay, config.ema.start
    self.dark_level = config.guard.dark_level
    self.rules = config.sharding
    self.groups = config.batch_size // (config.microbatch or config.batch_size)

  def __call__(self, state: TrainState, batch, frozen=None):
    """Runs the iteration; see the class."""
    schedule, frozen = self.gan.schedule, frozen or {}
    steps, shares = schedule.discriminator_steps, schedule.shared_fakes
    last = jax.tree.map(lambda a: a[-1], batch)
    metrics, collected, shared, drawn = {}, [], None, None
    # One normalisation of the generator serves every discriminator update before its own.
    use = self._use(state.generator, "generator")
    if schedule.generator_first:
      microstep = 0 if shares else steps
      state, shared, metrics = self._update_generator(state, use, last, frozen, microstep)
      use = self._use(state.generator, "generator")
    for microstep in range(steps):
      real = jax.tree.map(lambda a, i=microstep: a[i], batch)
      if shares and not schedule.generator_first and microstep == steps - 1 and self.groups == 1:
        # The generator's update goes back through this pass. In groups it makes them again: kept
        # for the way back, all groups would take the memory that groups are there to save.
        drawn = self._draw(use, state, real, frozen, microstep, differentiable=True)
        shared = drawn.side
      state, result = self._update_discriminators(state, use, real, frozen, microstep, shared)
      use, result = _after(use, result)
      collected.append(result)
      shared = None
    if not schedule.generator_first:
      microstep = steps - 1 if shares else steps
      state, _, metrics = self._update_generator(state, use, last, frozen, microstep, drawn)
    means = jax.tree.map(lambda *values: sum(values) / steps, *collected)
    metrics = {**means, **metrics}
    metrics["finite"] = _all_finite(metrics)
    if self.rules == "replicated" or self.mesh is None or self.mesh.devices.size == 1:
      # Of a state in parts each part would need a collective; the loop looks before it saves one.
      metrics["finite"] *= _state_finite(state)
    return state.replace(step=state.step + 1), metrics

  def _use(self, network, name):
    """Normalises a network's weights, on every device or each on its own part, for all to use."""

    def spread(weights):
      if self.mesh is None or self.mesh.devices.size == 1:
        return weights
      places = sharding.shardings(weights, self.mesh, self.rules, f"{name}/params/")
      return meshes.spread(weights, places)

    return _use(network, self.gan.spectral_eps, spread)

  def _uses(self, state):
    return {n: self._use(v, f"discriminators/{n}") for n, v in state.discriminators.items()}

  def _key(self, stream, state, microstep, group=None):
    key = streams.key(self.seed, stream, state.step, microstep)
    return key if group is None else jax.random.fold_in(key, group)

  def _split(self, tree):
    """Asks for the batch axis to be split over the devices.

    What is drawn from a replicated key would otherwise stay whole on every device, and with it all
    that is computed from it: in the generator's update, everything.
    """
    if self.mesh is None:
      return tree
    return jax.tree.map(lambda a: meshes.split_batch(a, self.mesh), tree)

  def _over_groups(self, function, weights, batch, grouped=None):
    """Averages `function(weights, batch, grouped, group)` over the groups of a batch.

    Args:
      function: returns (gradients by weights, means, kept).
      weights: as networks use them.
      batch: arrays [B, ...].
      grouped: what an earlier call kept.

    Returns:
      gradients and means, averaged, and what was kept of each group.
    """
    if self.groups == 1:
      return function(weights, batch, grouped, None)

    def part(array):
      # Strided, so that every device has its share of each group and no example moves.
      return jnp.moveaxis(array.reshape(-1, self.groups, *array.shape[1:]), 1, 0)

    def add(totals, given):
      gradients, means, kept = function(weights, *given)
      return jax.tree.map(jnp.add, totals, (gradients, means)), kept

    xs = jax.tree.map(part, batch), grouped, jnp.arange(self.groups)
    first = jax.tree.map(lambda a: a[0], xs)
    shapes = jax.eval_shape(lambda *given: function(weights, *given)[:2], *first)
    gradients, means = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    if self.mesh is not None and self.mesh.devices.size > 1:
      gradients = jax.tree.map(lambda a: meshes.split_batch(a, self.mesh), gradients)
    totals, kept = jax.lax.scan(add, (gradients, means), xs)
    return *jax.tree.map(lambda a: a / self.groups, totals), kept

  def _draw(self, use, state, batch, frozen, microstep, group=None, *, differentiable=False):
    """Draws latents and inputs and generates clips for one update."""
    key = lambda stream: self._key(stream, state, microstep, group)
    size = batch["label"].shape[0]
    context = Context(state.step, frozen)
    latents = self._split(self.gan.latents(key(streams.LATENTS), size))
    inputs = self._split(self.gan.generated_inputs(key(streams.INPUTS), batch, context))

    def network(weights, given, whole):
      moments, noise = whole
      variables = {"params": weights, normalization.COLLECTION: moments}
      return self.gan.generate(variables, *given, noise, True)

    def generate(weights):
      return meshes.on_each_device(network, self.mesh)(
        weights, (latents, inputs), (use.batch_stats, key(streams.NOISE_GENERATOR))
      )

    pullback = None
    if differentiable:
      samples, back, reported = jax.vjp(generate, use.weights, has_aux=True)
      pullback = lambda by_samples: back(by_samples)[0]
    else:
      samples, reported = generate(use.weights)
    moments = reported.get(normalization.COLLECTION, {})
    return _Drawn(Side(inputs=inputs, samples=samples, latents=latents), moments, pullback)

  def _discriminate(self, name, weights, use, view, noise):
    """Returns scores and reported collections of one discriminator."""

    def network(weights, view, whole):
      moments, noise = whole
      variables = {"params": weights, normalization.COLLECTION: moments}
      return self.gan.discriminate(name, variables, view, noise)

    return meshes.on_each_device(network, self.mesh)(weights, view, (use.batch_stats, noise))

  def _real(self, key, batch, context):
    samples = self.gan.real_samples(key, batch, context)
    return Side(inputs=self.gan.real_inputs(key, batch, context), samples=samples)

  def _update_discriminators(self, state, use, batch, frozen, microstep, shared):
    gan, context = self.gan, Context(state.step, frozen)
    uses = self._uses(state)

    def gradients(weights, batch, fake, group):
      key = lambda stream: self._key(stream, state, microstep, group)
      real = self._real(key(streams.REAL), batch, context)
      if fake is None:
        fake = self._draw(use, state, batch, frozen, microstep, group).side
      fake = jax.lax.stop_gradient(fake)
      noise, penalty = key(streams.NOISE_DISCRIMINATOR), key(streams.PENALTY)
      real_views = gan.views(key(streams.VIEWS_REAL), real.samples, real.inputs, context)
      fake_views = gan.views(key(streams.VIEWS_GENERATED), fake.samples, fake.inputs, context)

      def loss(weights):
        def score(name, view):
          return self._discriminate(name, weights[name], uses[name], view, noise)

        real_scores, fake_scores, moments = {}, {}, {}
        for name in weights:
          if gan.joint_scores:
            joint, _ = score(name, _interleave(real_views[name], fake_views[name]))
            real_scores[name], fake_scores[name] = _separate(joint)
            moments[name] = []
          else:
            real_scores[name], from_real = score(name, real_views[name])
            fake_scores[name], from_fake = score(name, fake_views[name])
            moments[name] = [r.get(normalization.COLLECTION, {}) for r in (from_real, from_fake)]
        parts = gan.discriminator_losses(
          real.replace(scores=real_scores), fake.replace(scores=fake_scores), context
        )
        parts |= gan.penalties(
          lambda n, v: score(n, v)[0], real_views, fake_views, penalty, context
        )
        metrics = {f"loss/discriminator/{name}": value for name, value in parts.items()}
        metrics["loss/discriminator"] = sum(parts.values())
        for name in weights:
          metrics[f"score/{name}_real"] = _mean(real_scores[name])
          metrics[f"score/{name}_generated"] = _mean(fake_scores[name])
        return metrics["loss/discriminator"], (metrics, moments)

      found, (metrics, moments) = jax.grad(loss, has_aux=True)(weights)
      metrics |= _pixel_metrics("real", real.samples["clip"], self.dark_level)
      return found, (metrics, moments), None

    weights = {name: u.weights for name, u in uses.items()}
    found, (metrics, moments), _ = self._over_groups(gradients, weights, batch, shared)
    networks = {}
    for name, network in state.discriminators.items():
      by_params = uses[name].pullback(found[name])
      metrics[f"gradient_norm/{name}"] = optax.global_norm(by_params)
      metrics[f"sigma_max/{name}"] = _largest(uses[name].sigmas)
      network = _updated(
        network, uses[name], by_params, self.optimizers.discriminators[name], moments[name]
      )
      networks[name] = self._constrained(name, network, state.step, microstep)
    return state.replace(discriminators=networks), metrics

  def _constrained(self, name, network, step, microstep):
    """Applies the system's constraint after the last discriminator update of every period."""
    period = self.gan.constraint_period
    if not period or microstep != self.gan.schedule.discriminator_steps - 1:
      return network
    variables = {"params": network.params, normalization.COLLECTION: network.batch_stats}
    params = jax.lax.cond(
      (step + 1) % period == 0,
      lambda v: self.gan.constrain(name, v),
      lambda v: v["params"],
      variables,
    )
    return network.replace(params=params)

  def _update_generator(self, state, use, batch, frozen, microstep, drawn=None):
    """Returns the state, the clips it was updated on where others share them, and metrics."""
    gan, context = self.gan, Context(state.step, frozen)
    uses = self._uses(state)
    keeps = gan.schedule.shared_fakes and gan.schedule.generator_first

    def gradients(weights, batch, _, group):
      key = lambda stream: self._key(stream, state, microstep, group)
      real = self._real(key(streams.REAL), batch, context)
      now = drawn
      if now is None:
        used = dataclasses.replace(use, weights=weights)
        now = self._draw(used, state, batch, frozen, microstep, group, differentiable=True)

      def loss(samples):
        fake = now.side.replace(samples=samples)
        views = gan.views(key(streams.VIEWS_GENERATED), fake.samples, fake.inputs, context)
        noise = key(streams.NOISE_DISCRIMINATOR)
        scores = {
          name: self._discriminate(name, used.weights, used, views[name], noise)[0]
          for name, used in uses.items()
        }
        parts = gan.generator_losses(fake.replace(scores=scores), real, context)
        metrics = {f"loss/generator/{name}": value for name, value in parts.items()}
        metrics["loss/generator"] = sum(parts.values())
        return metrics["loss/generator"], metrics

      by_samples, metrics = jax.grad(loss, has_aux=True)(now.side.samples)
      metrics |= _pixel_metrics("generated", now.side.samples["clip"], self.dark_level)
      return now.pullback(by_samples), (metrics, now.moments), now.side if keeps else None

    found, (metrics, moments), side = self._over_groups(gradients, use.weights, batch)
    by_params = use.pullback(found)
    generator = _updated(state.generator, use, by_params, self.optimizers.generator, [moments])
    metrics["gradient_norm/generator"] = optax.global_norm(by_params)
    metrics["sigma_max/generator"] = _largest(use.sigmas)
    ema = self._average(state.ema, generator, state.step)
    return state.replace(generator=generator, ema=ema), side, metrics

  def _average(self, ema: Average, generator: Network, step) -> Average:
    """Moves the average towards the new generator; a copy before its start (DVD-GAN A.3)."""
    decay = jnp.where(step + 1 < self.ema_start, 0.0, self.ema_decay)

    def move(old, new):
      # Written so that decay 0 gives the new value to the bit.
      return (decay * old + (1 - decay) * new).astype(old.dtype)

    return jax.tree.map(move, ema, Average(generator.params, generator.batch_stats))


def _all_finite(metrics):
  """1 where every loss and gradient norm is finite, else 0."""
  watched = [v for name, v in metrics.items() if name.startswith(("loss/", "gradient_norm/"))]
  return jnp.all(jnp.isfinite(jnp.stack(watched))).astype(jnp.float32)


def _state_finite(state):
  """1 where all weights, optimizer states, averages, moments and vectors are finite, else 0."""
  leaves = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
  return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves])).astype(jnp.float32)


def _largest(sigmas):
  return jnp.max(jnp.stack(list(sigmas.values()))) if sigmas else jnp.zeros(())


def _mean(scores):
  return jnp.mean(jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(scores)]))
