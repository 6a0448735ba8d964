"""Checks that the PyTorch twin equals our system: parameters, outputs, gradients, one iteration.

  python benchmarks/check_twin.py [--channels=16]

Both sides compute in float64 from the same numbers, ours once as written and once with its exact
savings. The check compares the generated clips and the generator's batch statistics, the scores of
both discriminators, and the gradients of both losses with respect to every parameter. With savings
it also compares the whole state after one iteration of 2 discriminator updates and 1 generator
update. An error is the largest difference within an array, relative to the largest number of the
array, or to 1e-4 times the largest number of its network if that is larger: biases in front of
batch norm have gradients of rounding errors only.

Exit codes: 0 all equal, 1 not equal, 2 bad input.
"""

import sys

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

_CHANNELS = flags.DEFINE_integer(
  "channels", 4, "ch of all networks; the benchmark has 16.", lower_bound=1
)
_TOLERANCE = schema.define(
  "tolerance", schema.number(1e-10, "Largest relative error of a single pass.", least=0, most=1)
)
# Adam's first step divides a gradient by its size, which enlarges rounding errors of small ones.
_TOLERANCE_ITERATION = schema.define(
  "tolerance_iteration",
  schema.number(1e-8, "Largest relative error of the state after an iteration.", least=0, most=1),
)


def _noisy(variables, seed):
  """Adds noise to initial variables. Zeros and ones would hide faults."""
  import jax
  import numpy as np

  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda a: np.asarray(a) + 0.1 * random.normal(size=a.shape).astype(a.dtype), variables
  )


def _draws(gan, seed, step, microstep, batch):
  """The random numbers of one update of our step, as the twin takes them."""
  import jax.numpy as jnp
  import numpy as np
  import torch

  from benchmarks import torch_twin
  from vidgan_jax.models.contract import Context
  from vidgan_jax.runtime import streams

  key = lambda stream: streams.key(seed, stream, step, microstep)
  size = batch["label"].shape[0]
  z = gan.latents(key(streams.LATENTS), size)["z"]
  inputs = gan.generated_inputs(key(streams.INPUTS), batch, Context(step))
  # Every pixel of these clips is the index of its frame: views show which frames are sampled.
  shape = (size, gan.frames, gan.resolution, gan.resolution, 3)
  numbered = jnp.broadcast_to(jnp.arange(gan.frames, dtype=z.dtype)[:, None, None, None], shape)

  def frames(stream):
    views = gan.views(key(stream), {"clip": numbered}, inputs, Context(step))
    return np.asarray(views["spatial"]["clip"][:, :, 0, 0, 0]).astype(np.int64)

  tensor = lambda a: torch.from_numpy(np.array(a))
  return torch_twin.Draws(
    z=tensor(z).double(),
    label=tensor(inputs["label"]).long(),
    real_frames=tensor(frames(streams.VIEWS_REAL)),
    generated_frames=tensor(frames(streams.VIEWS_GENERATED)),
  )


def _ours(gan, config, variables, batch):
  """Outputs and gradients of our networks at the first update.

  Returns:
    {"clip", "moments" (reported batch statistics), "scores" ([of real, of generated]),
    "gradients" ({network: with respect to its parameters})}.
  """
  import jax

  from vidgan_jax.layers import spectral_norm
  from vidgan_jax.models.contract import Context, Side
  from vidgan_jax.runtime import streams

  key = lambda stream: streams.key(config.seed, stream, 0, 0)
  context = Context(0)
  networks = {"generator": variables["generator"], **variables["discriminators"]}

  def normalized(name, params):
    weights, _, _ = spectral_norm.normalize(
      params, networks[name]["spectral"], eps=gan.spectral_eps
    )
    return {**networks[name], "params": weights}

  def generate(params):
    latents = gan.latents(key(streams.LATENTS), batch["label"].shape[0])
    inputs = gan.generated_inputs(key(streams.INPUTS), batch, context)
    samples, reported = gan.generate(
      normalized("generator", params), latents, inputs, key(streams.NOISE_GENERATOR), True
    )
    return Side(inputs=inputs, samples=samples, latents=latents), reported

  def scored(side, stream, params):
    views = gan.views(key(stream), side.samples, side.inputs, context)
    noise_key = key(streams.NOISE_DISCRIMINATOR)
    scores = {
      name: gan.discriminate(name, normalized(name, p), views[name], noise_key)[0]
      for name, p in params.items()
    }
    return side.replace(scores=scores)

  def outputs(params):
    discriminators = {name: params[name] for name in gan.discriminators}
    real = Side(
      inputs=gan.real_inputs(key(streams.REAL), batch, context),
      samples=gan.real_samples(key(streams.REAL), batch, context),
    )
    fake, reported = generate(params["generator"])

    def discriminator_loss(discriminators):
      sides = (
        scored(real, streams.VIEWS_REAL, discriminators),
        scored(fake, streams.VIEWS_GENERATED, discriminators),
      )
      return sum(gan.discriminator_losses(*sides, context).values()), [s.scores for s in sides]

    def generator_loss(generator):
      side = scored(generate(generator)[0], streams.VIEWS_GENERATED, discriminators)
      return sum(gan.generator_losses(side, real, context).values())

    (_, scores), by_discriminators = jax.value_and_grad(discriminator_loss, has_aux=True)(
      discriminators
    )
    by_generator = jax.grad(generator_loss)(params["generator"])
    return {
      "clip": fake.samples["clip"],
      "moments": reported,
      "scores": scores,
      "gradients": {"generator": by_generator, **by_discriminators},
    }

  return jax.jit(outputs)({name: v["params"] for name, v in networks.items()})


