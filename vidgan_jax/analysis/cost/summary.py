"""What a config costs: parameters, FLOPs, memory and a lower bound of the time.

Networks are traced, not compiled or run: a full-size summary takes seconds on any machine.

FLOPs. Let G and D be the forward FLOPs of the generator and of all discriminators for one clip. An
iteration with n discriminator updates costs, per clip of the batch,

* n (G + 6 D) in the discriminator updates: one clip is generated; then a real and a generated clip
  each cost a forward pass, input gradients and weight gradients of the discriminators;
* 3 G + 2 D in the generator's update: forward pass, input gradients and weight gradients of the
  generator; forward pass and input gradients of the discriminators.

For n = 2 this is 5 G + 14 D. Penalties on the discriminators' gradients add to it, R1 between 4 D
and 6 D (`analysis.cost.penalties`). The sum is the work "as written", the reference of model FLOP
utilisation. The work "as executed" is counted from the traced gradients of the networks as they are
built for accelerators: the layers' exact savings reduce it, rematerialisation adds to it.
Neither count includes spectral normalisation and the optimizer.

Memory. `analysis.cost.residuals` counts the arrays that an update keeps between its forward and its
backward pass, in two ways: "traced" is the list that JAX makes, an upper bound; "fused" is what a
compiler keeps that fuses elementwise operations. The totals use "fused". They do not include what
else exists at the fullest moment, such as gradients of activations and a recomputed block;
`analysis.cost.peak` estimates that for the config's own policy. Static memory is, in float32 on one
device: parameters, gradients, the optimizer's moments (two for Adam, one for RMSprop) and the
generator's moving average.
"""

import dataclasses
import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidgan_jax.analysis.cost import peak
from vidgan_jax.analysis.cost.penalties import penalty_flops
from vidgan_jax.analysis.cost.residuals import gradient_cost
from vidgan_jax.analysis.cost.stages import stage_flops, with_forward_pass, with_weights
from vidgan_jax.models import contract, registry, switches
from vidgan_jax.models.contract import Arrays, Context, Side, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops
from vidgan_jax.training import optimizers, passes
from vidgan_jax.training.gradients import NormalizedNetwork
from vidgan_jax.training.step import Iteration

REMAT_POLICIES = ("none", "conv_outputs", "block_inputs")
DTYPES = ("bfloat16", "float32")
_PLATFORM = "gpu"  # the counted program is the one built for this platform
_MOMENTS = {"adam": 2, "rmsprop": 1}  # arrays of moments per parameter
# Batch size of a counted update: large, so that costs that do not grow with it are negligible.
_CLIPS = 64


