"""Renders a cost summary as a table for a terminal."""

import math


def render(summary: dict) -> str:
  """Renders the result of `summary.summarize` in lines of at most 100 columns."""
  s = summary
  classes = f"{s['num_classes']} classes" if s["num_classes"] else "no classes"
  lines = [
    f"{s['model']}: {s['frames']} frames of {s['resolution']}x{s['resolution']}, {classes}, "
    f"batch {s['batch_size']}, D to G updates {s['discriminator_steps']}:1",
    *_parameter_lines(s),
    *_phase_lines(s),
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


def _phase_lines(s):
  """The phases of networks that grow; what follows them describes the last phase."""
  if "phases" not in s:
    return []
  heads = ["begins at", "fades for", "frames", "batch", "TFLOP", "seconds", "with static, GB"]
  rows = [["Phases, iterations as written", *heads]]
  for phase in s["phases"]:
    rates = phase["iteration"]["as_written"]
    rows.append(
      [
        f"  {phase['resolution']}x{phase['resolution']}",
        f"{phase['begin']:,}",
        f"{phase['fade']:,}",
        str(phase["frames"]),
        str(phase["batch_size"]),
        _three_digits(rates["tflop"]),
        _three_digits(rates["seconds"]),
        f"{phase['activations'][s['remat']]['total_bytes'] / 1e9:.2f}",
      ]
    )
  return _aligned(rows)


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
  rows = [["Memory at any batch size, GB in float32", ""]]
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
  lines += _aligned(rows)
  rows = [["Peak of an iteration, GB", "arguments", "temporaries", "together", "recomputed"]]
  for kind, sizes in s["peak_bytes"].items():
    parts = (sizes[part] for part in ("argument", "temporary", "total", "least"))
    rows.append([f"  on one {kind.upper()}", *(f"{size / 1e9:.2f}" for size in parts)])
  lines += _aligned(rows)
  lines.append(
    "Recomputed: an estimate of the peak if memory is short, so that the compiler recomputes"
  )
  lines.append("elementwise results.")
  note = "* this config's policy. All numbers are computed from shapes; nothing was run."
  return [*lines, "", note]


def _three_digits(number):
  """The number with at least three digits and without an exponent."""
  decimals = max(0, 2 - math.floor(math.log10(number))) if number > 0 else 0
  return f"{number:,.{decimals}f}"


def _aligned(rows):
  """Lines of a table after an empty line; the first column aligned left, the others right."""
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  align = lambda row: (
    [row[0].ljust(widths[0])]
    + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
  )
  return ["", *("  ".join(align(row)).rstrip() for row in rows)]
