"""Checks that one training iteration gives the same numbers on this device as on the CPU.

  python benchmarks/equality.py [--channels=16] [--batch_size=4]

In float32 the same state, clips and random keys go through one iteration of DVD-GAN at 64x64x12 on
the default device and on the CPU of the same process, as the paper writes it ("plain") and in the
form of `ops` for each of the two devices ("saved"). Compared are the losses and every network's
gradients by its parameters, of its last update. An error is the largest difference within an array,
relative to the array's largest number, or to 1e-4 of the largest in its network where that is more
(biases in front of batch normalisation have no gradient but rounding). The last row compares
bfloat16 on the device with float32 on the CPU; it is shown and not judged.

One line of JSON goes to --results. Exit codes: 0 all equal within --tolerance, 1 not, 2 bad input.
"""

import sys
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

_CHANNELS = flags.DEFINE_integer("channels", 16, "ch of all networks.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 4, "Clips per update.", lower_bound=1)
_TOLERANCE = schema.define(
  "tolerance", schema.number(1e-4, "Largest relative error.", least=0, most=1)
)
settings.above_zero("tolerance")
_RESULTS = settings.define_results()


def _keep_gradients():
  """An optimizer whose state is the last gradient; it moves parameters a little, to the same end.

  Adam divides each gradient by its own size, which would carry the rounding of tiny ones along.
  """
  import jax
  import jax.numpy as jnp
  import optax

  def update(gradients, state, params=None):
    del state, params
    return jax.tree.map(lambda g: -1e-3 * g, gradients), gradients

  return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _iteration(device, precision: str, savings: bool) -> dict:
  """Runs one iteration; returns {"losses": {...}, network: gradients} as float64 on the host."""
  import jax
  import numpy as np

  from vidgan_jax.models import registry
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.training import loop, optimizers, state
  from vidgan_jax.training.step import Iteration

  config = settings.get_config(_CHANNELS.value, precision, savings)
  with config.unlocked():
    config.batch_size = _BATCH.value
  mesh = meshes.make_mesh([device])
  gan = registry.build(config, platform=meshes.platform(mesh))
  kept = optimizers.Optimizers(
    _keep_gradients(), {name: _keep_gradients() for name in gan.discriminators}
  )
  # The state is drawn once, on the CPU, so that both devices begin with the same bits.
  cpu = meshes.make_mesh(jax.devices("cpu")[:1])
  first = loop._initialised(
    gan, kept, config, state.abstract(gan, kept, config.seed, cpu, config.sharding)
  )
  like = state.abstract(gan, kept, config.seed, mesh, config.sharding)
  first = jax.device_put(jax.device_get(first), jax.tree.map(lambda a: a.sharding, like))
  program, _ = loop._compiled(Iteration(gan, kept, config, mesh), like, config, mesh, {})
  random = np.random.default_rng(1)
  shape = (gan.schedule.discriminator_steps, config.batch_size)
  size = (*shape, gan.frames, gan.resolution, gan.resolution, 3)
  batch = {
    "clip": random.integers(0, 256, size, dtype=np.uint8),
    "label": random.integers(0, gan.num_classes, shape, dtype=np.int32),
  }
  after, metrics = program(first, meshes.put_batch(batch, mesh), {})
  wide = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float64), jax.device_get(tree))
  found = {name: wide(network.optimizer) for name, network in after.discriminators.items()}
  found["generator"] = wide(after.generator.optimizer)
  losses = {name: value for name, value in wide(metrics).items() if name.startswith("loss/")}
  return {"losses": losses, **found}


def _error(found, wanted) -> float:
  """The largest relative error within one network's arrays; see the module."""
  import jax
  import numpy as np

  found, wanted = jax.tree.leaves(found), jax.tree.leaves(wanted)
  floor = 1e-4 * max(np.abs(array).max(initial=0) for array in wanted)
  largest = 0.0
  for a, b in zip(found, wanted, strict=True):
    error = np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), floor)
    largest = max(largest, float(error)) if np.isfinite(error) else float("inf")
  return largest


def main(argv):
  """Compares all rows."""
  del argv
  import jax

  try:
    cpu = jax.devices("cpu")[0]
  except RuntimeError as error:
    raise UserError("no CPU to compare with: leave JAX_PLATFORMS unset or add ,cpu") from error
  device = jax.devices()[0]
  door.report(f"{device.device_kind} against {cpu.device_kind} of this process")
  rows, wrong = [], []
  wanted = {}
  for form, precision in (("plain", "float32"), ("saved", "float32"), ("saved", "bfloat16")):
    begin = time.perf_counter()
    if form not in wanted:
      wanted[form] = _iteration(cpu, "float32", form == "saved")
    found = _iteration(device, precision, form == "saved")
    errors = {name: _error(found[name], wanted[form][name]) for name in wanted[form]}
    rows.append({"form": form, "precision": precision, "errors": errors})
    took = time.perf_counter() - begin
    door.report(f"{form} {precision} ({took:.0f} s): {errors}")
    if precision == "float32":
      wrong += [f"{form}/{name}" for name, e in errors.items() if not e <= _TOLERANCE.value]
  rows.append(
    {
      "form": "plain against saved, both on the device's CPU",
      "precision": "float32",
      "errors": {n: _error(wanted["saved"][n], wanted["plain"][n]) for n in wanted["plain"]},
    }
  )
  names = list(rows[0]["errors"])
  table = [["form", "precision", *names]]
  table += [
    [r["form"], r["precision"], *[f"{r['errors'][name]:.1e}" for name in names]] for r in rows
  ]
  settings.show(table)
  result = {"device": device.device_kind, "channels": _CHANNELS.value, "rows": rows}
  settings.append(_RESULTS.value, "equality", result)
  if wrong:
    door.report(f"not equal within {_TOLERANCE.value}: {', '.join(wrong)}")
    sys.exit(1)


if __name__ == "__main__":
  door.run(main)
