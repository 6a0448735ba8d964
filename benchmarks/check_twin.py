"""Checks that the PyTorch twin is our network: parameters, outputs, gradients, one iteration.

  python benchmarks/check_twin.py [--channels=16]

In float64 the same numbers go through both sides, ours once as written and once with its exact
savings: the generator's clips and moments, both discriminators' scores and the gradients of both
losses by every parameter; with savings also the whole state after one iteration of 2 discriminator
updates and 1 of the generator. An error is the largest difference within an array, relative to the
array's largest number, or to 1e-4 of the largest in its network where that is more (biases in front
of batch norm have no gradient but rounding).

Exit codes: 0 all equal, 1 not, 2 bad input.
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
# Adam's first step divides a gradient by its own size: small ones carry their rounding along.
_TOLERANCE_ITERATION = schema.define(
  "tolerance_iteration",
  schema.number(1e-8, "Largest relative error of the state after an iteration.", least=0, most=1),
)


def _noisy(variables, seed):
  """Adds noise to what layers begin with: zeros and ones hide faults."""
  import jax
  import numpy as np

  random = np.random.default_rng(seed)
  return jax.tree.map(
    lambda a: np.asarray(a) + 0.1 * random.normal(size=a.shape).astype(a.dtype), variables
  )


def _draws(gan, seed, step, microstep, batch):
  """The numbers that our step draws at one update, for the twin."""
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
  # Clips whose pixels are the number of their frame tell which frames are taken.
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
  """Outputs and gradients of our networks at the first update, by what they are called."""
  import jax

  from vidgan_jax.layers import spectral_norm
  from vidgan_jax.models.contract import Context, Side
  from vidgan_jax.runtime import streams

  key = lambda stream: streams.key(config.seed, stream, 0, 0)
  context = Context(0)
  networks = {"generator": variables["generator"], **variables["discriminators"]}

  def used(name, params):
    weights, _, _ = spectral_norm.normalize(
      params, networks[name]["spectral"], eps=gan.spectral_eps
    )
    return {**networks[name], "params": weights}

  def generate(params):
    latents = gan.latents(key(streams.LATENTS), batch["label"].shape[0])
    inputs = gan.generated_inputs(key(streams.INPUTS), batch, context)
    samples, reported = gan.generate(
      used("generator", params), latents, inputs, key(streams.NOISE_GENERATOR), True
    )
    return Side(inputs=inputs, samples=samples, latents=latents), reported

  def scored(side, stream, params):
    views = gan.views(key(stream), side.samples, side.inputs, context)
    scores = {
      name: gan.discriminate(name, used(name, p), views[name], key(streams.NOISE_DISCRIMINATOR))[0]
      for name, p in params.items()
    }
    return side.replace(scores=scores)

  def everything(params):
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

  return jax.jit(everything)({name: v["params"] for name, v in networks.items()})


def _twins(networks, config, draws, batch):
  """What `_ours` returns, of the twin, under the twin's names."""
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
  """Largest relative error of {name: array} against {name: array}, and where it is."""
  import numpy as np

  if set(ours) != set(twin):
    return float("inf"), f"names differ: {sorted(set(ours) ^ set(twin))[:4]}"
  arrays = {n: (np.asarray(ours[n]), np.asarray(twin[n].detach())) for n in ours}
  largest = max(np.max(np.abs(a)) for a, _ in arrays.values())
  worst = (0.0, "")
  for name, (mine, other) in arrays.items():
    if mine.shape != other.shape:
      return float("inf"), f"{name}: shapes {mine.shape} and {other.shape}"
    if not (np.all(np.isfinite(mine)) and np.all(np.isfinite(other))):
      return float("inf"), f"{name}: not finite"
    scale = max(np.max(np.abs(mine)), floor * largest, 1e-300)
    error = float(np.max(np.abs(mine - other))) / scale
    if error > worst[0]:
      worst = (error, name)
  return worst


_FLOOR = 1e-4


def _compare_passes(gan, config, variables, batch):
  """Rows (what, relative error, where) of outputs and gradients."""
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
  """Rows (what, relative error, where) of the state after one iteration."""
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
  for name, mine in {"generator": after.generator, **after.discriminators}.items():
    other = twin.networks.named()[name]
    collections = {c: getattr(mine, c) for c in ("params", "spectral", "batch_stats")}
    error = _error(torch_twin.convert(collections), other.state_dict(), _FLOOR)
    rows.append((f"iteration, {name}: parameters, vectors, moments", *error))
    optimizer = twin.optimizers["generator" if name == "generator" else "discriminators"]
    squares = {n: optimizer.state[p]["exp_avg_sq"] for n, p in other.named_parameters()}
    nu = torch_twin.convert({"params": mine.optimizer[0].nu})
    rows.append((f"iteration, {name}: Adam's squares", *_error(nu, squares, _FLOOR**2)))
  average = {"params": after.ema.params, "batch_stats": after.ema.batch_stats}
  found = {n: t for n, t in twin.average.state_dict().items() if not n.endswith(".u")}
  rows.append(("iteration, moving average", *_error(torch_twin.convert(average), found, _FLOOR)))
  return rows


def check(channels: int, tolerance: float, tolerance_iteration: float, report=print) -> bool:
  """Compares both sides and reports; returns whether all is equal."""
  import jax
  import numpy as np

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
    mine, other = counts[name]["total"], torch_twin.count_parameters(network)
    passed &= mine == other
    report(f"  {name:<32}{mine:>14,}{other:>13,}{'' if mine == other else '  DIFFERENT'}")

  config = settings.get_config(channels, "float64")
  with config.unlocked():
    config.ema.start = 0  # so that the average moves
  random = np.random.default_rng(0)
  steps, model = config.model.discriminator_steps, config.model
  shape = (steps, config.batch_size)
  pixels = (*shape, model.frames, model.resolution, model.resolution, 3)
  batch = {
    "clip": random.integers(0, 256, pixels, dtype=np.uint8),
    "label": random.integers(0, model.num_classes, shape, dtype=np.int32),
  }
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
      for what, error, where in compare(gan, config, variables, batch):
        fine = error <= limit
        passed &= fine
        where = where if where and not what.endswith(where) else ""
        report(f"  {what:<56}{error:>9.1e}  {where}{'' if fine else '  TOO LARGE'}")
  return passed


def main(argv):
  """Checks and tells."""
  del argv
  try:
    import torch  # noqa: F401
  except ImportError as error:
    raise UserError("the twin needs PyTorch: pip install -r requirements-bench.txt") from error
  passed = check(_CHANNELS.value, _TOLERANCE.value, _TOLERANCE_ITERATION.value, door.report)
  door.report("\nequal" if passed else "\nNOT EQUAL")
  sys.exit(0 if passed else 1)


if __name__ == "__main__":
  door.run(main)
