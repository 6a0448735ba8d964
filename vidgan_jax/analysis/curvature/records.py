"""Curvature and gradient norms of a run's discriminators over training: the files."""

import dataclasses
import itertools
import json
import math
import os
import pathlib

from vidgan_jax.analysis.curvature import gradients, hessian, plots
from vidgan_jax.data.pipeline import Batches
from vidgan_jax.models import stored_config
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, locks
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
      "config": stored_config.identity(config),
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


_PLOT = {"hessian": plots.spectra, "gradients": plots.gradients}


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
