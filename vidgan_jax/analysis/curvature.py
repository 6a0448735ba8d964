"""Curvature and gradient norms of a run's discriminators over training: files, plots, a hook.

Plots are like Figures 1-4 and 6 of "Lower Dimensional Kernels for Video Discriminators" (Kahembwe &
Ramamoorthy 2020).
"""

import json
import math
import os
import pathlib
import re

import numpy as np

from vidgan_jax.analysis import gradients, hessian
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.runtime.errors import UserError

FOLDER = "analysis"  # of a run
HESSIAN = "hessian.json"
GRADIENTS = "gradient_norms.json"


def fixed_batch(source, batch_size: int, seed: int) -> dict:
  """The same clips at every iteration: the first `batch_size` of an order of their own."""
  return {name: a[0] for name, a in Batches(source, batch_size, 1, seed)(0).items()}


def spectrum_record(gan, state, batch, name, *, seed, frozen=None, count=10, products=60) -> dict:
  """Leading eigenvalues of one discriminator as a record of `hessian.json`; see `hessian.spectrum`.

  Args:
    gan, state, batch, name, seed, frozen: see `hessian.spectrum`.
    count: how many eigenvalues.
    products: Hessian-vector products at most.

  Returns:
    {"step", "discriminator", "eigenvalues", "residuals", "largest", "smallest", "products"}.
  """
  found = hessian.spectrum(
    gan, state, batch, name, seed=seed, frozen=frozen, count=count, iterations=products
  )
  return {
    "step": int(state.step),
    "discriminator": name,
    "eigenvalues": found.eigenvalues.tolist(),
    "residuals": found.residuals.tolist(),
    "largest": found.largest,
    "smallest": found.smallest,
    "products": found.iterations,
  }


def gradient_record(gan, state, batch, name, *, seed, frozen=None) -> dict:
  """Gradient norms of one discriminator as a record of `gradient_norms.json`."""
  layers = gradients.norms(gan, state, batch, name, seed=seed, frozen=frozen)
  return {"step": int(state.step), "discriminator": name, "layers": layers}


def read(path) -> dict:
  """Reads {"settings": {...}, "records": [...]}; UserError where `path` is none."""
  try:
    found = json.loads(pathlib.Path(path).read_text())
    found["settings"], found["records"] = dict(found["settings"]), list(found["records"])
    return found
  except FileNotFoundError as error:
    raise UserError(f"{path} is not there; --what=hessian writes it") from error
  except (OSError, ValueError, KeyError, TypeError) as error:
    raise UserError(f"cannot read {path}: {error}") from error


def check_settings(path, settings: dict) -> None:
  """UserError where `path` holds records of other settings: they would not compare."""
  if not pathlib.Path(path).exists():
    return
  before = read(path)["settings"]
  for name, value in settings.items():
    if before.get(name) != value:
      raise UserError(
        f"{path} holds records of {name} {before.get(name)}, not {value}; choose another --output"
      )


def add(path, settings: dict, records: list[dict]) -> list[dict]:
  """Puts records into a file, in place of those of the same step and discriminator.

  Returns:
    all records, by step.

  Raises:
    UserError: see `check_settings`, and where the file cannot be written.
  """
  path = pathlib.Path(path)
  check_settings(path, settings)
  known = read(path)["records"] if path.exists() else []
  key = lambda record: (record["step"], record["discriminator"])
  merged = {key(record): record for record in [*known, *records]}
  merged = [merged[k] for k in sorted(merged)]
  temporary = path.with_suffix(".tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps({"settings": settings, "records": merged}, indent=1) + "\n")
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"cannot write {path}: {error}") from error
  return merged


def _save(figure, output) -> None:
  output = pathlib.Path(output)
  temporary = output.with_name(f".{output.name}")
  try:
    figure.savefig(temporary, format="png", dpi=90)
    os.replace(temporary, output)
  except OSError as error:
    raise UserError(f"cannot write {output}: {error}") from error


def _panels(count, width=6.5, height=4.2):
  from matplotlib.figure import Figure  # takes a second to import, and only plots need it

  figure = Figure(figsize=(width * count, height), layout="constrained")
  return figure, figure.subplots(1, count, squeeze=False)[0]


def plot_spectra(records: list[dict], output) -> None:
  """Draws the leading eigenvalues over training, a panel for each discriminator (Figures 2-4, 6).

  Args:
    records: of `hessian.json`.
    output: the PNG to write.
  """
  names = sorted({record["discriminator"] for record in records})
  figure, panels = _panels(len(names))
  for axes, name in zip(panels, names, strict=True):
    own = [record for record in records if record["discriminator"] == name]
    points = [(r["step"], value) for r in own for value in r["eigenvalues"]]
    steps, values = (np.array(column) for column in zip(*points, strict=True))
    for sign, color in ((1, "tab:blue"), (-1, "tab:red")):
      chosen = np.sign(values) == sign
      axes.plot(steps[chosen], values[chosen], ".", color=color, markersize=4, alpha=0.7)
    largest, smallest = (max(r["largest"] for r in own), min(r["smallest"] for r in own))
    count = max(len(r["eigenvalues"]) for r in own)
    axes.set_title(
      f"{name}: {count} leading eigenvalues\n"
      rf"$\lambda^+$ = {largest:.3g}, $\lambda^-$ = {smallest:.3g}"
    )
    typical = np.median(np.abs(values[values != 0])) if np.any(values) else 1.0
    axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(typical) - 1))
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set_xlabel("iteration")
    axes.set_ylabel("eigenvalue of the loss's Hessian")
  _save(figure, output)


