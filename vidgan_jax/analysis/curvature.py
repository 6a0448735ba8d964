"""Curvature and gradient norms of a run's discriminators over training: files and plots.

Plots are like Figures 1-4 and 6 of "Lower Dimensional Kernels for Video Discriminators" (Kahembwe &
Ramamoorthy 2020).
"""

import dataclasses
import itertools
import json
import math
import os
import pathlib

from vidgan_jax.analysis import gradients, hessian
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.runtime import configuration, json_files, locks
from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.progress import ticking

FOLDER = "analysis"  # of a run
FILES = {"hessian": "hessian.json", "gradients": "gradient_norms.json"}
_RECORD = {"step": range(0, 2**63), "discriminator": str}
_FORMS = {
  "hessian": _RECORD
  | {"eigenvalues": [float], "residuals": [float], "largest": float, "smallest": float},
  "gradients": _RECORD | {"layers": {str: {"real": float, "generated": float}}},
}


@dataclasses.dataclass(frozen=True)
class Options:
  """How to look.

  Attributes:
    batch_size: clips of the fixed batch.
    eigenvalues: how many.
    products: Hessian-vector products at most, and vectors kept.
    seed: of the batch, of what is random and of Lanczos' first vector.
  """

  batch_size: int = 16
  eigenvalues: int = 10
  products: int = 60
  seed: int = 0

  def __post_init__(self):
    """UserError where fewer products are asked for than eigenvalues: each product gives one."""
    if self.eigenvalues > self.products:
      raise UserError(
        f"{self.eigenvalues} eigenvalues need at least as many products, not {self.products}"
      )

  def settings(self, what: str, config, source) -> dict:
    """All that records of `what` depend on besides the state."""
    found = {
      "batch_size": self.batch_size,
      "seed": self.seed,
      "data": source.description()["checksum"],
      "config": configuration.identity(config),
    }
    if what == "hessian":
      found |= {"eigenvalues": self.eigenvalues, "products": self.products}
    return found


def fixed_batch(source, batch_size: int, seed: int) -> dict:
  """The same clips at every iteration: the first `batch_size` of an order of their own."""
  return {name: a[0] for name, a in Batches(source, batch_size, 1, seed)(0).items()}


def spectrum_record(gan, state, batch, name, options, *, frozen=None, stop=None) -> dict:
  """Leading eigenvalues of one discriminator as a record of `hessian.json`.

  Args:
    gan, state, batch, name, frozen: see `hessian.spectrum`.
    options: see `Options`.
    stop: see `hessian.lanczos`.

  Returns:
    {"step", "discriminator", "eigenvalues", "residuals", "largest", "smallest", "end_residuals",
    "products", "converged"}; see `hessian.Spectrum`.
  """
  found = hessian.spectrum(
    gan,
    state,
    batch,
    name,
    seed=options.seed,
    frozen=frozen,
    count=options.eigenvalues,
    iterations=options.products,
    stop=stop,
  )
  return {
    "step": int(state.step),
    "discriminator": name,
    "eigenvalues": found.eigenvalues.tolist(),
    "residuals": found.residuals.tolist(),
    "largest": found.largest,
    "smallest": found.smallest,
    "end_residuals": found.end_residuals,
    "products": found.iterations,
    "converged": found.converged,
  }


def gradient_record(gan, state, batch, name, options, *, frozen=None, stop=None) -> dict:
  """Gradient norms of one discriminator as a record of `gradient_norms.json`.

  Raises:
    hessian.NotFinite: a norm is not, which JSON could not hold.
  """
  del stop
  layers = gradients.norms(gan, state, batch, name, seed=options.seed, frozen=frozen)
  for layer, sides in layers.items():
    if not all(map(math.isfinite, sides.values())):
      raise hessian.NotFinite(
        f"the gradient of {name}'s loss is not finite, by the weights of {layer} for one; are the "
        "checkpoint's weights finite?"
      )
  return {"step": int(state.step), "discriminator": name, "layers": layers}


_MAKE = {"hessian": spectrum_record, "gradients": gradient_record}


def read(path, what: str = "hessian") -> dict:
  """Reads {"settings": {...}, "records": [...]}; UserError where `path` does not hold that."""
  try:
    found = json_files.read(path, {"settings": dict, "records": [_FORMS[what]]})
  except FileNotFoundError as error:
    raise UserError(f"{path} is not there; vidgan_jax.analyze --what={what} writes it") from error
  for record in found["records"] if what == "hessian" else ():
    if len(record["eigenvalues"]) != len(record["residuals"]):
      raise UserError(f"{path}: malformed (a record has other eigenvalues than residuals)")
  return found


