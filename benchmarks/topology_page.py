"""Renders docs/topologies.md from the attempts of topologies.py."""

from collections.abc import Mapping, Sequence

# Utilisation of the peak FLOP/s that the page assumes, as docs/reproducing.md does.
UTILISATION = 0.35
# Frames per second that one core reads: {height of stored and read frames: rate}. The rates of 64
# and 128 are measured (benchmarks/README.md, reading prepared sets). The others are that of 128 in
# proportion to the pixels of a stored frame, which are 4:3.
MEASURED = {64: 24_305, 128: 8_630}
# GB per second that a chip or card can send to the others: inter-chip interconnect of Cloud TPU's
# documentation (1,600, 4,800 and 3,200 Gbit/s), NVLink of the H100 in one direction.
LINKS = {"v5e": 200, "v5p": 600, "v6e": 400, "h100": 450}
_BYTES_PER_PIXEL = 3  # uint8 red, green, blue
# A larger difference between the estimated and the compiler's peak is explained below the table.
CLOSE = 0.15
# Why an estimate is too low, found in the buffers of the compiled program: {(config, topology,
# setting): reason}.
_REASONS = {
  ("ssw_gan:kinetics600_stage2_12", "v5e:4x8", "plain"): (
    "the program does not fit, and the compiler computes less of it a second time than the "
    "estimate assumes"
  ),
}
_NEGLIGIBLE = 0.05  # GiB

_HEAD = """# What fits where

Written by `python benchmarks/topologies.py page` from benchmarks/topologies.jsonl; do not edit.

The training iterations of ten configs, compiled at full size and at the batch of the paper by the
compilers of six kinds of hardware. **Nothing ran on this hardware**: memory is what the compiler
assigns, times are computed from FLOPs. [compile_only.md](compile_only.md) says what such a
compilation knows, and what it does not. For one config:

```sh
vidgan summarize --config=dvd_gan:kinetics600_64x12 --topology=v5e:4x8 \\
    --config.sharding=zero1 --config.model.remat=conv_outputs
```

Settings are tried in this order, from the cheapest, until one fits:

| devices | settings |
|---|---|
| several | `plain`: state on every device, nothing recomputed |
| | `zero1 conv_outputs`, then `zero1 block_inputs 8 chunks` |
| one | `plain`; `conv_outputs`; `block_inputs 16 chunks` |
| TGAN, which has no `config.model.remat` | `plain`; on several devices `zero1` |

They are `config.sharding`, `config.model.remat` and `config.chunks` of
[training.md](training.md#if-a-batch-does-not-fit-into-memory). What does not fit as a whole batch
may fit with `config.microbatch` or a smaller `config.batch_size`, which are not tried here. To
compile what is missing:

```sh
pip install 'vidgan_jax[compile-tpu,compile-cuda]'
python benchmarks/topologies.py --dry_run
python benchmarks/topologies.py --only=tgan:svc,h200:1 --minutes=60
python benchmarks/topologies.py page
```
"""
_FITS = """## What fits

A cell has the setting that fits, the peak memory that the compiler assigns to one device, out of
the device's memory (GiB), and a computed time: the FLOPs of the model as the paper writes it,
divided by the peak FLOP/s of all devices. The program executes another number of FLOPs: exact
savings reduce it, recomputation adds to it. Peaks are those of data sheets, except that of H200,
790 TFLOP/s measured with a matmul (data sheet: 989); so do not compare its seconds with those of
H100. "Too large" has the peak memory of the last setting. "About" is the estimate of
`vidgan summarize` with recomputation: where it is more than 1.15 times the memory, nothing is
compiled. Not counted: what the runtime and prefetched batches take, and
on GPUs the workspaces that cuDNN chooses on the card; so leave a margin. Above 95 % of the memory
is in **bold**. "Not
yet" is not compiled for this table;
[training.md](training.md#if-a-batch-does-not-fit-into-memory) has more settings of
`dvd_gan:kinetics600_64x12`.
"""
_ESTIMATES = """## The estimate against the compiler

`vidgan summarize` without `--topology` estimates memory from shapes, in two ways. "Kept" is state,
gradients and the activations that an update keeps for its backward pass, without chunks. "Peak"
follows the traced iteration and adds up the arrays that exist when memory use is largest. It counts
cuDNN's padded copies on GPUs, the tiles in which TPUs store arrays and, with zero1, the gathered
weights. It does not know the compiler's order of operations. Where memory is short, the compiler
computes results a second time instead of keeping them. A dagger (†) marks such rows: there the
estimate is the memory that the compiler may use, 80 % of a GPU's and all of a TPU's. If the program
needs more even with all elementwise results computed a second time, the estimate is that need.
"Computed twice" is the size of all such results of the compiler together; they do not all exist at
the same moment. "Padding" is what tiles add where the compiled program is fullest.
GiB on one device, and the ratio to what the compiler assigns:
"""
_SCALING = """## Communication, and how far it slows scaling

A device sends at least this much in an iteration; a collective inside a loop counts once, however
often the loop runs. The seconds
are those at the full bandwidth of all links of the chip (Cloud TPU's documentation: 1,600 Gbit/s on
v5e, 4,800 on v5p, 3,200 on v6e; H100: NVLink, 450 GB/s); a chip at the edge of a slice without
wrap-around has fewer. "Efficiency" is the time of computation divided by the sum of computation
and communication, as if the two did not overlap. Computation runs at the peak FLOP/s, or at
{utilisation:.0%} of it, and has the FLOPs of the first table. It is a rough guide and no bound: the
program executes another number of FLOPs, collectives in loops count once, and in reality the two
overlap. **All is computed from the compiled programs; nothing was measured.** A measured figure of
another system and of another quantity: ParaGAN (Shi et al., arXiv 2411.03999) reports a scaling
efficiency of 91 % for BigGAN on 1,024 cores of TPU v3, with asynchronous updates.
"""
_FEED = """## What a host must read

A host feeds its devices: batch per host x frames x updates of the discriminators with new clips,
in each iteration. "Fastest" is at the seconds of the first table, which hardly a run reaches;
"likely" at an assumed utilisation of {utilisation:.0%}, which small networks such as TGAN do not
reach, so that they need less. MB count decoded frames (one byte per pixel
and colour), as they go to the devices. Cores read a prepared set of this resolution: measured
{measured} frames per second on a core of the machine in
[benchmarks/README.md](../benchmarks/README.md#reading-prepared-sets); 192 and 256 are the rate of
128 in proportion to the pixels.
"""


