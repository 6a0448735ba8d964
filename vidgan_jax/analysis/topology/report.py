"""What a config's programs need on hardware that is not here, as a dictionary and as a table."""

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from vidgan_jax.analysis.cost import summary
from vidgan_jax.analysis.topology import layers
from vidgan_jax.analysis.topology.compiler import Compiled, compile_program
from vidgan_jax.analysis.topology.names import PROGRAMS, Topology
from vidgan_jax.models import registry, switches
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import precision
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError

_LARGEST = 10  # buffers that are listed


def build(
  config: ConfigDict,
  topology: Topology,
  *,
  batch_size: int | None = None,
  tflops: float | None = None,
  wanted: Sequence[str] = PROGRAMS,
  compiled: Callable[[Topology, str, str], Compiled] = compile_program,
  report: Callable[[str], None] = lambda line: None,
) -> dict:
  """Compiles the programs of a config for a topology.

  Args:
    config: the whole config. Configs that training refuses are refused here too.
    topology: see `names.parse`.
    batch_size: clips per update, in place of config.batch_size.
    tflops: speed of one device in TFLOP/s for the time of the FLOPs; None is its peak.
    wanted: the programs to compile, at least one of `names.PROGRAMS`.
    compiled: compiles one program; tests pass another function.
    report: called with a line before each program.

  Returns:
    A dictionary that JSON can hold; docs/compile_only.md explains its numbers.

  Raises:
    UserError: on a config that training would refuse on this many devices, or if the compiler is
      missing or fails.
  """
  if batch_size is not None:
    config = config.copy_and_resolve_references()
    with config.unlocked():
      config.batch_size = batch_size
  switches.check(config)
  precision.check_width(config.precision)
  gan = registry.build(config, platform=topology.hardware.platform)
  if gan.phases and batch_size is not None:
    raise UserError("this model has a batch size for each phase of training: omit --batch_size")
  phases = gan.training_phases(config.batch_size)
  for phase in phases:
    meshes.check_division(
      phase.batch_size, topology.devices, config.microbatch, gan.batch_multiple, config.chunks
    )
  text, programs = configuration.to_json(config), {}
  for name in wanted:
    report(f"compiling the {name} for {topology.name}")
    programs[name] = compiled(topology, name, text)
  first = programs[wanted[0]]
  batch = phases[-1].batch_size
  flops = summary.flops_per_clip(config, len(phases) - 1) * batch / topology.devices
  speed = tflops * 1e12 if tflops else first.peak_flops
  return {
    "topology": topology.name,
    "device_kind": first.device_kind,
    "devices": topology.devices,
    "processes": first.processes,
    "memory_bytes": topology.hardware.memory,
    "batch_size": batch,
    "sharding": config.sharding,
    "remat": config.model.get("remat", "none"),
    "chunks": config.chunks,
    "precision": precision.policy(config.precision, topology.hardware.platform).name,
    "warnings": list(first.warnings),
    "tflop_per_device": flops / 1e12,
    "floor_seconds": flops / speed if speed else None,
    "programs": {name: _program(one, topology) for name, one in programs.items()},
  }


def _program(compiled: Compiled, topology: Topology) -> dict:
  memory, limit = compiled.memory, topology.hardware.memory
  margin = None if limit is None else limit - memory.peak
  collectives = {}
  for one in compiled.collectives:
    total = collectives.setdefault(one.kind, {"count": 0, "bytes": 0, "sent_bytes": 0})
    total["count"] += 1
    total["bytes"] += one.bytes
    total["sent_bytes"] += one.sent_bytes
  temporaries = [b for b in memory.buffers if b.use == "temporary"]
  return {
    "fits": None if margin is None else margin >= 0,
    "margin_bytes": margin,
    "argument_bytes": memory.arguments,
    "output_bytes": memory.outputs,
    "temporary_bytes": memory.temporaries,
    "constant_bytes": memory.constants,
    "peak_bytes": memory.peak,
    "padding_bytes": sum(b.size - b.content for b in temporaries),
    "buffers": [_buffer(b, compiled.sources) for b in memory.buffers[:_LARGEST]],
    "collectives": collectives,
    "convolutions": compiled.convolutions,
    "moves": compiled.moves,
    "recomputed": compiled.recomputed,
    "seconds_lowering": round(compiled.seconds_lowering, 1),
    "seconds_until_buffer_assignment": round(compiled.seconds_compiling, 1),
    "refusal": compiled.refusal,
  }


