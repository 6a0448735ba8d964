"""What a config costs: parameters, FLOPs, memory and a lower bound of the time.

Networks are traced, not compiled or run: a full-size summary takes seconds on any machine.

FLOPs. One iteration with n discriminator updates costs, per clip, n (G + 3 * 2 D) for the
discriminators (clips generated, then forward, input and weight gradients of a real and a generated
clip) and 3 G + 2 D for the generator (no weight gradients of the discriminators), with G and D the
forward FLOPs of the generator and of all discriminators: 5 G + 14 D for n = 2. That is the work "as
written" that utilisation is measured against. The work "as executed" subtracts the layers' savings
and adds rematerialisation and penalties; it is counted from the traced gradients of the networks as
built for accelerators. Neither contains spectral normalisation and optimizer.

Memory. `analysis.cost.residuals` counts what an update keeps between forward and backward pass:
"traced", as JAX lists it, an upper bound; "fused", as kept by a compiler that fuses elementwise
work, which the totals use. The memory of one block's recomputation and the compiler's workspace
come on top. Static are, in float32 on one device: parameters, gradients, the optimizer's moments
(Adam's two, RMSprop's one) and the generator's average.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp

from vidgan_jax.analysis.cost.residuals import gradient_cost
from vidgan_jax.models import contract, registry, switches
from vidgan_jax.models.contract import Context, Side, VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import flops

REMAT_POLICIES = ("none", "conv_outputs", "block_inputs")
DTYPES = ("bfloat16", "float32")
_PLATFORM = "gpu"  # whose program is counted
_MOMENTS = {"adam": 2, "rmsprop": 1}  # of each parameter


def summarize(
  config, *, batch_size: int | None = None, dtype: str = "bfloat16", tflops: float = 790.0
) -> dict:
  """Counts what training `config` costs.

  Args:
    config: the whole config; read are its batch size, what `registry.build` reads, and, to refuse
      what training would, its micro-batches and sharding.
    batch_size: clips per update in place of config.batch_size.
    dtype: type of activations in the memory estimate, see `DTYPES`.
    tflops: what the machine does, in TFLOP/s, for the time floor.

  Returns:
    A dictionary that JSON can hold:
      "parameters": {network: {module: count, "total": count}};
      "gflop_per_clip": {network: {"as_written", "as_executed"}}, forward passes;
      "iteration": {"as_written" or rematerialisation policy: {"tflop", "seconds",
        "videos_per_second"}} at the whole batch;
      "static_bytes": {kind or "total": bytes};
      "activations": {policy: {"bytes_per_clip": {update: {"traced", "fused"}}, "batch_bytes",
        "total_bytes"}}, the larger update for the whole batch, alone and with the static bytes;
      and what these depend on.

  Raises:
    UserError: on a config that cannot be built or trained, a batch size or speed that is not
      positive, or an unknown dtype.
  """
  batch_size = config.batch_size if batch_size is None else batch_size
  switches.check(config)
  meshes.check_division(batch_size, 1, config.microbatch)
  if not 0 < tflops < math.inf:
    raise UserError(f"tflops {tflops} must be a number above 0")
  if dtype not in DTYPES:
    raise UserError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
  gan = _build(config)
  gan.check_new()
  variables = abstract_variables(gan)
  written = forward_flops(_build(config, ops="plain"), variables)
  executed = forward_flops(gan, variables)
  parameters = count_parameters(variables)
  static = static_bytes(parameters, config.optimizer.kind)
  rates = lambda work: _rates(work * batch_size, batch_size, tflops)
  iteration, activations = {"as_written": rates(iteration_flops(gan, written))}, {}
  for remat in REMAT_POLICIES if "remat" in config.model else ("none",):
    changed = _changed(config, dtype, remat)
    costs = update_costs(changed, variables)
    iteration[remat] = rates(executed_flops(changed, executed, costs))
    batch_bytes = batch_size * max(cost["fused"] for cost in costs.values())
    activations[remat] = {
      "bytes_per_clip": {n: {k: c[k] for k in ("traced", "fused")} for n, c in costs.items()},
      "batch_bytes": batch_bytes,
      "total_bytes": batch_bytes + static["total"],
    }
  return {
    "model": gan.name,
    "frames": gan.frames,
    "resolution": gan.resolution,
    "num_classes": gan.num_classes,
    "batch_size": batch_size,
    "discriminator_steps": gan.schedule.discriminator_steps,
    "dtype": dtype,
    "tflops": tflops,
    "savings": config.model.savings,
    "remat": config.model.get("remat", "none"),
    "parameters": parameters,
    "gflop_per_clip": {
      name: {"as_written": written[name] / 1e9, "as_executed": executed[name] / 1e9}
      for name in written
    },
    "iteration": iteration,
    "static_bytes": static,
    "activations": activations,
  }


def flops_per_clip(config) -> int:
  """FLOPs of one iteration per clip of the batch, as the model is written.

  Model FLOP utilisation is this times the batch, by the seconds of an iteration and the peak.
  """
  gan = _build(config, ops="plain")
  return iteration_flops(gan, forward_flops(gan, abstract_variables(gan)))


def _build(config, ops: str | None = None) -> VideoGan:
  """The system of `config` for accelerators; `ops` as `registry.build` takes it."""
  return registry.build(config, platform=_PLATFORM, ops=ops)


def _changed(config, dtype, remat) -> VideoGan:
  """The system of `config` with other activations and another rematerialisation policy."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    config.precision = dtype
    if "remat" in config.model:
      config.model.remat = remat
  return _build(config)


