"""Writes docs/collapse.md and its pictures from the lines of collapse.jsonl."""

import io
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import result_lines
import settings  # noqa: F401 - makes the package importable
from PIL import Image
from race import pictures

from vidgan_jax.data.sources import moving_shapes
from vidgan_jax.runtime import door
from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.errors import UserError

SHARE = 0.1  # of the data's content variance, at which a case still holds
NAMES = {
  "plain": "plain (batch 8)",
  "batch_16": "batch 16",
  "categories": "categories",
  "spectral_norm": "spectral normalisation",
}
_NOTES = pathlib.Path(__file__).with_name("collapse_notes.json")
_EVERY_FRAME = 8  # shown in the pictures
_FRAMES, _SIDE = 16, 64  # of real clips in the pictures
_COLUMNS = (
  "case",
  "holds until iteration",
  "holds at",
  "content at the start",
  "lowest (iteration)",
  "at the end (iteration)",
  "motion at the end",
  "class at the end",
  "coarse content: start, lowest (iteration), end",
  "s/iteration",
)
_LEAST = 1e-6  # drawn instead of smaller variances; rounding to uint8 adds 5e-6

_HEAD = """# How long MoCoGAN uses its content code

Written by `python benchmarks/collapse.py --page` from benchmarks/collapse.jsonl; do not edit.

On the moving shapes, MoCoGAN's generator learns within some hundred iterations to ignore the \
content code ([ldvd.md](ldvd.md)). This page compares settings at half the width of \
`configs/mocogan.py:shapes` (8 channels, an eighth of the paper's) and the published learning rate \
of 2e-4:

- **plain**: batches of 8 clips, no noise in the discriminators;
- **batch 16**: batches of 16 clips, so twice the clips at the same iteration;
- **categories**: the generator also gets one of 16 classes, and the discriminator of clips \
classifies (the authors' categorical model; its discriminator has one layer more);
- **spectral normalisation** of both discriminators, beside their batch normalisation.

```sh
python benchmarks/collapse.py
python benchmarks/collapse.py --page
```

trains, measures and writes this page. `benchmarks/collapse.py` and `benchmarks/variance_grid.py` \
describe the measurement. A case *holds* as long as the variance that its content code gives to \
pixels is at least a tenth of that of real scenes; this rule was fixed before the first result.
"""
_METHOD = """## What is measured

{grid} contents are combined with {grid} motions, the same latents everywhere, and the variance of \
each pixel in [-1, 1] is split without bias by a two-way analysis of variance: *content* is the \
variance over contents of the mean over motions, *motion* the mean over contents of the variance \
over motions. Their sum is the variance of a pixel over clips. All are means over pixels and \
frames. With categories, the content is the code alone, with the class fixed; *class* is the \
variance over classes.

For the data, shapes and colours of real scenes are the contents, kinds and paths of movement the \
motions: content {content:.4f}, motion {motion:.4f}, together {total:.4f}; the variance over the \
frames of a clip is {time:.4f}. A case **holds** while its content variance is at least \
{level:.4f}, a tenth of the data's. It holds **until** the last measurement before it first falls \
below. Measurements were {every} iterations apart.

**Content variance is not use of the content code.** Before training it is that of fine noise, \
which initial weights make of any latent, and such noise can fade without a collapse. So the table \
and the figure also have *coarse* content, of clips whose pixels are averaged over squares of 8x8 \
(the data: content {coarse_content:.4f}, motion {coarse_motion:.4f}). It was added after the first \
result, and the rule does not use it.
"""