def render(attempts: Sequence[dict], finished: Mapping[tuple[str, str], bool]) -> str:
  """The page.

  Args:
    attempts: the lines of the file.
    finished: {(config, topology): whether no setting is left to try}, the cells of the table.
  """
  configs, targets = (list(dict.fromkeys(cell[axis] for cell in finished)) for axis in (0, 1))
  # The last attempt of each cell.
  cells = {(a["config"], a["target"]): a for a in attempts}
  texts = {cell: _cell(cells.get(cell), done) for cell, done in finished.items()}
  rows = [[f"`{c}`", *(texts[c, t] for t in targets)] for c in configs]
  parts = [
    _HEAD,
    _FITS,
    f"{sum(finished.values())} of {len(finished)} cells are known, from "
    f"{len(attempts)} attempts.\n",
    _table(["config", *targets], rows),
    _messages(attempts, cells),
    _ESTIMATES,
    _estimates(attempts),
    _differences(attempts),
    _scaling(attempts),
    _FEED.format(
      utilisation=UTILISATION,
      measured=" and ".join(f"{rate:,} ({height})" for height, rate in MEASURED.items()),
    ),
    _feed(cells),
    _versions(attempts),
  ]
  return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(last: dict | None, finished: bool) -> str:
  """The text of a cell, from its last attempt."""
  if last is None or not finished:
    late = last is not None and last["outcome"] == "time"
    return f"not yet (above {last['limit_minutes']:g} minutes)" if late else "not yet"
  outcome = last["outcome"]
  if outcome in ("refused", "failed"):
    return {"refused": "refused", "failed": "the compiler fails"}[outcome]
  if outcome == "time":
    return f"not yet (above {last['limit_minutes']:g} minutes)"
  if outcome == "fits":
    memory = f"{_size(last['peak_gib'])} of {_size(last['limit_gib'])}"
    memory = f"**{memory}**" if last["peak_gib"] > 0.95 * last["limit_gib"] else memory
    return f"{last['setting']}; {memory}; {_seconds(last['floor_seconds'])}"
  if "peak_gib" in last:
    return f"too large: {_size(last['peak_gib'])} of {_size(last['limit_gib'])}"
  if outcome == "skipped":
    return f"too large: about {_size(last['estimate']['peak_gib'])} of {_size(last['limit_gib'])}"
  return "too large"