def summarize(
  config: ConfigDict,
  *,
  batch_size: int | None = None,
  dtype: str = "bfloat16",
  tflops: float = 790.0,
) -> dict:
  """Counts what training `config` costs, or raises what training would.

  Args:
    config: the whole config.
    batch_size: clips per update, in place of config.batch_size.
    dtype: type of activations in the memory estimate, one of `DTYPES`.
    tflops: speed of the machine in TFLOP/s, for the lower bound of the time.

  Returns:
    A dictionary that JSON can hold:
      "parameters": {network: {module: count, "total": count}};
      "gflop_per_clip": {network or "earlier stages": {"as_written", "as_executed"}} of one forward
        pass, without and with the layers' exact savings;
      "iteration": {"as_written" or rematerialisation policy: {"tflop", "seconds",
        "videos_per_second"}} for the whole batch;
      "static_bytes": {kind or "total": bytes};
      "activations": {policy: {"bytes_per_clip": {update: {"traced", "fused"}}, "batch_bytes",
        "total_bytes"}}: the module's docstring explains "traced" and "fused". "batch_bytes" is the
        larger "fused" number of the two updates, times the batch size. "total_bytes" adds the
        static bytes;
      "peak_bytes": of the config's policy, see `peak.iteration_bytes`;
      "phases", of networks that grow: a list with these three and the numbers of each phase, where
        the dictionary itself describes the last phase;
      and the settings that these numbers depend on.

  Raises:
    UserError: on a config that cannot be built or trained, a batch size or speed that is not
      positive, or an unknown dtype.
  """
  switches.check(config)
  if not 0 < tflops < math.inf:
    raise UserError(f"tflops {tflops} must be a number above 0")
  if dtype not in DTYPES:
    raise UserError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
  gan = _build(config)
  gan.check_new()
  if gan.phases and batch_size is not None:
    raise UserError(
      "this model has a batch size for each phase of training: --config.model.batch_factor=N "
      "multiplies all of them, --batch_size cannot"
    )
  phases = gan.training_phases(config.batch_size if batch_size is None else batch_size)
  split = config.microbatch, gan.batch_multiple, config.chunks
  for phase in phases:
    meshes.check_division(phase.batch_size, 1, *split)
  variables = abstract_variables(gan)
  parameters = count_parameters(variables)
  static = with_weights(static_bytes(parameters, config.optimizer.kind), gan)
  costs = [
    _costs(config, index, phase.batch_size, variables, static["total"], dtype, tflops)
    for index, phase in enumerate(phases)
  ]
  last = _changed(config, dtype, config.model.get("remat", "none")).at(len(phases) - 1)
  growth = [
    {**dataclasses.asdict(phase), **cost} for phase, cost in zip(phases, costs, strict=True)
  ]
  return {
    "model": gan.name,
    "frames": gan.frames,
    "resolution": gan.resolution,
    "num_classes": gan.num_classes,
    "batch_size": phases[-1].batch_size,
    "discriminator_steps": gan.schedule.discriminator_steps,
    "dtype": dtype,
    "tflops": tflops,
    "savings": config.model.savings,
    "remat": config.model.get("remat", "none"),
    "parameters": parameters,
    "static_bytes": static,
    "peak_bytes": peak.iteration_bytes(config, last, phases[-1].batch_size),
    **costs[-1],
    **({"phases": growth} if gan.phases else {}),
  }


def _costs(config, index, batch_size, variables, static: int, dtype: str, tflops: float) -> dict:
  """FLOPs, times and activations of phase `index` with its batch size; see `summarize`.

  `variables` are those of `abstract_variables`, `static` the bytes that do not depend on the batch.
  """
  gan, plain = _build(config).at(index), _build(config, ops="plain").at(index)
  written, executed = forward_flops(plain, variables), forward_flops(gan, variables)
  rates = lambda work: _rates(work * batch_size, batch_size, tflops)
  iteration, activations = {}, {}
  iteration["as_written"] = rates(_as_written(plain, written, variables))
  for remat in REMAT_POLICIES if "remat" in config.model else ("none",):
    changed = _changed(config, dtype, remat).at(index)
    costs = update_costs(config, changed, variables)
    iteration[remat] = rates(executed_flops(changed, executed, costs))
    batch_bytes = batch_size * max(cost["fused"] for cost in costs.values())
    activations[remat] = {
      "bytes_per_clip": {n: {k: c[k] for k in ("traced", "fused")} for n, c in costs.items()},
      "batch_bytes": batch_bytes,
      "total_bytes": batch_bytes + static,
    }
  gflop = {n: {"as_written": written[n] / 1e9, "as_executed": executed[n] / 1e9} for n in written}
  return {
    "gflop_per_clip": with_forward_pass(gflop, gan, plain),
    "iteration": iteration,
    "activations": activations,
  }


def flops_per_clip(config: ConfigDict, index: int = 0) -> int:
  """FLOPs of one iteration of phase `index` per clip of the batch, as the model is written.

  Model FLOP utilisation is this number times the batch size, divided by the seconds of an iteration
  and by the device's peak FLOP/s.
  """
  gan = _build(config, ops="plain")
  variables, gan = abstract_variables(gan), gan.at(index)
  return _as_written(gan, forward_flops(gan, variables), variables)


def _as_written(gan: VideoGan, forward: dict[str, int], variables) -> int:
  """FLOPs of one iteration per clip as written, penalties included; `gan` is of the plain form."""
  penalties = penalty_flops(gan, variables["discriminators"])
  stages = (_generations(gan) + 1) * stage_flops(gan)
  return iteration_flops(gan, forward) + stages + gan.schedule.discriminator_steps * penalties