def plot_comparison(runs: dict[str, list[dict]], output) -> None:
  """Draws the leading eigenvalue's magnitude of several runs' discriminators over training.

  Args:
    runs: {name: records of its `hessian.json`}.
    output: the PNG to write.
  """
  figure, (axes,) = _panels(1, width=8)
  for run, records in runs.items():
    for name in sorted({record["discriminator"] for record in records}):
      own = [record for record in records if record["discriminator"] == name]
      leading = [abs(record["eigenvalues"][0]) for record in own]
      axes.plot([r["step"] for r in own], leading, ".-", linewidth=1, label=f"{run}: {name}")
  axes.set_yscale("log")
  axes.set_xlabel("iteration")
  axes.set_ylabel("largest magnitude of the Hessian's eigenvalues")
  axes.legend(fontsize=8)
  _save(figure, output)


def _natural(layer: str):
  return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", layer)]


def plot_gradients(records: list[dict], output) -> None:
  """Draws gradient norms by layer for real and for generated clips (Figure 1).

  The last iteration in full colour, those before it fainter.

  Args:
    records: of `gradient_norms.json`.
    output: the PNG to write.
  """
  names = sorted({record["discriminator"] for record in records})
  figure, panels = _panels(len(names))
  for axes, name in zip(panels, names, strict=True):
    own = [record for record in records if record["discriminator"] == name]
    layers = sorted(own[-1]["layers"], key=_natural)
    for record in own:
      last = record is own[-1]
      for side, color in (("real", "tab:green"), ("generated", "tab:purple")):
        norms = [record["layers"].get(layer, {}).get(side, math.nan) for layer in layers]
        label = f"{side}, iteration {record['step']}" if last else None
        axes.plot(norms, ".-", color=color, alpha=1 if last else 0.2, linewidth=1, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    axes.set_title(f"{name}: norm of the gradient")
    axes.legend(fontsize=8)
  _save(figure, output)


def analyse(
  gan, state, source, folder, names, *, what, batch_size, seed=0, frozen=None, count=10, products=60
) -> list[pathlib.Path]:
  """Looks at one state's discriminators and adds what it finds to the files in `folder`.

  Args:
    gan: from `hessian.for_analysis`.
    state: a `TrainState`.
    source: the data of the fixed batch.
    folder: where the JSON files and their plots are.
    names: of the discriminators.
    what: of "hessian" and "gradients", those to look at.
    batch_size: clips.
    seed: of the batch, of what is random and of Lanczos' first vector.
    frozen: see `contract.Context`.
    count, products: see `spectrum_record`.

  Returns:
    the files written.

  Raises:
    UserError: on an unknown discriminator, or files that cannot be added to.
  """
  for name in names:
    hessian.check_name(gan, name)
  folder = pathlib.Path(folder)
  settings = {"batch_size": batch_size, "seed": seed, "checksum": source.description()["checksum"]}
  files = {"hessian": folder / HESSIAN, "gradients": folder / GRADIENTS}
  for each in what:
    check_settings(files[each], settings)
  batch = fixed_batch(source, batch_size, seed)
  held = dict(seed=seed, frozen=frozen)
  written = []
  for each in what:
    if each == "hessian":
      make = lambda name: spectrum_record(
        gan, state, batch, name, **held, count=count, products=products
      )
      plot = plot_spectra
    else:
      make = lambda name: gradient_record(gan, state, batch, name, **held)
      plot = plot_gradients
    records = add(files[each], settings, [make(name) for name in names])
    picture = files[each].with_suffix(".png")
    plot(records, picture)
    written += [files[each], picture]
  return written


class CurvatureHook:
  """Looks at all discriminators every so often while a run trains; writes into `analysis/`.

  A hook of the training loop by its methods. The iteration before a run's first is looked at too.

  Args:
    options: `config.analysis`: every (iterations; 0 never looks), batch_size, eigenvalues,
      products.
  """

  def __init__(self, options):
    self.options = options
    self._gan = None

  def due(self, step, last) -> bool:
    """At every `every`-th iteration and at the last."""
    return bool(self.options.every and (last or step % self.options.every == 0))

  def before_save(self, moment) -> None:
    """Looks."""
    if self._gan is None:
      self._gan = hessian.for_analysis(moment.config)
    analyse(
      self._gan,
      moment.state,
      moment.source,
      moment.workdir / FOLDER,
      sorted(self._gan.discriminators),
      what=("hessian", "gradients"),
      batch_size=self.options.batch_size,
      frozen=moment.frozen,
      count=self.options.eigenvalues,
      products=self.options.products,
    )

  def metrics(self, step, metrics) -> None:
    """Looks at no metrics."""

  def replay(self, step, metrics) -> None:
    """Looks at no metrics."""

  def healthy(self) -> bool:
    """Suspects nothing."""
    return True