def _messages(attempts: Sequence[dict], cells: dict) -> str:
  """What the command refuses or the compiler fails at, with the reason, and what took too long."""
  lines = [
    f"* `{config}` on {target}: {_escaped(last['message'])}"
    for (config, target), last in cells.items()
    if last["outcome"] in ("refused", "failed")
  ]
  latest = {(a["config"], a["target"], a["setting"]): a for a in attempts}
  lines += [
    f"* `{a['config']}` on {a['target']}, `{a['setting']}`: "
    f"not within {a['limit_minutes']:g} minutes"
    for a in latest.values()
    if a["outcome"] == "time"
  ]
  return "\n".join(["Refused, or not compiled:", "", *lines, ""]) if lines else ""


def _estimates(attempts: Sequence[dict]) -> str:
  rows = []
  for a in attempts:
    if "peak_gib" in a and a["estimate"]:
      kept, peak, compiled = a["estimate"]["kept_gib"], a["estimate"]["peak_gib"], a["peak_gib"]
      row = [f"`{a['config']}`", a["target"], a["setting"], f"{a['batch_size'] // a['devices']:,}"]
      row += map(_size, (compiled, a.get("padding_gib", 0.0)))
      row.append(_size(a["recomputed"]["bytes"] / 2**30) if "recomputed" in a else "not read")
      row += [_size(kept), _size(peak) + ("" if _enough(a) else " †")]
      rows.append([*row, f"{kept / compiled:.2f}", f"{peak / compiled:.2f}"])
  head = ["config", "topology", "setting", "clips per device", "compiler", "of which padding"]
  head += ["computed twice", "kept", "peak", "kept / compiler", "peak / compiler"]
  return _table(head, rows) if rows else "Not yet.\n"


def _enough(attempt: dict) -> bool:
  """Whether the estimate has enough memory, so that nothing is computed a second time."""
  return attempt["estimate"]["peak_gib"] == attempt["estimate"]["most_gib"]


def _differences(attempts: Sequence[dict]) -> str:
  """Which estimates are not close to the compiler's peak, and why."""
  lines, compared, short = [], 0, 0
  for a in attempts:
    if "peak_gib" in a and a["estimate"]:
      compared += 1
      difference = a["estimate"]["peak_gib"] - a["peak_gib"]
      if abs(difference) > CLOSE * a["peak_gib"]:
        cell = f"`{a['config']}` on {a['target']}, `{a['setting']}`"
        lines.append(f"* {cell}: {_reason(a, difference)}\n")
      else:
        short += not _enough(a)
  head = f"{compared - len(lines)} of {compared} estimated peaks are within {CLOSE:.0%} of the "
  head += f"compiler's, {short} of them where memory is short"
  return f"{head}. The others:\n\n{''.join(lines)}" if lines else f"{head}.\n"


def _reason(attempt: dict, difference: float) -> str:
  """Why an estimate exceeds the compiler's peak by `difference` GiB, which may be negative."""
  again = attempt.get("recomputed", {"bytes": 0})["bytes"] / 2**30
  padding = attempt.get("padding_gib", 0.0)
  apart = f"{_size(abs(difference))} GiB too {'high' if difference > 0 else 'low'}"
  if difference > 0 and again > difference:
    return f"{apart}; the compiler computes results of together {_size(again)} GiB twice."
  if difference < 0 and padding >= -difference / 2:
    close = abs(difference + padding) <= CLOSE * attempt["peak_gib"]
    rest = "" if close else ", the rest is not explained"
    return f"{apart}; {_size(padding)} GiB of the compiler's are padding{rest}."
  known = _REASONS.get((attempt["config"], attempt["target"], attempt["setting"]))
  if difference < 0 and known:
    return f"{apart}; {known}."
  return f"{apart}." if abs(difference) <= _NEGLIGIBLE else f"{apart}; not explained."