def _build(config: ConfigDict, ops: str | None = None) -> VideoGan:
  """The system of `config`, built for an accelerator; `ops` as in `registry.build`."""
  return registry.build(config, platform=_PLATFORM, ops=ops)


def _changed(config: ConfigDict, dtype: str, remat: str) -> VideoGan:
  """The system of `config` with another type of activations and rematerialisation policy."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.precision = dtype
    if "remat" in config.model:
      config.model.remat = remat
  return _build(config)


def _rates(work: float, batch_size: int, tflops: float) -> dict[str, float]:
  seconds = work / (tflops * 1e12)
  return {"tflop": work / 1e12, "seconds": seconds, "videos_per_second": batch_size / seconds}


def abstract_variables(gan: VideoGan) -> dict:
  """Shapes of what `gan.init` returns. They depend on neither ops, precision nor remat."""
  return jax.eval_shape(lambda: gan.init(jax.random.key(0)))


def count_parameters(variables: Any) -> dict[str, dict[str, int]]:
  """Numbers of parameters of `VideoGan.init` as {network: {module: count, ..., "total": count}}."""
  counts = {}
  in_order = lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
  for name, network in {"generator": variables["generator"], **variables["discriminators"]}.items():
    params = network["params"]
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    counts[name] = {module: size(params[module]) for module in sorted(params, key=in_order)}
    counts[name]["total"] = size(params)
  return counts


def static_bytes(parameters: dict[str, dict[str, int]], optimizer: str) -> dict[str, int]:
  """Bytes that training holds at any batch size.

  Args:
    parameters: from `count_parameters`.
    optimizer: "adam" or "rmsprop".

  Raises:
    UserError: on an unknown optimizer.
  """
  contract.check("optimizer", optimizer, _MOMENTS)
  all_parameters = 4 * sum(modules["total"] for modules in parameters.values())
  kinds = {
    "parameters": all_parameters,
    "gradients": all_parameters,
    optimizer: _MOMENTS[optimizer] * all_parameters,
    "average": 4 * parameters["generator"]["total"],
  }
  return {**kinds, "total": sum(kinds.values())}


def forward_flops(gan: VideoGan, variables: Any, padding: bool = True) -> dict[str, int]:
  """FLOPs of each network's forward pass in training, for each clip of the batch.

  Args:
    gan: a system.
    variables: its variables, from `abstract_variables`.
    padding: count kernel taps on padding, as papers do. XLA does not count them.

  Returns:
    {"generator" or name of a discriminator: FLOPs}.
  """
  clips = gan.batch_multiple  # the smallest batch with the same proportions as in training

  def arguments():
    key, batch, context = jax.random.key(0), gan.example_batch(clips), Context()
    real = passes.real_side(gan, key, batch, context)
    latents = gan.latents(key, clips)
    inputs = gan.example_derived(latents, gan.generated_inputs(key, batch, context))
    views = gan.views(key, real.samples, real.inputs, context)
    return key, latents, inputs, views

  key, latents, inputs, views = jax.eval_shape(arguments)
  generate = lambda variables, latents, inputs, key: gan.generate(
    variables, latents, inputs, key, True
  )
  count = functools.partial(flops.count, padding=padding)
  counts = {"generator": count(generate, variables["generator"], latents, inputs, key)}
  for name, network in variables["discriminators"].items():
    score = lambda *arguments, name=name: gan.discriminate(name, *arguments)
    counts[name] = count(score, network, views[name], key)
  return {name: total // clips for name, total in counts.items()}


def iteration_flops(gan: VideoGan, forward: dict[str, int]) -> int:
  """FLOPs of one iteration per clip, by the formula in this module's docstring.

  Args:
    gan: the system, for its schedule.
    forward: the result of `forward_flops`.
  """
  generator = forward["generator"]
  discriminators = sum(forward.values()) - generator
  return (
    _generations(gan) * generator
    + gan.schedule.discriminator_steps * 6 * discriminators
    + 3 * generator
    + 2 * discriminators
  )


def update_costs(config: ConfigDict, gan: VideoGan, variables: Any) -> dict[str, dict[str, int]]:
  """Costs per clip of the loss and its gradient in each of the two updates.

  Args:
    config: the whole config.
    gan: its system, with the precision and the rematerialisation policy to count.
    variables: from `abstract_variables`.

  Returns:
    {"discriminators" or "generator": {"flops", "traced", "fused"}}: FLOPs, and two counts of the
    bytes kept for the backward pass; see `analysis.cost.residuals`.
  """
  clips = -(-_CLIPS // gan.batch_multiple) * gan.batch_multiple
  iteration = Iteration(gan, optimizers.build(config, gan.discriminators), config)
  # Random numbers derive from the step, so that latents and noise count as data like the batch.
  data = jax.eval_shape(lambda: (jnp.zeros((), jnp.int32), gan.example_batch(clips)))
  discriminators = {name: v["params"] for name, v in variables["discriminators"].items()}
  updates = {
    "discriminators": (_discriminator_loss, discriminators),
    "generator": (_generator_loss, variables["generator"]["params"]),
  }
  costs = {}
  for name, (loss, weights) in updates.items():
    cost = gradient_cost(functools.partial(loss, iteration), weights, data, variables)
    costs[name] = {kind: total // clips for kind, total in cost.items()}
  return costs


def executed_flops(gan: VideoGan, forward: dict[str, int], costs: dict[str, dict[str, int]]) -> int:
  """FLOPs of one iteration per clip as traced, repeated operations included.

  Args:
    gan: the system, for its schedule.
    forward: the result of `forward_flops`.
    costs: the result of `update_costs`.
  """
  return (
    _generations(gan) * (forward["generator"] + stage_flops(gan))
    + gan.schedule.discriminator_steps * costs["discriminators"]["flops"]
    + costs["generator"]["flops"]
  )


def _generations(gan: VideoGan) -> int:
  """Number of batches that one iteration generates for discriminator updates alone."""
  return gan.schedule.discriminator_steps - gan.schedule.shared_fakes


def _discriminator_loss(
  iteration: Iteration, weights: Any, data: tuple[jax.Array, Arrays], variables: Any
) -> jax.Array:
  """The loss of a discriminator update, as a function of the discriminators' weights.

  Args:
    iteration: the training step, whose loss this is.
    weights: {discriminator: normalised parameters}.
    data: (step, batch).
    variables: of all networks.
  """
  gan, (step, batch) = iteration.gan, data
  update = passes.Update(iteration.seed, Context(step), 0)
  real = _real_side(gan, batch, update)
  # Generated clips are constants in this update and have the same shapes as real ones.
  generated = _real_side(gan, batch, update)
  networks = _discriminators(variables)
  return iteration.discriminator_loss(networks, real, generated, update, None)(weights)[0]


def _generator_loss(
  iteration: Iteration, weights: Any, data: tuple[jax.Array, Arrays], variables: Any
) -> jax.Array:
  """The loss of a generator update, as a function of the generator's weights.

  Args:
    iteration: the training step, whose loss this is.
    weights: the generator's normalised parameters.
    data: (step, batch).
    variables: of all networks.
  """
  gan, (step, batch) = iteration.gan, data
  update = passes.Update(iteration.seed, Context(step, gan.example_frozen()), 0)
  generator = _network({**variables["generator"], "params": weights})
  side = passes.generate(gan, generator, batch, update, mesh=None).side
  networks = _discriminators(variables)
  loss = iteration.generator_loss(networks, _real_side(gan, batch, update), side, update, None)
  return loss(side.samples)[0]


def _network(variables: Any) -> NormalizedNetwork:
  """A network as an update applies it; its parameters stand for the normalised weights."""
  return NormalizedNetwork(
    weights=variables["params"],
    pullback=lambda gradients: gradients,
    spectral={},
    sigmas={},
    batch_stats=variables.get("batch_stats", {}),
  )


def _discriminators(variables: Any) -> dict[str, NormalizedNetwork]:
  return {name: _network(network) for name, network in variables["discriminators"].items()}


def _real_side(gan: VideoGan, batch: Arrays, update: passes.Update) -> Side:
  return passes.real_side(gan, update.key(streams.REAL), batch, update.context)