def _buffer(buffer, sources: layers.Sources) -> dict:
  where = layers.layer(sources.of(buffer.instruction))
  if buffer.use != "argument" and not where.operation:  # XLA's own name, such as "broadcast.12"
    where = layers.Layer("")
  return {
    "bytes": buffer.size,
    "padded": round(buffer.size / buffer.content, 2) if buffer.content else None,
    "shape": buffer.shape,
    "use": buffer.use,
    "layer": where.path,
    "operation": where.operation,
    "pass": "recomputed" if where.recomputed else "backward" if where.backward else "forward",
    "instruction": buffer.instruction,
  }


def render(result: dict) -> str:
  """The result of `build` as lines for a terminal."""
  r = result
  batch = f"batch {r['batch_size']}, {r['precision']}, {r['sharding']}, remat {r['remat']}"
  batch += f", {r['chunks']} chunks" if r["chunks"] > 1 else ""
  hosts = f" in {r['processes']} processes" if r["processes"] > 1 else ""
  lines = [f"{r['topology']}: {r['devices']} x {r['device_kind']}{hosts}; {batch}"]
  lines += [f"WARNING: {warning}" for warning in r["warnings"]]
  floor = "unknown" if r["floor_seconds"] is None else f"{r['floor_seconds']:.4g} s"
  work = f"{r['tflop_per_device']:.4g} TFLOP per device as written"
  lines.append(f"an iteration: {work}, {floor} at the peak (other programs are not counted)")
  for name, program in r["programs"].items():
    lines += ["", *_program_lines(name, program, r)]
  note = "All numbers are the compiler's, per device, and no program ran. docs/compile_only.md"
  return "\n".join([*lines, "", note])


def _program_lines(name: str, p: dict, result: dict) -> list[str]:
  limit = result["memory_bytes"]
  if p["fits"] is None:
    verdict = "memory of the device unknown"
  elif p["fits"]:
    verdict = f"fits, {_size(p['margin_bytes'])} of {_size(limit)} left"
  else:
    verdict = f"DOES NOT FIT, {_size(-p['margin_bytes'])} above {_size(limit)}"
  lines = [f"{name}: {verdict}"]
  if p["refusal"]:
    lines.append(f"  the compiler refuses it: {' '.join(p['refusal'].split())[:300]}")
  parts = ("argument", "output", "temporary", "constant", "peak")
  sizes = ", ".join(f"{part} {_size(p[part + '_bytes'])}" for part in parts)
  lines.append(f"  {sizes}; padding among temporaries {_size(p['padding_bytes'])}")
  received = [
    f"{total['count']} {kind} {_traffic(total['bytes'])}"
    for kind, total in p["collectives"].items()
  ]
  sent = sum(total["sent_bytes"] for total in p["collectives"].values())
  sends = f"; a device sends {_traffic(sent)}" if received else ""
  lines.append(f"  collectives: {', '.join(received) or 'none'}{sends}")
  forms = [f"{count} {form}" for form, count in p["convolutions"].items()]
  lines.append(f"  convolutions: {'; '.join(forms) or 'none'}")
  moved = [f"{m['count']} {name} {_traffic(m['bytes'])}" for name, m in p["moves"].items()]
  lines.append(f"  moved: {', '.join(moved)}")
  again = p["recomputed"]
  if again["count"]:
    results = f"{again['count']} results {_traffic(again['bytes'])}"
    lines.append(f"  computed twice by the compiler, to save memory: {results}")
  times = (p["seconds_lowering"], p["seconds_until_buffer_assignment"])
  lines.append(f"  seconds: {times[0]} to trace, {times[1]} until buffer assignment")
  lines.append(f"  {len(p['buffers'])} largest buffers, MiB")
  return lines + [_buffer_line(buffer) for buffer in p["buffers"]]


def _buffer_line(b: dict) -> str:
  shape = b["shape"] if len(b["shape"]) <= 36 else b["shape"][:33] + "..."
  padded = "" if b["padded"] is None or b["padded"] < 1.05 else f"x{b['padded']:.3g}"
  if not (b["layer"] or b["operation"]):
    where = f"the compiler names no layer ({b['instruction']})"
  elif b["operation"]:
    where = f"{b['layer'] or 'no layer'}: {b['operation']}, {b['pass']}"
  else:
    where = b["layer"]
  return f"  {b['bytes'] / 2**20:10,.2f} {padded:>6}  {b['use']:9}  {shape:36}  {where}"


def _size(number: int) -> str:
  return f"{number / 2**30:.2f} GiB" if number >= 2**27 else f"{number / 2**20:.2f} MiB"


def _traffic(number: int) -> str:
  return f"{number / 1e6:,.1f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} kB"
