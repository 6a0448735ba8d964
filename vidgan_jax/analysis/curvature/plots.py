"""Plots of curvature and gradient norms over training.

They correspond to Figures 1-4 and 6 of "Lower Dimensional Kernels for Video Discriminators"
(Kahembwe & Ramamoorthy 2020).
"""

import math
import os
import pathlib

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.runtime.drawing import plain_style
from vidgan_jax.runtime.errors import UserError


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


def _draw_spectra(panels, records_by_title: dict[str, list[dict]]) -> None:
  """Draws eigenvalues over training, one panel per list of records, all on the same scale."""
  all_records = [record for records in records_by_title.values() for record in records]
  magnitudes = sorted(abs(v) for record in all_records for v in record["eigenvalues"] if v)
  typical = magnitudes[len(magnitudes) // 2] if magnitudes else 1.0
  for axes, (title, records) in zip(panels, records_by_title.items(), strict=True):
    for sign, color in ((1, "tab:blue"), (-1, "tab:red")):
      for converged, face in ((True, color), (False, "none")):
        points = [
          (record["step"], value)
          for record in records
          for value, residual in zip(record["eigenvalues"], record["residuals"], strict=True)
          if value * sign > 0 and (residual <= hessian.TOLERANCE * abs(value)) == converged
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
def spectra(records: list[dict], output) -> None:
  """Draws the leading eigenvalues over training, one panel per discriminator (Figures 2-4, 6).

  Hollow points have not converged: their residual is above `hessian.TOLERANCE` times their
  magnitude. Gray lines show the largest and the smallest eigenvalue.

  Args:
    records: of `hessian.json`, at least one.
    output: path of the PNG to write.
  """
  by_discriminator = _by_discriminator(records)
  figure, panels = _panels(len(by_discriminator), share=True)
  _draw_spectra(panels, by_discriminator)
  _save(figure, output)


@plain_style
def comparison(runs: dict[str, list[dict]], output) -> None:
  """Draws the eigenvalues of the discriminators of several runs.

  The first panel compares the largest magnitude among the eigenvalues of all discriminators. Then
  each discriminator has a panel with its eigenvalues, all on the same scale.

  Args:
    runs: {name: records of its `hessian.json`}, at least one record per run.
    output: path of the PNG to write.
  """
  records_by_title = {
    f"{run}: {name}": of_discriminator
    for run, records in runs.items()
    for name, of_discriminator in _by_discriminator(records).items()
  }
  figure, (axes, *panels) = _panels(len(records_by_title) + 1)
  for title, records in records_by_title.items():
    leading = [max(map(abs, record["eigenvalues"]), default=math.nan) for record in records]
    axes.plot([r["step"] for r in records], leading, ".-", linewidth=1, label=title)
  axes.set_yscale("log")
  axes.set_xlabel("iteration")
  axes.set_title("largest magnitude among the Hessian's eigenvalues", fontsize=10)
  axes.legend(fontsize=8)
  for panel in panels[1:]:
    panel.sharey(panels[0])
  _draw_spectra(panels, records_by_title)
  _save(figure, output)


@plain_style
def gradients(records: list[dict], output) -> None:
  """Draws gradient norms by layer for real and for generated clips (Figure 1).

  Layers are in the order in which the discriminator calls them. The last iteration has full colour,
  earlier ones are fainter.

  Args:
    records: of `gradient_norms.json`, at least one.
    output: path of the PNG to write.
  """
  by_discriminator = _by_discriminator(records)
  figure, panels = _panels(len(by_discriminator))
  for axes, (name, of_discriminator) in zip(panels, by_discriminator.items(), strict=True):
    layers = list(of_discriminator[-1]["layers"])
    for record in of_discriminator:
      last = record is of_discriminator[-1]
      for side, color in (("real", "tab:green"), ("generated", "tab:purple")):
        norms = [record["layers"].get(layer, {}).get(side, math.nan) for layer in layers]
        label = f"{side}, iteration {record['step']}" if last else None
        axes.plot(norms, ".-", color=color, alpha=1 if last else 0.2, linewidth=1, label=label)
    axes.set_yscale("log")
    axes.set_xticks(range(len(layers)), layers, rotation=90, fontsize=7)
    axes.set_title(f"{name}: norm of the gradient", fontsize=10)
    axes.legend(fontsize=8)
  _save(figure, output)
