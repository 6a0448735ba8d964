"""Tables of league.jsonl: scores with intervals and fingerprints, and processor time."""

import collections
from collections.abc import Iterable, Sequence

from race import entries
from race.league_file import scores

# {metric: (name of the column, digits)}; the order is that of the columns.
COLUMNS = {
  "fid": ("FID, lower is better", 3),
  "kvd": ("KVD, lower", 3),
  "is": ("IS, higher", 3),
  "accuracy": ("accuracy, higher", 3),
  "precision": ("precision, higher", 3),
  "coverage": ("coverage, higher", 3),
  "vendi": ("Vendi score, real {real}", 3),
  "motion": ("motion, real 1", 3),
  "nearest": ("to the nearest training clip, real 1", 3),
}
CONTROLS = {
  "control_real": "other real clips",
  "control_reversed": "the same, reversed",
  "control_shuffled": "the same, frames shuffled",
  "control_frozen": "the same, one frame repeated",
  "control_noise": "the same, with noise",
}


def title(row: dict) -> str:
  """The name of a row's system."""
  name = row["system"]
  return CONTROLS.get(name) or entries.BY_NAME[name].title


def budgets(rows: Iterable[dict]) -> list[str]:
  """The budgets of rows, that of most rows first; of equally frequent ones, the largest."""
  counts = collections.Counter(row["budget"] for row in rows if row.get("budget"))
  size = lambda name: float(name.rstrip("abcdefghijklmnopqrstuvwxyz"))
  return sorted(counts, key=lambda name: (-counts[name], -size(name)))


def ordered(rows: Iterable[dict]) -> list[dict]:
  """Controls first, then systems in the order of `entries`, then by seed; the last line of each."""
  order = [*CONTROLS, *entries.BY_NAME]
  last = {(row["system"], row.get("seed")): row for row in rows}
  return sorted(last.values(), key=lambda row: (order.index(row["system"]), row.get("seed") or 0))


def number(value: float, digits: int) -> str:
  """A number with this many significant digits, never as a power of ten."""
  shown = float(f"{value:.{digits}g}")
  return f"{shown:,.0f}" if abs(shown) >= 10 ** (digits - 1) else f"{shown:g}"


def cell(record: dict | None, digits: int, usual: str | None) -> str:
  """A value with its interval; ¹ if its fingerprint is not the usual one of its column."""
  if record is None:
    return "-"
  text = number(record["value"], digits)
  if record["interval"]:
    low, high = (number(end, digits) for end in record["interval"])
    text += f" [{low}, {high}]"
  return text + ("" if record["fingerprint"] == usual else " ¹")


def usual_fingerprints(rows: Sequence[dict]) -> dict[str, str]:
  """{metric: the fingerprint that most rows have}."""
  found = {}
  for metric in COLUMNS:
    all_of_it = [scores(row)[metric]["fingerprint"] for row in rows if metric in scores(row)]
    if all_of_it:
      found[metric] = collections.Counter(all_of_it).most_common(1)[0][0]
  return found


def of_scores(rows: Sequence[dict]) -> list[str]:
  """Lines of a Markdown table with one line for each row."""
  usual = usual_fingerprints(rows)
  real = next((scores(row)["vendi"]["real"] for row in rows if "vendi" in scores(row)), None)
  names = [
    name.format(real="-" if real is None else number(real, digits))
    for name, digits in COLUMNS.values()
  ]
  lines = [_line(["system", "seed", "iterations", *names]), _line(["---"] * (3 + len(names)))]
  for row in rows:
    of_row = scores(row)
    begin = [title(row), _text(row.get("seed")), _iterations(row)]
    cells = [cell(of_row.get(m), digits, usual.get(m)) for m, (_, digits) in COLUMNS.items()]
    lines.append(_line([*begin, *cells]))
  return lines


def of_fingerprints(rows: Sequence[dict]) -> list[str]:
  """Lines on the fingerprints of the columns, and of the numbers that have others."""
  usual = usual_fingerprints(rows)
  lines = ["Fingerprints: " + ", ".join(f"{m} `{f}`" for m, f in usual.items()) + "."]
  others = collections.defaultdict(list)
  for row in rows:
    for metric, record in scores(row).items():
      if metric in usual and record["fingerprint"] != usual[metric]:
        others[title(row)].append(f"{metric} `{record['fingerprint']}`")
  if others:
    listed = "; ".join(f"{name}: {', '.join(dict.fromkeys(m))}" for name, m in others.items())
    lines.append(f"¹ Other fingerprints, not comparable with the column: {listed}.")
  return lines


def circumstances(rows: Sequence[dict]) -> str:
  """When and with what rows were measured, in one line."""
  days = sorted({row["date"][:10] for row in rows if "date" in row})
  machines = sorted({f"{row['cpu']}, {row['cores']} core(s)" for row in rows if "cpu" in row})
  names = ("python", "jax", "flax", "numpy")
  versions = sorted(
    {", ".join(f"{n} {row['versions'][n]}" for n in names) for row in rows if "versions" in row}
  )
  dates = " to ".join(dict.fromkeys((days[0], days[-1]))) if days else ""
  rescored = sorted({row["rescored"] for row in rows if "rescored" in row})
  if rescored:
    dates += f", clips scored again on {', '.join(rescored)}"
  return "; ".join(filter(None, (dates, *machines, *versions)))


def of_time(rows: Sequence[dict]) -> list[str]:
  """Lines of a Markdown table of processor minutes and memory, with the sum in hours."""
  parts = ("training", "compiling", "other", "drawing", "scoring")
  head = ["system", "seed", "width", *parts, "hours in all", "memory, MB"]
  lines, hours = [_line(head), _line(["---"] * len(head))], 0.0
  for row in rows:
    spent = row["minutes"]
    of_row = sum(spent.values()) / 60
    hours += of_row
    cells = [f"{spent[part]:.1f}" if part in spent else "-" for part in parts]
    width = ", ".join(f"{k.split('.', 1)[1]} {_text(v)}" for k, v in row.get("width", {}).items())
    begin = [title(row), _text(row.get("seed")), width or "-"]
    lines.append(_line([*begin, *cells, f"{of_row:.2f}", _text(row.get("peak_mb"))]))
  return [*lines, "", f"{hours:.2f} processor hours in all."]


def of_trials(trials: dict) -> list[str]:
  """Lines of a Markdown table of the trials of a task.

  Args:
    trials: {system: {"chosen", "trials"}}, as in league_trials.json.
  """
  lines = [_line(["system", "iterations a minute, from narrow to wide", "chosen"])]
  lines.append(_line(["---"] * 3))
  for name, entry in entries.BY_NAME.items():
    if name in trials:
      of_system = trials[name]
      rates = ", ".join(f"{trial['rate']:.0f}" for trial in of_system["trials"])
      chosen = ("narrow", "middle", "wide")[of_system["chosen"]]
      lines.append(_line([entry.title, rates, chosen]))
  return lines


def _iterations(row: dict) -> str:
  return " + ".join(f"{count:,}" for count in row["iterations"]) if "iterations" in row else "-"


def _text(value: object) -> str:
  if isinstance(value, list | tuple):
    return "/".join(map(str, value))
  return "-" if value is None else str(value)


def _line(cells: Iterable[str]) -> str:
  return "| " + " | ".join(cells) + " |"