def _twins(networks, config, draws, batch):
  """The same as `_ours` for the twin, under the twin's names of parameters."""
  import torch
  from torch.func import functional_call

  from benchmarks import torch_twin

  iteration = torch_twin.Iteration(config, networks)
  real = torch.from_numpy(batch["clip"]).double() / 127.5 - 1
  label = torch.from_numpy(batch["label"]).long()
  moments = lambda: {n: b.clone() for n, b in networks.generator.named_buffers() if n[-2:] != ".u"}
  before = moments()
  weights, _ = torch_twin.normalize(networks.generator, config.model.spectral_eps)
  loss = iteration.generator_loss(weights, draws)
  loss.backward()
  moved, share = moments(), 1 - torch_twin.MOMENTUM
  reported = {n: before[n] + (moved[n] - before[n]) / share for n in before}
  with torch.no_grad():
    clip = iteration._generate(weights, draws.z, draws.label)
  loss, _ = iteration.discriminator_loss(real, label, clip, draws)
  loss.backward()
  views = [
    {"spatial": torch_twin.sample_frames(c, f), "temporal": torch_twin.downsample(c)}
    for c, f in ((real, draws.real_frames), (clip, draws.generated_frames))
  ]
  scores = []
  for view, labels in zip(views, (label, draws.label), strict=True):
    scores.append({})
    for name, network in networks.discriminators.items():
      weights, _ = torch_twin.normalize(network, config.model.spectral_eps)
      scores[-1][name] = functional_call(network, weights, (view[name], labels)).detach()
  gradients = {
    name: {n: p.grad for n, p in network.named_parameters()}
    for name, network in networks.named().items()
  }
  return {"clip": clip, "moments": reported, "scores": scores, "gradients": gradients}


def _error(ours, twin, floor=0.0):
  """Largest relative error between two dictionaries {name: array}, and the name of that array.

  Args:
    ours, twin: the arrays.
    floor: an array's error is divided by its largest absolute value, but at least by `floor` times
      the largest absolute value of all arrays.
  """
  import numpy as np

  if set(ours) != set(twin):
    return float("inf"), f"names differ: {sorted(set(ours) ^ set(twin))[:4]}"
  arrays = {n: (np.asarray(ours[n]), np.asarray(twin[n].detach())) for n in ours}
  largest = max(np.max(np.abs(a)) for a, _ in arrays.values())
  worst = (0.0, "")
  for name, (a, b) in arrays.items():
    if a.shape != b.shape:
      return float("inf"), f"{name}: shapes {a.shape} and {b.shape}"
    if not (np.all(np.isfinite(a)) and np.all(np.isfinite(b))):
      return float("inf"), f"{name}: not finite"
    scale = max(np.max(np.abs(a)), floor * largest, 1e-300)
    error = float(np.max(np.abs(a - b))) / scale
    if error > worst[0]:
      worst = (error, name)
  return worst


_FLOOR = 1e-4


def _compare_passes(gan, config, variables, batch):
  """Rows (compared quantity, relative error, array) of outputs and gradients."""
  from benchmarks import torch_twin

  first = {name: array[0] for name, array in batch.items()}
  ours = _ours(gan, config, variables, first)
  networks = torch_twin.from_flax(config, variables)
  twin = _twins(networks, config, _draws(gan, config.seed, 0, 0, first), first)
  rows = [
    ("generator: clip", *_error({"clip": ours["clip"]}, {"clip": twin["clip"]})),
    ("generator: moments", *_error(torch_twin.convert(ours["moments"]), twin["moments"])),
  ]
  for index, side in enumerate(("real", "generated")):
    rows += [
      (
        f"{name}: scores, {side}",
        *_error({"scores": score}, {"scores": twin["scores"][index][name]}),
      )
      for name, score in ours["scores"][index].items()
    ]
  rows += [
    (
      f"{name}: gradient",
      *_error(torch_twin.convert({"params": gradient}), twin["gradients"][name], _FLOOR),
    )
    for name, gradient in ours["gradients"].items()
  ]
  return rows


