r"""Prints what a config costs: parameters, FLOPs, the time floor, memory. No network is run.

  python -m vidgan_jax.summarize --config=configs/dvd_gan.py:kinetics600_64x12
  python -m vidgan_jax.summarize --config=configs/dvd_gan.py:thesis_kinetics400 --tflops=312
  python -m vidgan_jax.summarize --config=configs/dvd_gan.py:kinetics600_64x12 --json
  python -m vidgan_jax.summarize --config=configs/dvd_gan.py:kinetics600_64x12 --devices=8 \
      --config.sharding=zero1

Any field of the config can be set with --config.FIELD=VALUE.

Exit codes: 0 done, 2 bad input.
"""

from absl import flags
from ml_collections import config_flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, FILE.py:ARGUMENT.")
_TFLOPS = schema.define(
  "tflops",
  schema.number(
    790.0,
    "What the machine does, in TFLOP/s; the default is one H200's bfloat16 matmul.",
    least=0,
    above=True,
    most=1_000_000_000,
  ),
)
_BATCH = schema.define(
  "batch_size",
  schema.integer(
    None, "Clips per update; default the config's.", least=1, most=base_switches.LARGEST_BATCH
  ),
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "bfloat16", ["bfloat16", "float32"], "Type of activations in the memory estimate."
)
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object instead of the table.")
_DEVICES = schema.define(
  "devices",
  schema.integer(
    None,
    "Print instead how every array of the state would be placed on so many.",
    least=1,
    most=1_000_000,
  ),
)
flags.mark_flag_as_required("config")


def main(argv):
  """Counts and prints."""
  del argv
  if _JSON.value and _DEVICES.value:
    raise UserError("--json and --devices exclude each other: arrays are listed as text alone")
  if _DEVICES.value:
    door.check_unused(("tflops", "dtype"), "with --devices, which prints where arrays are placed")
  import json

  import jax  # late, so that --help and bad flags are quick

  from vidgan_jax.analysis.cost import summary, table
  from vidgan_jax.training import state

  # Shapes need no accelerator: one that is busy is left alone.
  jax.config.update("jax_platforms", "cpu")
  if _DEVICES.value:
    for line in state.placement(_CONFIG.value, _DEVICES.value, _BATCH.value):
      door.report(line)
    return
  result = summary.summarize(
    _CONFIG.value, batch_size=_BATCH.value, dtype=_DTYPE.value, tflops=_TFLOPS.value
  )
  door.report(json.dumps(result, indent=2) if _JSON.value else table.render(result))


if __name__ == "__main__":
  door.run(main)
