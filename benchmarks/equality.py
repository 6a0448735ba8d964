"""Checks that one training iteration gives the same numbers on this device as on the CPU.

  python benchmarks/equality.py [--channels=16] [--batch_size=4]

One iteration of DVD-GAN at 64x64x12 runs from the same state, clips and random keys on the default
device and on the CPU of the same process. The benchmark compares the losses, and the gradients of
every network with respect to its parameters in its last update, in three settings:

  plain, float32    the networks as the paper writes them
  saved, float32    the form of `ops` for each of the two devices
  saved, bfloat16   bfloat16 on the device and float32 on the CPU; this error is only shown

The last row of the table compares plain with saved on the CPU. An error is the largest difference
within an array, relative to the largest number of the array, or to 1e-4 times the largest number of
its network if that is larger: biases in front of batch normalisation have gradients of rounding
errors only.

One line of JSON is appended to --results. Exit codes: 0 all errors are within --tolerance, 1 some
are not, 2 bad input.
"""

import sys
import time

import programs
import settings
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
  """An optimizer whose state is the last gradient. It makes a small step of gradient descent.

  Adam would divide each gradient by its size and so enlarge the rounding errors of tiny gradients.
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

  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.training import optimizers

  config = settings.get_config(_CHANNELS.value, precision, savings)
  with config.unlocked():
    config.batch_size = _BATCH.value
  mesh = meshes.make_mesh([device])
  networks = ("spatial", "temporal")
  keeping = optimizers.Optimizers(_keep_gradients(), {name: _keep_gradients() for name in networks})
  program = programs.compile_iteration(config, mesh, keeping)
  # The state is drawn on the CPU for both devices, so that both begin with the same bits.
  cpu = meshes.make_mesh(jax.devices("cpu")[:1])
  state = jax.device_put(
    jax.device_get(program.initial_state(cpu)),
    jax.tree.map(lambda a: a.sharding, program.abstract_state),
  )
  batch = meshes.put_batch(settings.synthetic_batch(config, seed=1), mesh)
  after, metrics = program.call(state, batch, {})
  wide = lambda tree: jax.tree.map(lambda a: np.asarray(a, np.float64), jax.device_get(tree))
  gradients = {name: wide(network.optimizer) for name, network in after.discriminators.items()}
  gradients["generator"] = wide(after.generator.optimizer)
  losses = {name: value for name, value in wide(metrics).items() if name.startswith("loss/")}
  return {"losses": losses, **gradients}


def _error(result, expected) -> float:
  """The largest relative error within the arrays of a network; see the module's docstring."""
  import jax
  import numpy as np

  result, expected = jax.tree.leaves(result), jax.tree.leaves(expected)
  floor = 1e-4 * max(np.abs(array).max(initial=0) for array in expected)
  largest = 0.0
  for a, b in zip(result, expected, strict=True):
    error = np.abs(a - b).max(initial=0) / max(np.abs(b).max(initial=0), floor)
    largest = max(largest, float(error)) if np.isfinite(error) else float("inf")
  return largest


def main():
  """Compares the device with the CPU in all settings."""
  import jax

  try:
    cpu = jax.devices("cpu")[0]
  except RuntimeError as error:
    raise UserError("no CPU to compare with: leave JAX_PLATFORMS unset or add ,cpu") from error
  device = jax.devices()[0]
  door.report(f"{device.device_kind} against {cpu.device_kind} of this process")
  rows, unequal = [], []
  on_cpu = {}
  for form, precision in (("plain", "float32"), ("saved", "float32"), ("saved", "bfloat16")):
    begin = time.perf_counter()
    if form not in on_cpu:
      on_cpu[form] = _iteration(cpu, "float32", form == "saved")
    on_device = _iteration(device, precision, form == "saved")
    errors = {name: _error(on_device[name], on_cpu[form][name]) for name in on_cpu[form]}
    rows.append({"form": form, "precision": precision, "errors": errors})
    took = time.perf_counter() - begin
    door.report(f"{form} {precision} ({took:.0f} s): {errors}")
    if precision == "float32":
      unequal += [f"{form}/{name}" for name, e in errors.items() if not e <= _TOLERANCE.value]
  rows.append(
    {
      "form": "plain against saved, both on the device's CPU",
      "precision": "float32",
      "errors": {n: _error(on_cpu["saved"][n], on_cpu["plain"][n]) for n in on_cpu["plain"]},
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
  if unequal:
    door.report(f"not equal within {_TOLERANCE.value}: {', '.join(unequal)}")
    sys.exit(1)


if __name__ == "__main__":
  settings.run(main)
