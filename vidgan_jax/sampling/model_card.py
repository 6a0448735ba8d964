"""The model card of an exported model, in Markdown."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from vidgan_jax.runtime.text import printable
from vidgan_jax.sampling import exported
from vidgan_jax.sampling.run import Run

_DATA = {
  "moving_shapes": "built-in moving shapes",
  "npz": "a file of clips",
  "video_folder": "a folder of videos",
  "prepared": "a prepared set of videos",
}


def text(
  run: Run,
  name: str,
  fingerprint: str,
  scores: Sequence[dict[str, Any]],
  grid: bool,
  version: str,
  data: Mapping[str, Any],
) -> str:
  """The card.

  Args:
    run: what is exported.
    name: of the folder.
    fingerprint: of the exported model.
    scores: dictionaries with "protocol", "metric", "value", "interval" (or None), "real" (the score
      of real clips, or None), "clips", "truncation" and "fingerprint".
    grid: whether the folder has a grid of clips.
    version: of this package.
    data: what the run recorded about its data, see `training.state.recorded_data`.
  """
  lines = [f"# {escaped(name)}", ""]
  lines += [
    f"A generator of videos, trained with vidgan_jax {escaped(version)}: the moving average of its "
    f"weights after {run.step} iterations.",
    "",
  ]
  if grid:
    lines += [f"![clips of this model, one class after the other]({exported.GRID})", ""]
  lines += [
    *_table(["", ""], _facts(run, fingerprint, data)),
    "",
    *_usage(run),
    "",
    *_scores(scores),
  ]
  if run.class_names:
    lines += ["", "## Classes", ""]
    # An indented block: what stands in it is neither Markdown nor HTML.
    lines += [f"    {n} {printable(each)}" for n, each in enumerate(run.class_names)]
  lines += ["", "## Files", ""]
  lines += [
    "`export.json` lists the files with their sizes and SHA-256; a changed file is refused when "
    "the model is loaded. `config.json` is the training's config without paths. The `.safetensors` "
    "files hold the generator, its batch statistics for sampling and, for models in stages, the "
    "earlier stages. This page is not in the index and may be edited.",
  ]
  return "\n".join(lines) + "\n"


def escaped(value: Any) -> str:
  """Text that stands in Markdown as it is: no HTML, no links, one line."""
  shown = html.escape(printable(str(value)), quote=False)
  for character in "\\`*[]|":
    shown = shown.replace(character, f"&#{ord(character)};")
  return shown


def _facts(run: Run, fingerprint: str, data: Mapping[str, Any]) -> list[list[str]]:
  gan, config = run.gan, run.config
  sizes = sum(leaf.size for leaf in jax.tree.leaves(run.params))
  described = [_DATA.get(config.data.name, config.data.name)]
  described += [f"{data['num_examples']:,} clips"] if "num_examples" in data else []
  described += [f"checksum {data['checksum']}"] if "checksum" in data else []
  described += [f"prepared with {config.data.prepare}"] if config.data.get("prepare") else []
  rows = [
    ["model", escaped(config.model.name)],
    ["clips", f"{gan.resolution} x {gan.resolution} pixels, {gan.frames} frames"],
    ["classes", str(gan.num_classes or "none")],
    ["parameters of the generator", f"{sizes:,}"],
    ["iterations", f"{run.step} of {config.num_iterations}, batch size {config.batch_size}"],
    ["data", ", ".join(map(escaped, described))],
    ["fingerprint", f"`{fingerprint}`"],
  ]
  if gan.given_frames:
    rows.insert(2, ["given frames", f"the first {gan.given_frames} of each clip"])
  if gan.stages:
    rows.insert(2, ["earlier stages", "part of this folder"])
  return rows


def _usage(run: Run) -> list[str]:
  given = run.gan.needs_conditioning
  call = "model.predict(frames)" if given else "model.sample(0, truncation=0.7)"
  more = " --conditioning=VIDEO" if given else ""
  data = "" if run.config.data.name == "moving_shapes" else " --data_directory=DATA"
  return [
    "## Use",
    "",
    "```python",
    "import vidgan_jax",
    "",
    'model = vidgan_jax.load("FOLDER")',
    f"clips = {call}  # uint8 [N, T, H, W, 3]",
    "```",
    "",
    "```",
    f"vidgan sample --workdir=FOLDER --output=DIR{more}",
    f"vidgan evaluate --workdir=FOLDER --protocol=NAME{data}",
    "```",
  ]


def _scores(scores: Sequence[dict[str, Any]]) -> list[str]:
  lines = ["## Scores", ""]
  if not scores:
    return [*lines, "This iteration has not been evaluated with a whole protocol."]
  number = lambda value: "" if value is None else f"{value:.4g}"
  rows = []
  for score in scores:
    interval = score["interval"]
    between = f" [{number(interval[0])}, {number(interval[1])}]" if interval else ""
    named = [escaped(score[name]) for name in ("protocol", "metric")]
    numbers = [f"{number(score['value'])}{between}", number(score["real"])]
    settings = [escaped(score["clips"]), number(score["truncation"])]
    rows.append([*named, *numbers, *settings, f"`{escaped(score['fingerprint'])}`"])
  names = ["protocol", "metric", "score", "real against real", "generated clips", "truncation"]
  lines += _table([*names, "fingerprint"], rows)
  return [
    *lines,
    "",
    "Brackets hold 95 % intervals. Only scores with equal fingerprints are comparable.",
  ]


def _table(names: list[str], rows: list[list[str]]) -> list[str]:
  row = lambda cells: f"| {' | '.join(cells)} |"
  return [row(names), row(["---"] * len(names)), *map(row, rows)]