def _rates(work, batch_size, tflops):
  seconds = work / (tflops * 1e12)
  return {"tflop": work / 1e12, "seconds": seconds, "videos_per_second": batch_size / seconds}


def abstract_variables(gan: VideoGan) -> dict:
  """What `gan.init` returns, as shapes; the same under every form, precision and remat."""
  return jax.eval_shape(lambda: gan.init(jax.random.key(0)))


def count_parameters(variables) -> dict[str, dict[str, int]]:
  """Numbers of parameters as {network: {top-level module: count, ..., "total": count}}.

  Args:
    variables: what `VideoGan.init` returns, or its shapes.
  """
  counts = {}
  in_order = lambda name: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", name)]
  for name, network in {"generator": variables["generator"], **variables["discriminators"]}.items():
    params = network["params"]
    size = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    counts[name] = {module: size(params[module]) for module in sorted(params, key=in_order)}
    counts[name]["total"] = size(params)
  return counts


def static_bytes(parameters: dict[str, dict[str, int]], optimizer: str) -> dict[str, int]:
  """Bytes that training holds whatever its batch.

  Args:
    parameters: from `count_parameters`.
    optimizer: "adam" or "rmsprop".

  Raises:
    UserError: on another optimizer.
  """
  contract.check("optimizer", optimizer, _MOMENTS)
  everything = 4 * sum(modules["total"] for modules in parameters.values())
  kinds = {
    "parameters": everything,
    "gradients": everything,
    optimizer: _MOMENTS[optimizer] * everything,
    "average": 4 * parameters["generator"]["total"],
  }
  return {**kinds, "total": sum(kinds.values())}


def forward_flops(gan: VideoGan, variables, padding: bool = True) -> dict[str, int]:
  """FLOPs of each network's forward pass in training, for one clip.

  Args:
    gan: a system.
    variables: of its networks, see `abstract_variables`.
    padding: count taps that fall on padding, as papers do and XLA does not.

  Returns:
    {"generator" or name of a discriminator: FLOPs}.
  """
  key, batch, latents, inputs = _arguments(gan, 1)
  generate = lambda variables, latents, inputs, key: gan.generate(
    variables, latents, inputs, key, True
  )
  count = functools.partial(flops.count, padding=padding)
  counts = {"generator": count(generate, variables["generator"], latents, inputs, key)}
  views = jax.eval_shape(lambda key, batch: _real(gan, key, batch, Context())[1], key, batch)
  for name, network in variables["discriminators"].items():
    score = lambda *arguments, name=name: gan.discriminate(name, *arguments)
    counts[name] = count(score, network, views[name], key)
  return counts