def _compare_iteration(gan, config, variables, batch):
  """Rows (compared quantity, relative error, array) of the state after one iteration."""
  import jax
  import jax.numpy as jnp

  from benchmarks import torch_twin
  from vidgan_jax.training import optimizers, state, step

  transforms = optimizers.build(config, gan.discriminators)
  network = lambda v, optimizer: state.Network(
    params=v["params"],
    spectral=v["spectral"],
    batch_stats=v.get("batch_stats", {}),
    optimizer=optimizer.init(v["params"]),
  )
  generator = variables["generator"]
  begin = state.TrainState(
    step=jnp.zeros((), jnp.int32),
    generator=network(generator, transforms.generator),
    discriminators={
      name: network(v, transforms.discriminators[name])
      for name, v in variables["discriminators"].items()
    },
    ema=state.Average(generator["params"], generator["batch_stats"]),
  )
  after, _ = jax.jit(step.Iteration(gan, transforms, config))(begin, batch)

  twin = torch_twin.Iteration(config, torch_twin.from_flax(config, variables))
  count = gan.schedule.discriminator_steps
  batch_of = lambda index: {name: a[min(index, count - 1)] for name, a in batch.items()}
  twin.step(batch, [_draws(gan, config.seed, 0, i, batch_of(i)) for i in range(count + 1)])

  rows = []
  for name, ours in {"generator": after.generator, **after.discriminators}.items():
    network_of_twin = twin.networks.named()[name]
    collections = {c: getattr(ours, c) for c in ("params", "spectral", "batch_stats")}
    error = _error(torch_twin.convert(collections), network_of_twin.state_dict(), _FLOOR)
    rows.append((f"iteration, {name}: parameters, vectors, moments", *error))
    optimizer = twin.optimizers["generator" if name == "generator" else "discriminators"]
    parameters = network_of_twin.named_parameters()
    squares = {n: optimizer.state[p]["exp_avg_sq"] for n, p in parameters}
    nu = torch_twin.convert({"params": ours.optimizer[0].nu})
    rows.append((f"iteration, {name}: Adam's squares", *_error(nu, squares, _FLOOR**2)))
  average = torch_twin.convert({"params": after.ema.params, "batch_stats": after.ema.batch_stats})
  of_twin = {n: t for n, t in twin.average.state_dict().items() if not n.endswith(".u")}
  rows.append(("iteration, moving average", *_error(average, of_twin, _FLOOR)))
  return rows


def check(channels: int, tolerance: float, tolerance_iteration: float, report=print) -> bool:
  """Compares both sides, reports all errors and returns whether they are within the tolerances."""
  import jax

  from benchmarks import torch_twin
  from vidgan_jax.analysis.cost import summary
  from vidgan_jax.models import registry

  jax.config.update("jax_platforms", "cpu")
  jax.config.update("jax_enable_x64", True)
  benchmark = settings.get_config()
  counts = summary.count_parameters(
    summary.abstract_variables(registry.build(benchmark, platform="cpu"))
  )
  passed = True
  report("Parameters at the benchmark's size          ours         twin")
  for name, network in torch_twin.build(benchmark).named().items():
    ours, twins = counts[name]["total"], torch_twin.count_parameters(network)
    passed &= ours == twins
    report(f"  {name:<32}{ours:>14,}{twins:>13,}{'' if ours == twins else '  DIFFERENT'}")

  config = settings.get_config(channels, "float64")
  with config.unlocked():
    config.ema.start = 0  # so that the average moves
  batch = settings.synthetic_batch(config)
  variables = None
  for savings in (False, True):
    gan = registry.build(config, platform="cpu", ops=None if savings else "plain")
    if variables is None:
      variables = _noisy(jax.jit(gan.init)(jax.random.key(0)), 1)
    form = "with savings" if savings else "as written"
    report(f"\nRelative error against ours {form}, float64, ch {channels}")
    comparisons = [(_compare_passes, tolerance)]
    if savings:
      comparisons.append((_compare_iteration, tolerance_iteration))
    for compare, limit in comparisons:
      for quantity, error, array in compare(gan, config, variables, batch):
        within = error <= limit
        passed &= within
        array = array if array and not quantity.endswith(array) else ""
        report(f"  {quantity:<56}{error:>9.1e}  {array}{'' if within else '  TOO LARGE'}")
  return passed


def main():
  """Checks the twin; exits with 1 if it differs."""
  try:
    import torch  # noqa: F401
  except ImportError as error:
    raise UserError("the twin needs PyTorch: pip install -r requirements-bench.txt") from error
  passed = check(_CHANNELS.value, _TOLERANCE.value, _TOLERANCE_ITERATION.value, door.report)
  door.report("\nequal" if passed else "\nNOT EQUAL")
  sys.exit(0 if passed else 1)


if __name__ == "__main__":
  settings.run(main)