def check_settings(path, what: str, settings: dict) -> None:
  """UserError where `path` holds records of other settings: they would not compare."""
  if not pathlib.Path(path).exists():
    return
  before = read(path, what)["settings"]
  for name in sorted({*before, *settings}):
    if before.get(name) != settings.get(name):
      raise UserError(
        f"{path} holds records of {name} {before.get(name)}, not {settings.get(name)}; choose "
        "another folder (--output) or the same settings"
      )


def _write(path, settings, records) -> None:
  temporary = path.with_suffix(".tmp")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(
      json.dumps({"settings": settings, "records": records}, indent=1) + "\n", encoding="utf-8"
    )
    os.replace(temporary, path)
  except OSError as error:
    raise UserError(f"cannot write {path}: {error}") from error


def add(path, what: str, settings: dict, records: list[dict]) -> list[dict]:
  """Puts records into a file and its plot, in place of those of the same step and discriminator.

  Args:
    path: of the file.
    what: "hessian" or "gradients".
    settings: see `Options.settings`.
    records: of `what`.

  Returns:
    all records, by step.

  Raises:
    UserError: see `check_settings`, and where the file cannot be written.
  """
  path = pathlib.Path(path)
  # A run's hook and `analyze` may add to one file at a time.
  with locks.held(path.parent, f"write {path}", wait=True):
    check_settings(path, what, settings)
    known = read(path, what)["records"] if path.exists() else []
    key = lambda record: (record["step"], record["discriminator"])
    merged = {key(record): record for record in [*known, *records]}
    merged = [merged[k] for k in sorted(merged)]
    _write(path, settings, merged)
    _PLOT[what](merged, path.with_suffix(".png"))
  return merged


def drop_after(path, what: str, settings: dict, step: int) -> None:
  """Drops the records after `step`, for a run that resumes there and will write them again.

  Renames a file that holds records of other settings, or that cannot be read.

  Args:
    path: of the file.
    what: "hessian" or "gradients".
    settings: see `Options.settings`.
    step: number of iterations.
  """
  if not path.exists():
    return
  with locks.held(path.parent, f"write {path}", wait=True):
    _drop_later_records(path, what, settings, step)


def _drop_later_records(path, what, settings, step) -> None:
  """See `drop_after`; the caller holds the lock."""
  try:
    check_settings(path, what, settings)
    records = read(path, what)["records"]
  except UserError:
    aside = (path.with_suffix(f".{n}.json") for n in itertools.count(1))
    path.rename(next(other for other in aside if not other.exists()))
    return
  _write(path, settings, [record for record in records if record["step"] <= step])


def _save(figure, output) -> None:
  output = pathlib.Path(output)
  temporary = output.with_name(f".{output.name}")
  try:
    figure.savefig(temporary, format="png", dpi=90)
    os.replace(temporary, output)
  except OSError as error:
    raise UserError(f"cannot write {output}: {error}") from error


def _panels(count, share=False):
  from matplotlib.figure import Figure  # takes a second to import, and only plots need it

  figure = Figure(figsize=(6 * count, 4.2), layout="constrained")
  return figure, figure.subplots(1, count, squeeze=False, sharey=share)[0]


def _by_discriminator(records) -> dict[str, list[dict]]:
  names = sorted({record["discriminator"] for record in records})
  return {name: [r for r in records if r["discriminator"] == name] for name in names}