def lines(path: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of a file of results; see `result_lines.read`."""
  return result_lines.read(path, "case", "seed")


def latest(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
  """The last line of each case and seed, in the order of `NAMES`."""
  last = {(r["case"], r["seed"]): r for r in results}
  order = list(NAMES)
  return sorted(last.values(), key=lambda r: (order.index(r["case"]), r["seed"]))


def level(result: Mapping[str, Any]) -> float:
  """The content variance from which a case holds."""
  return SHARE * result["real"]["content"]


def holds_until(result: Mapping[str, Any]) -> int | None:
  """The last measured iteration before content is first below `level`; None if it begins there."""
  last = None
  for one in result["measured"]:
    if one["content"] < level(result):
      break
    last = one["iteration"]
  return last


def times_held(result: Mapping[str, Any]) -> int:
  """The number of measured iterations at which a case holds."""
  return sum(one["content"] >= level(result) for one in result["measured"])


def _name(result: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> str:
  """A case's name, with the seed if there are several."""
  several = len({r["seed"] for r in results}) > 1
  return NAMES[result["case"]] + (f", seed {result['seed']}" if several else "")


def _until(result: Mapping[str, Any]) -> str:
  """`holds_until` in words, with the number of clips that training has shown by then."""
  last = holds_until(result)
  if last is None:
    return "never"
  text = f"{last} ({last * result['batch_size']:,} clips)"
  return f"the end, {text}" if last == result["measured"][-1]["iteration"] else text


def summary(results: Sequence[Mapping[str, Any]]) -> list[list[str]]:
  """One row for each case and seed, with a header."""
  table = [list(_COLUMNS)]
  for result in results:
    measured = result["measured"]
    first, last = measured[0], measured[-1]
    lowest = min(measured, key=lambda one: one["content"])
    coarse = min(measured, key=lambda one: one["coarse_content"])
    table.append(
      [
        _name(result, results),
        _until(result),
        f"{times_held(result)} of {len(measured)}",
        f"{first['content']:.4f}",
        f"{lowest['content']:.5f} ({lowest['iteration']})",
        f"{last['content']:.5f} ({last['iteration']})",
        f"{last['motion']:.5f}",
        f"{last['category']:.5f}" if "category" in last else "-",
        f"{first['coarse_content']:.4f}, {coarse['coarse_content']:.5f} ({coarse['iteration']}), "
        f"{last['coarse_content']:.5f}",
        f"{result['seconds']:.2f}",
      ]
    )
  return table


def _joined(results: Sequence[Mapping[str, Any]], verb: str) -> str:
  """Names of cases with a verb, which is plural for several: "a holds", "a and b hold"."""
  names = [NAMES[r["case"]] for r in results]
  text = ", ".join(names[:-1]) + " and " * (len(names) > 1) + names[-1]
  return f"{text} {verb if len(names) > 1 else f'{verb}s'}"


def _of_seed(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """The sentences of a verdict on the cases of one seed."""
  until = {r["case"]: holds_until(r) for r in results}
  still = [r for r in results if until[r["case"]] == r["measured"][-1]["iteration"]]
  fell = [r for r in results if until[r["case"]] is not None and r not in still]
  sentences = []
  if still:
    ends = ", ".join(str(end) for end in dict.fromkeys(until[r["case"]] for r in still))
    sentences.append(f"**{_joined(still, 'hold')}** to the end of the run, at iteration {ends}.")
  if fell:
    longest = max(until[r["case"]] for r in fell)
    best = [r for r in fell if until[r["case"]] == longest]
    begin = "Of the others, " if still else ""
    sentences.append(f"{begin}**{_joined(best, 'hold')} longest**, until iteration {longest}.")
  if not still and not fell:
    sentences.append("No case holds at the start.")
  return sentences


def _at_one_iteration(results: Sequence[Mapping[str, Any]]) -> list[str]:
  """The content variances at the last iteration that all cases have, the largest first."""
  measured = {r["case"]: {m["iteration"]: m["content"] for m in r["measured"]} for r in results}
  common = set.intersection(*(set(of_case) for of_case in measured.values()))
  if len(results) < 2 or not common:
    return []
  last = max(common)
  order = sorted(measured, key=lambda case: -measured[case][last])
  values = ", ".join(f"{measured[case][last]:.4f} ({NAMES[case]})" for case in order)
  return [f"Content at iteration {last}, the last that all were measured at: {values}."]


def verdict(results: Sequence[Mapping[str, Any]]) -> str:
  """Which case holds longest, for each seed."""
  paragraphs = []
  for seed in sorted({r["seed"] for r in results}):
    chosen = [r for r in results if r["seed"] == seed]
    missing = [name for case, name in NAMES.items() if case not in {r["case"] for r in chosen}]
    sentences = [*_of_seed(chosen), *_at_one_iteration(chosen)]
    if missing:
      sentences.append(f"Not measured: {', '.join(missing)}.")
    paragraphs.append(f"Seed {seed}: " + " ".join(sentences))
  return "\n\n".join(paragraphs)


def _series(results: Sequence[Mapping[str, Any]], kind: str = "") -> list[list[str]]:
  """Variances of all cases by iteration, with a header; `kind` is "" or "coarse_"."""
  iterations = sorted({one["iteration"] for r in results for one in r["measured"]})
  table = [["iteration", *(_name(r, results) for r in results)]]
  for iteration in iterations:
    row = [str(iteration)]
    for result in results:
      one = next((m for m in result["measured"] if m["iteration"] == iteration), None)
      row.append(f"{one[f'{kind}content']:.5f}, {one[f'{kind}motion']:.5f}" if one else "-")
    table.append(row)
  return table


def _markdown(table: list[list[str]]) -> str:
  rows = ["| " + " | ".join(row) + " |" for row in table]
  return "\n".join([rows[0], "|" + "---|" * len(table[0]), *rows[1:]])


@plain_style
def draw(results: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
  """Draws content and motion variance over iterations, of pixels and of squares, as a PNG."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  figure, both = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
  colours = {case: f"C{number}" for number, case in enumerate(NAMES)}
  titles = {"": "pixels", "coarse_": "means over 8x8 pixels"}
  for axes, (kind, title) in zip(both, titles.items(), strict=True):
    for result in results:
      steps = [one["iteration"] for one in result["measured"]]
      values = lambda name, r=result, k=kind: [max(m[k + name], _LEAST) for m in r["measured"]]
      colour, label = colours[result["case"]], _name(result, results)
      axes.plot(steps, values("content"), color=colour, marker=".", label=label)
      axes.plot(steps, values("motion"), color=colour, ls=":", lw=1)
    content = results[0]["real"][f"{kind}content"]
    axes.axhline(content, color="0.5", lw=1, label="content of the data")
    axes.axhline(SHARE * content, color="0.5", lw=1, ls="--", label="a tenth of it")
    axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.set_title(f"{title}: content (solid), motion (dotted)", fontsize=10)
  both[0].set_ylabel("variance, in [-1, 1]")
  both[0].legend(fontsize=8)
  buffer = io.BytesIO()
  figure.savefig(buffer, dpi=100)
  plt.close(figure)
  Image.open(buffer).convert("RGB").quantize(64).save(path, "PNG", optimize=True)


def _real_clips(count: int) -> np.ndarray:
  """Real clips of `count` classes, uint8 [count, T, H, W, 3]."""
  source = moving_shapes.MovingShapes(
    num_examples=count, frames=_FRAMES, resolution=_SIDE, num_classes=0, seed=0, split="test",
    variety=0.0,
  )  # fmt: skip
  return np.stack([source.example(i, np.random.default_rng(0))[0] for i in range(count)])


def shown(results: Sequence[Mapping[str, Any]], output: pathlib.Path) -> dict[str, np.ndarray]:
  """Rows of clips for the picture, at half and the end of each run of the first seed."""
  rows = {}
  for result in [r for r in results if r["seed"] == results[0]["seed"]]:
    path = output / f"{result['case']}_{result['seed']}" / "shown.npz"
    if not path.exists():
      continue
    steps = [one["iteration"] for one in result["measured"]]
    last = len(steps) - 1
    chosen = dict.fromkeys(steps[round(last * share)] for share in (0.5, 1))
    with np.load(path) as stored:
      for step in chosen:
        rows[f"{NAMES[result['case']]}, {step}"] = stored[f"clips_{step}"]
      if (classes := f"classes_{steps[-1]}") in stored:
        rows[f"the same, seven classes, {steps[-1]}"] = stored[classes]
  if rows:
    rows = {"real clips": _real_clips(len(next(iter(rows.values())))), **rows}
  return rows


def page(results: Sequence[Mapping[str, Any]], notes: Mapping[str, str]) -> str:
  """The text of docs/collapse.md."""
  head = results[0]
  sizes = {"grid": head["grid"], "every": head["every"], "level": level(head)}
  method = _METHOD.format(**sizes, **head["real"])
  last = max(r["date"][:10] for r in results)
  versions = results[-1]["versions"]
  seen = [f"- {NAMES[case]}: {notes.get(case, 'not measured.')}" for case in NAMES]
  parts = [
    _HEAD,
    verdict(results),
    notes.get("result", ""),
    "![Content and motion variance of each case over iterations, on logarithmic axes]"
    "(collapse.png)",
    _markdown(summary(results)),
    f"Measured until {last}, jax {versions['jax']}, {head['cpu']}, on {head['cores']} "
    f"core{'s' if head['cores'] > 1 else ''}. \"Holds at\" counts measurements. One run of each "
    "case and seed: where runs differ by a measurement or two, another seed may order them "
    "otherwise.",
    method,
    "## What the clips show, by eye",
    "![Rows of frames: real clips, then each case at half and the end of its run]"
    "(collapse_clips.png)",
    "Seven clips in a row, the first and the ninth frame of each. In generated rows, the first "
    "four clips have different contents and the same motion; the last three have the content of "
    "the first clip and other motions. A generator that ignores its content code draws the first "
    "four alike. The file has few colours, so those of the real clips are not exact.",
    "\n".join(seen),
    "## All measurements",
    "Content variance, motion variance:",
    _markdown(_series(results)),
    "The same of means over squares of 8x8 pixels:",
    _markdown(_series(results, "coarse_")),
  ]  # fmt: skip
  return "\n\n".join(part.strip() for part in parts) + "\n"


def write(path: pathlib.Path, output: pathlib.Path, docs: pathlib.Path) -> None:
  """Writes the page and its pictures.

  Args:
    path: collapse.jsonl.
    output: folder of the runs; the picture of clips is drawn only if their clips are there.
    docs: folder of the page.

  Raises:
    UserError: nothing is measured yet.
  """
  results = latest(lines(path))
  if not results:
    raise UserError(f"{path} has no results yet")
  draw(results, docs / "collapse.png")
  if rows := shown(results, output):
    pictures.write_sheet(rows, docs / "collapse_clips.png", every=_EVERY_FRAME)
  notes = json.loads(_NOTES.read_text(encoding="utf-8"))
  text = page(results, notes)
  (docs / "collapse.md").write_text(text, encoding="utf-8")
  door.report(f"written: {docs / 'collapse.md'}")