def iteration_flops(gan: VideoGan, forward: dict[str, int]) -> int:
  """FLOPs per clip of one iteration by the closed form of this module's docstring.

  Args:
    gan: its schedule is read.
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


def update_costs(gan: VideoGan, variables) -> dict[str, dict[str, int]]:
  """What value and gradient of each update cost per clip.

  Args:
    gan: with the precision and the rematerialisation policy to count.
    variables: see `abstract_variables`.

  Returns:
    {"discriminators" or "generator": {"flops", "traced", "fused"}}, FLOPs and two counts of the
    bytes kept for the backward pass; see `analysis.residuals`.
  """
  # So many clips that what does not grow with their number, as moments, vanishes.
  clips = 64
  costs = {}
  for name, loss, arguments in _updates(gan, variables, clips):
    cost = gradient_cost(loss, *arguments)
    costs[name] = {kind: total // clips for kind, total in cost.items()}
  return costs


def executed_flops(gan: VideoGan, forward: dict[str, int], costs) -> int:
  """FLOPs per clip of one iteration as traced, with everything that is repeated.

  Args:
    gan: its schedule is read.
    forward: the result of `forward_flops`.
    costs: the result of `update_costs`.
  """
  return (
    _generations(gan) * forward["generator"]
    + gan.schedule.discriminator_steps * costs["discriminators"]["flops"]
    + costs["generator"]["flops"]
  )


def _generations(gan):
  """How often per iteration clips are generated for the discriminators alone."""
  return gan.schedule.discriminator_steps - gan.schedule.shared_fakes


def _updates(gan, variables, batch_size):
  """Both updates as (name, loss, abstract arguments), with the losses of `training.step`.

  Both losses take (weights to differentiate by, data, variables of all networks).
  """
  data = _arguments(gan, batch_size)
  context = Context(jnp.zeros((), jnp.int32))

  def scores(weights, variables, views, key):
    networks = {n: {**v, "params": weights[n]} for n, v in variables["discriminators"].items()}
    return {n: gan.discriminate(n, v, views[n], key)[0] for n, v in networks.items()}

  def discriminators(weights, data, variables):
    key, batch, _, _ = data
    # Generated clips are constants here and of the data's structure.
    real, real_views = _real(gan, key, batch, context)
    fake, fake_views = _real(gan, key, batch, context)
    parts = gan.discriminator_losses(
      real.replace(scores=scores(weights, variables, real_views, key)),
      fake.replace(scores=scores(weights, variables, fake_views, key)),
      context,
    )
    score = lambda name, view: scores(weights, variables, {name: view}, key)[name]
    parts |= gan.penalties(score, real_views, fake_views, key, context)
    return sum(parts.values())

  def generator(weights, data, variables):
    key, batch, latents, inputs = data
    network = {**variables["generator"], "params": weights}
    samples, _ = gan.generate(network, latents, inputs, key, True)
    views = gan.views(key, samples, inputs, context)
    frozen = {name: v["params"] for name, v in variables["discriminators"].items()}
    found = scores(frozen, variables, views, key)
    fake = Side(inputs=inputs, samples=samples, latents=latents, scores=found)
    return sum(gan.generator_losses(fake, _real(gan, key, batch, context)[0], context).values())

  weights = {name: v["params"] for name, v in variables["discriminators"].items()}
  return [
    ("discriminators", discriminators, (weights, data, variables)),
    ("generator", generator, (variables["generator"]["params"], data, variables)),
  ]


def _real(gan, key, batch, context):
  """The real side of a batch and its views."""
  side = Side(
    inputs=gan.real_inputs(key, batch, context), samples=gan.real_samples(key, batch, context)
  )
  return side, gan.views(key, side.samples, side.inputs, context)


def _arguments(gan, batch_size):
  """Abstract (key, batch, latents, inputs)."""

  def draw(key):
    batch = gan.example_batch(batch_size)
    inputs = gan.generated_inputs(key, batch, Context(jnp.zeros((), jnp.int32)))
    return key, batch, gan.latents(key, batch_size), inputs

  return jax.eval_shape(lambda: draw(jax.random.key(0)))


def table(summary: dict) -> str:
  """Renders the result of `summarize` for a terminal, lines up to 100 columns."""
  s = summary
  classes = f"{s['num_classes']} classes" if s["num_classes"] else "no classes"
  lines = [
    f"{s['model']}: {s['frames']} frames of {s['resolution']}x{s['resolution']}, {classes}, "
    f"batch {s['batch_size']}, D to G updates {s['discriminator_steps']}:1",
    *_parameter_lines(s),
    *_flop_lines(s),
    *_memory_lines(s),
  ]
  return "\n".join(lines)


def _parameter_lines(s):
  rows = [["Parameters, millions", ""]]
  for network, modules in s["parameters"].items():
    rows.append([f"  {network}", f"{modules['total'] / 1e6:.3f}"])
    rows += [[f"    {m}", f"{n / 1e6:.3f}"] for m, n in modules.items() if m != "total"]
  everything = sum(modules["total"] for modules in s["parameters"].values())
  return _aligned([*rows, ["  all", f"{everything / 1e6:.3f}"]])


def _flop_lines(s):
  rows = [["Forward pass, GFLOP per clip", "as written", "as executed"]]
  for network, work in s["gflop_per_clip"].items():
    rows.append([f"  {network}", f"{work['as_written']:.1f}", f"{work['as_executed']:.1f}"])
  lines = _aligned(rows)
  rows = [[f"Iteration at {s['tflops']:g} TFLOP/s", "TFLOP", "seconds", "videos/s"]]
  for kind, rates in s["iteration"].items():
    name = "as written" if kind == "as_written" else f"as executed, remat {kind}"
    numbers = (rates["tflop"], rates["seconds"], rates["videos_per_second"])
    marked = name + (" *" if kind == s["remat"] else "")
    rows.append([f"  {marked}", *(_three_digits(number) for number in numbers)])
  return [*lines, *_aligned(rows)]


def _memory_lines(s):
  static = s["static_bytes"]
  rows = [["Memory whatever the batch, GB in float32", ""]]
  rows += [[f"  {kind}", f"{size / 1e9:.2f}"] for kind, size in static.items()]
  lines = _aligned(rows)
  heads = ["D update, MB", "G update, MB", "batch, GB", "with static, GB"]
  rows = [[f"Activations kept per clip, {s['dtype']}", *heads]]
  for remat, cost in s["activations"].items():
    per_clip = cost["bytes_per_clip"]
    rows.append(
      [
        f"  remat {remat}" + (" *" if remat == s["remat"] else ""),
        *(f"{per_clip[update]['fused'] / 1e6:.1f}" for update in ("discriminators", "generator")),
        f"{cost['batch_bytes'] / 1e9:.1f}",
        f"{cost['total_bytes'] / 1e9:.1f}",
      ]
    )
  note = "* this config's. Time floors and estimates are computed from shapes; nothing was run."
  return [*lines, *_aligned(rows), "", note]


def _three_digits(number):
  """Three digits at least, without an exponent for what is read as a plain number."""
  decimals = max(0, 2 - math.floor(math.log10(number))) if number > 0 else 0
  return f"{number:,.{decimals}f}"


def _aligned(rows):
  """Lines of a table, an empty one first; the first column left, the others right."""
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  align = lambda row: (
    [row[0].ljust(widths[0])]
    + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
  )
  return ["", *("  ".join(align(row)).rstrip() for row in rows)]