def _draw_spectra(panels, titled: dict[str, list[dict]]) -> None:
  """One panel of eigenvalues over training for each list of records, all on one scale."""
  magnitudes = sorted(abs(v) for rs in titled.values() for r in rs for v in r["eigenvalues"] if v)
  typical = magnitudes[len(magnitudes) // 2] if magnitudes else 1.0
  for axes, (title, records) in zip(panels, titled.items(), strict=True):
    for sign, color in ((1, "tab:blue"), (-1, "tab:red")):
      for found, face in ((True, color), (False, "none")):
        points = [
          (record["step"], value)
          for record in records
          for value, residual in zip(record["eigenvalues"], record["residuals"], strict=True)
          if value * sign > 0 and (residual <= hessian.TOLERANCE * abs(value)) == found
        ]
        if points:
          axes.plot(*zip(*points, strict=True), "o", color=color, markersize=3, mfc=face)
    steps = [record["step"] for record in records]
    for end in ("largest", "smallest"):
      axes.plot(steps, [record[end] for record in records], "-", color="0.6", linewidth=0.8)
    largest, smallest = (
      max(r["largest"] for r in records),
      min(r["smallest"] for r in records),
    )
    below = rf"$\lambda^-$ = {smallest:.3g}" if smallest < 0 else r"no $\lambda^-$ found"
    axes.set_title(rf"{title}" "\n" rf"$\lambda^+$ = {largest:.3g}, {below}", fontsize=10)
    axes.set_yscale("symlog", linthresh=10.0 ** math.floor(math.log10(typical) - 1))
    axes.axhline(0, color="0.85", linewidth=0.8)
    axes.set_xlabel("iteration")
  panels[0].set_ylabel("eigenvalues of the loss's Hessian")


@plain_style
def plot_spectra(records: list[dict], output) -> None:
  """Draws the leading eigenvalues over training, a panel for each discriminator (Figures 2-4, 6).

  Hollow points have not converged (their residuals are above `hessian.TOLERANCE` of them); gray
  lines are the ends of the spectrum.

  Args:
    records: of `hessian.json`, at least one.
    output: the PNG to write.
  """
  found = _by_discriminator(records)
  figure, panels = _panels(len(found), share=True)
  _draw_spectra(panels, found)
  _save(figure, output)


@plain_style
def plot_comparison(runs: dict[str, list[dict]], output) -> None:
  """Draws the eigenvalues of several runs' discriminators on one scale, and the leading ones.

  Args:
    runs: {name: records of its `hessian.json`}, at least one each.
    output: the PNG to write.
  """
  titled = {
    f"{run}: {name}": own
    for run, records in runs.items()
    for name, own in _by_discriminator(records).items()
  }
  figure, (axes, *panels) = _panels(len(titled) + 1)
  for title, records in titled.items():
    leading = [max(map(abs, record["eigenvalues"]), default=math.nan) for record in records]
    axes.plot([r["step"] for r in records], leading, ".-", linewidth=1, label=title)
  axes.set_yscale("log")
  axes.set_xlabel("iteration")
  axes.set_title("largest magnitude among the Hessian's eigenvalues", fontsize=10)
  axes.legend(fontsize=8)
  for panel in panels[1:]:
    panel.sharey(panels[0])
  _draw_spectra(panels, titled)
  _save(figure, output)


@plain_style
def plot_gradients(records: list[dict], output) -> None:
  """Draws gradient norms by layer for real and for generated clips (Figure 1).

  Layers in the order in which they are called; the last iteration in full colour, those before it
  fainter.

  Args:
    records: of `gradient_norms.json`, at least one.
    output: the PNG to write.
  """
  found = _by_discriminator(records)
  figure, panels = _panels(len(found))
  for axes, (name, own) in zip(panels, found.items(), strict=True):
    layers = list(own[-1]["layers"])
    for record in own:
      last = record is own[-1]
      for side, color in (("real", "tab:green"), ("generated", "tab:purple")):
        norms = [record["layers"].get(layer, {}).get(side, math.nan) for layer in layers]
        label = f"{side}, iteration {record['step']}" if last else None
        axes.plot(norms, ".-", color=color, alpha=1 if last else 0.2, linewidth=1, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    axes.set_title(f"{name}: norm of the gradient", fontsize=10)
    axes.legend(fontsize=8)
  _save(figure, output)


_PLOT = {"hessian": plot_spectra, "gradients": plot_gradients}


def analyse(
  gan, config, state, source, folder, names, options, *, what, frozen=None, stop=None
) -> list[pathlib.Path]:
  """Looks at one state's discriminators and adds what it finds to the files in `folder`.

  Args:
    gan: from `hessian.for_analysis`.
    config: of the run.
    state: a `TrainState`.
    source: the data of the fixed batch.
    folder: where the JSON files and their plots are.
    names: of the discriminators.
    options: see `Options`.
    what: of "hessian" and "gradients", those to look at.
    frozen: see `contract.Context`.
    stop: see `hessian.lanczos`.

  Returns:
    the files written.

  Raises:
    UserError: on an unknown discriminator, files that cannot be added to, or a state that is not
      finite.
    hessian.Abandoned: where `stop` said so; what was found before is written.
  """
  for name in names:
    hessian.check_name(gan, name)
  paths = {each: pathlib.Path(folder) / FILES[each] for each in what}
  settings = {each: options.settings(each, config, source) for each in what}
  for each, path in paths.items():
    check_settings(path, each, settings[each])
  try:
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # known now, not after minutes of products
      raise PermissionError("no permission")
  except OSError as error:
    raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
  batch = fixed_batch(source, options.batch_size, options.seed)
  written = []
  for each, path in paths.items():
    for name in names:
      with ticking(f"{each} of {name} after iteration {int(state.step)}"):
        record = _MAKE[each](gan, state, batch, name, options, frozen=frozen, stop=stop)
      add(path, each, settings[each], [record])
    written += [path, path.with_suffix(".png")]
  return written
