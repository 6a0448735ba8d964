"""Writes docs/reproducing.md: every named config, its cost, and the score that its paper reports.

  python -m vidgan_jax.analysis.cost.reproducing_page             # costs: config_costs.jsonl
  python -m vidgan_jax.analysis.cost.reproducing_page --measure   # counts what is not in that file

benchmarks/config_costs.jsonl holds the costs, because counting them takes about an hour: it traces
the networks of all configs. Each line has the identity of its config; if a field of the config
changes, --measure counts it again. Remove the lines of configs whose code has changed.
"""

import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
from ml_collections import ConfigDict

from vidgan_jax.analysis.cost import published_scores, summary
from vidgan_jax.models import stored_config
from vidgan_jax.runtime.config import named
from vidgan_jax.runtime.errors import UserError

_ROOT = pathlib.Path(__file__).parents[3]
PAGE = _ROOT / "docs" / "reproducing.md"
COSTS = _ROOT / "benchmarks" / "config_costs.jsonl"
UTILISATION = 0.35  # assumed
_A100, _V5E_2X4 = 312.0, 8 * 197.0  # TFLOP/s, see `runtime.hardware.flops`

_HEAD = f"""# Every experiment

Written by `python -m vidgan_jax.analysis.cost.reproducing_page`; do not edit.

**No published score has been reproduced with this code yet**: the last column says "not yet" in
each row with a published score. To train the config of a row, sample from it and score it:

```sh
vidgan train --config=tgan:f_c1 --workdir=runs/f_c1 --config.data.directory=PREPARED
vidgan sample --workdir=runs/f_c1 --output=samples
vidgan evaluate --workdir=runs/f_c1 --protocol=ldvd_is_fid_c3d
```

with the config, the data and the protocol of the row's section. [data.md](data.md) prepares the
data, [evaluation.md](evaluation.md) converts the networks.

* **TFLOP**: work of one iteration at the config's batch, as executed (`vidgan summarize`).
* **GB**: state and activations of the whole batch, in bfloat16, on one device.
  [Settings](training.md#if-a-batch-does-not-fit-into-memory) that save memory, and several devices,
  reduce it.
* **hours**: an estimate, not a measurement: iterations times TFLOP, divided by the speed, over an
  assumed utilisation of {UTILISATION * 100:g} %. One A100 has {_A100:g} TFLOP/s, a TPU v5e 2x4
  slice {_V5E_2X4:g}. Small networks do not reach this utilisation, so their time is longer. Reading
  data, singular value clipping and evaluation are not counted.
* **published**: IS is the Inception Score, FID and FVD are distances. The figures are
  the paper's; a row without one names the table or figure that has it.
"""


def configs() -> dict[str, ConfigDict]:
  """{"FILE" or "FILE:ROW": config} of all named configs, in the order of their files."""
  found = {}
  for section in published_scores.SECTIONS:
    module = _module(section.file)
    for row in getattr(module, "_ROWS", [""]):
      found[f"{section.file}:{row}" if row else section.file] = module.get_config(row)
  return found


def measure(name: str, config: ConfigDict) -> dict[str, Any]:
  """Counts the cost of a config, in numbers that do not depend on a machine's speed.

  Returns:
    {"name", "identity" (see `stored_config.identity`), "batch_size", "num_iterations", "tflop" of
    the last phase, "total_tflop" of the whole run, "gigabytes"}; or {"name", "identity", "error"}
    if it cannot be counted.
  """
  named_config = {"name": name, "identity": stored_config.identity(config)}
  try:
    cost = summary.summarize(config, tflops=1.0)
  except UserError as error:
    return {**named_config, "error": str(error)}
  executed = lambda part: part["iteration"][cost["remat"]]["tflop"]
  total, end = 0.0, config.num_iterations
  for phase in reversed(cost.get("phases", [])):
    total += executed(phase) * max(0, end - phase["begin"])
    end = min(end, phase["begin"])
  return {
    **named_config,
    "batch_size": cost["batch_size"],
    "num_iterations": config.num_iterations,
    "tflop": executed(cost),
    "total_tflop": total or executed(cost) * config.num_iterations,
    "gigabytes": cost["activations"][cost["remat"]]["total_bytes"] / 1e9,
  }


def known_costs() -> dict[str, dict[str, Any]]:
  """{name: what `measure` returned} of the costs in the file."""
  if not COSTS.exists():
    return {}
  lines = COSTS.read_text(encoding="utf-8").splitlines()
  return {row["name"]: row for row in map(json.loads, lines)}


def page() -> str:
  """The Markdown text of the whole page."""
  costs, lines = known_costs(), [_HEAD]
  names = configs()
  for section in published_scores.SECTIONS:
    lines += [f"## {section.title}", "", section.text, ""]
    lines += ["| config | batch | iterations | TFLOP | GB | hours, A100 | hours, v5e 2x4 | "]
    lines[-1] += "published | ours |"
    lines += ["|---" * 9 + "|"]
    for name, config in names.items():
      if name.partition(":")[0] == section.file:
        lines.append(_row(name, config, costs.get(name), section.scores))
    lines.append("")
  return "\n".join(lines)


def _row(name: str, config: ConfigDict, cost: Any, scores: Mapping[str, str]) -> str:
  row = name.partition(":")[2]
  figures = ["not estimated"] * 4
  if cost and "error" not in cost:
    hours = [cost["total_tflop"] / speed / UTILISATION / 3600 for speed in (_A100, _V5E_2X4)]
    figures = [_digits(cost["tflop"]), _digits(cost["gigabytes"]), *map(_hours, hours)]
  ours = "not yet" if row in scores else "-"
  batch, iterations = f"{config.batch_size:,}", f"{config.num_iterations:,}"
  cells = [f"`--config={name}`", batch, iterations, *figures, scores.get(row, "-"), ours]
  return f"| {' | '.join(cells)} |"


def _hours(hours: float) -> str:
  return "< 0.1" if hours < 0.1 else _digits(hours)


def _digits(number: float) -> str:
  """Two significant digits below 100, else whole numbers."""
  return f"{number:,.0f}" if number >= 100 else f"{float(f'{number:.2g}'):g}"


def _module(name: str) -> Any:
  import importlib.util

  spec = importlib.util.spec_from_file_location(f"config_{name}", named.folder() / f"{name}.py")
  assert spec and spec.loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _measure_missing(report: Callable[[str], None]) -> None:
  """Adds the costs of configs that the file lacks, or that have changed."""
  costs = known_costs()
  jax.config.update("jax_platforms", "cpu")
  wanted = configs()
  for name, config in wanted.items():
    old = costs.get(name, {})
    same = old.get("identity") == stored_config.identity(config)
    if same and old.get("num_iterations") == config.num_iterations:
      continue
    costs[name] = measure(name, config)
    jax.clear_caches()
    report(f"{name}: {costs[name].get('error', 'counted')}")
    rows = [json.dumps(costs[n]) for n in wanted if n in costs]
    COSTS.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
  if sys.argv[1:] == ["--measure"]:
    _measure_missing(print)
  PAGE.write_text(page(), encoding="utf-8")
  print(f"written: {PAGE}")
