r"""Prints the cost of a config: parameters, FLOPs, least time, memory. Runs no network.

  vidgan summarize --config=dvd_gan:kinetics600_64x12
  vidgan summarize --config=dvd_gan:thesis_kinetics400 --tflops=312
  vidgan summarize --config=dvd_gan:kinetics600_64x12 --json
  vidgan summarize --config=dvd_gan:kinetics600_64x12 --devices=8 \
      --config.sharding=zero1
  vidgan summarize --config=dvd_gan:kinetics600_64x12 --topology=v5e:8x8
  vidgan summarize --config=dvd_gan:kinetics600_64x12 --topology=h100:8 \
      --programs=iteration

Any field of the config can be set with --config.FIELD=VALUE.

Exit codes: 0 done, 2 bad input.
"""

import sys

from absl import flags

from vidgan_jax.analysis.topology import names
from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.config import named as named_configs
from vidgan_jax.runtime.errors import UserError

_CONFIG = named_configs.define_flag()
_TFLOPS = schema.define(
  "tflops",
  schema.number(
    790.0,
    "Speed of the machine in TFLOP/s; the default is a bfloat16 matmul on one H200.",
    least=0,
    above=True,
    most=1_000_000_000,
  ),
)
_BATCH = schema.define(
  "batch_size",
  schema.integer(
    None, "Clips per update; by default the config's.", least=1, most=base_switches.LARGEST_BATCH
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
    "Print, instead of the cost, how each array of the state is split over this number of devices.",
    least=1,
    most=1_000_000,
  ),
)
_TOPOLOGY = flags.DEFINE_string("topology", None, names.HELP)
_PROGRAMS = flags.DEFINE_list(
  "programs",
  list(names.PROGRAMS),
  "What --topology compiles. An iteration of training needs the most memory.",
)
flags.mark_flag_as_required("config")


def main(argv):
  """Counts and prints the cost."""
  del argv
  if _JSON.value and _DEVICES.value:
    raise UserError("--json and --devices exclude each other: arrays are listed only as text")
  if _DEVICES.value:
    door.check_unused(("tflops", "dtype"), "with --devices, which prints how arrays are split")
  topology = None if _TOPOLOGY.value is None else names.parse(_TOPOLOGY.value)
  if topology:
    _check_programs()
    door.check_unused(("devices",), "with --topology, which says how many devices there are")
    door.check_unused(("dtype",), "with --topology: config.precision is the type")
  else:
    door.check_unused(("programs",), "without --topology")
  import json

  import jax  # imported here, so that --help and bad flags are quick

  from vidgan_jax.analysis.cost import summary, table
  from vidgan_jax.training import state

  # Computing shapes needs no accelerator, and must not wait for a busy one.
  jax.config.update("jax_platforms", "cpu")
  if _DEVICES.value:
    for line in state.placement(_CONFIG.value, _DEVICES.value, _BATCH.value):
      door.report(line)
    return
  if topology:
    _print_topology(topology)
    return
  result = summary.summarize(
    _CONFIG.value, batch_size=_BATCH.value, dtype=_DTYPE.value, tflops=_TFLOPS.value
  )
  door.report(json.dumps(result, indent=2) if _JSON.value else table.render(result))


def _check_programs():
  """Raises UserError on programs that do not exist."""
  unknown = [repr(name) for name in _PROGRAMS.value if name not in names.PROGRAMS]
  if unknown or not _PROGRAMS.value:
    wrong = f"unknown {', '.join(unknown)}" if unknown else "no program"
    raise UserError(f"--programs: {wrong}; the programs are {', '.join(names.PROGRAMS)}")


def _fields(config) -> list[str]:
  """Lines about the fields of a config, for --help."""
  from vidgan_jax.models import switches

  return schema.help_lines(switches.of_model(config.get("model")), config)


def _print_topology(topology):
  """Compiles for hardware that is not here, and prints what the programs need."""
  import json

  from vidgan_jax.analysis.topology import devices, report

  devices.check_installed(topology)
  result = report.build(
    _CONFIG.value,
    topology,
    batch_size=_BATCH.value,
    tflops=_TFLOPS.value if flags.FLAGS["tflops"].present else None,
    wanted=list(dict.fromkeys(_PROGRAMS.value)),
    report=lambda line: print(line, file=sys.stderr, flush=True),
  )
  door.report(json.dumps(result, indent=2) if _JSON.value else report.render(result))


if __name__ == "__main__":
  door.run(main, fields=_fields)