def efficiency(attempt: dict, share: float) -> tuple[float, float]:
  """What communication costs in a compiled attempt.

  Args:
    attempt: a line of the file with "sent_bytes".
    share: of the peak FLOP/s, the speed of computation.

  Returns:
    (seconds of communication, computation's share of the time of both).
  """
  sent = sum(total["sent_bytes"] for total in attempt["collectives"].values())
  seconds = sent / (LINKS[attempt["target"].partition(":")[0]] * 1e9)
  computing = attempt["floor_seconds"] / share
  return seconds, computing / (computing + seconds)


def _scaling(attempts: Sequence[dict]) -> str:
  rows = []
  for a in attempts:
    totals = a.get("collectives", {}).values()
    known = a.get("floor_seconds") and a["target"].partition(":")[0] in LINKS
    if known and totals and all("sent_bytes" in total for total in totals):
      sent = sum(total["sent_bytes"] for total in totals) / 1e6
      seconds, at_peak = efficiency(a, 1.0)
      row = [f"`{a['config']}`", a["target"], a["setting"], f"{a['floor_seconds']:.3g}"]
      row += [f"{sent:,.0f}", f"{seconds:.2g}", f"{at_peak:.0%}"]
      rows.append([*row, f"{efficiency(a, UTILISATION)[1]:.0%}"])
  head = ["config", "topology", "setting", "computation at peak, s", "MB sent", "at least, s"]
  head += ["efficiency at peak", f"at {UTILISATION:.0%}"]
  return _SCALING.format(utilisation=UTILISATION) + "\n" + _table(head, rows) if rows else ""


def host_load(attempt: dict) -> dict[str, float]:
  """What one host must read for a compiled attempt.

  Returns:
    {"clips" per iteration, "frames" per second, "megabytes" per second, "cores"}, all but the first
    at the seconds of the first table.
  """
  data = attempt["data"]
  clips = attempt["batch_size"] // attempt["processes"] * data["discriminator_steps"]
  frames = clips * data["frames"] / attempt["floor_seconds"]
  size = data["resolution"]
  rate = MEASURED.get(size, MEASURED[128] * 128**2 / size**2)
  megabytes = frames * size**2 * _BYTES_PER_PIXEL / 1e6
  return {"clips": clips, "frames": frames, "megabytes": megabytes, "cores": frames / rate}


def _feed(cells: dict) -> str:
  rows = []
  for (config, target), last in cells.items():
    if last["outcome"] == "fits" and last["floor_seconds"]:
      load = host_load(last)
      row = [f"`{config}`", target, str(last["processes"]), f"{load['clips']:,}"]
      for share in (1.0, UTILISATION):
        row += [_rate(share * load[kind]) for kind in ("frames", "megabytes", "cores")]
      rows.append(row)
  head = ["config", "topology", "hosts", "clips per host and iteration"]
  for when in ("fastest", "likely"):
    head += [f"{when}: frames/s", "MB/s", "cores"]
  return _table(head, rows) if rows else "Not yet.\n"


def _versions(attempts: Sequence[dict]) -> str:
  found = sorted({", ".join(f"{n} {v}" for n, v in a["versions"].items()) for a in attempts})
  return f"Versions: {'; '.join(found)}.\n" if found else ""


def _escaped(text: str) -> str:
  return text.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def _size(gib: float) -> str:
  return f"{gib:,.0f}" if gib >= 100 else f"{gib:.1f}" if gib >= 1 else f"{gib:.2f}"


def _rate(number: float) -> str:
  return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _seconds(number: float | None) -> str:
  return "time unknown" if number is None else f"{number:.3g} s"
