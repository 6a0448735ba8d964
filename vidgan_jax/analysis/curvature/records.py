"""Files with the curvature and gradient norms of a run's discriminators over training."""

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
  """Options of the analyses.

  Attributes:
    batch_size: number of clips in the fixed batch.
    eigenvalues: number of leading eigenvalues.
    products: maximum number of Hessian-vector products, and of vectors in memory.
    seed: of the batch, the latents, the frames and crops that discriminators see, the noise, and
      Lanczos' first vector.
  """

  batch_size: int = 16
  eigenvalues: int = 10
  products: int = 60
  seed: int = 0

  def __post_init__(self):
    """Raises UserError for fewer products than eigenvalues: a product adds one eigenvalue."""
    if self.eigenvalues > self.products:
      raise UserError(
        f"{self.eigenvalues} eigenvalues need at least as many products, not {self.products}"
      )

  def settings(self, what: str, config, source) -> dict:
    """The settings that records of the analysis `what` depend on besides the state."""
    settings = {
      "batch_size": self.batch_size,
      "seed": self.seed,
      "data": source.description()["checksum"],
      "config": stored_config.identity(config),
    }
    if what == "hessian":
      settings |= {"eigenvalues": self.eigenvalues, "products": self.products}
    return settings


def fixed_batch(source, batch_size: int, seed: int) -> dict:
  """The same clips at every iteration: the first `batch_size` of the source shuffled by `seed`."""
  return {name: a[0] for name, a in Batches(source, batch_size, 1, seed)(0).items()}


def spectrum_record(gan, state, batch, name, options, *, frozen=None, stop=None) -> dict:
  """Computes the leading eigenvalues of one discriminator, as a record of `hessian.json`.

  Args:
    gan, state, batch, name, frozen: see `hessian.spectrum`.
    options: see `Options`.
    stop: see `hessian.lanczos`.

  Returns:
    {"step", "discriminator", "eigenvalues", "residuals", "largest", "smallest", "end_residuals",
    "products", "converged"}; see `hessian.Spectrum`.
  """
  spectrum = hessian.spectrum(
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
    "eigenvalues": spectrum.eigenvalues.tolist(),
    "residuals": spectrum.residuals.tolist(),
    "largest": spectrum.largest,
    "smallest": spectrum.smallest,
    "end_residuals": spectrum.end_residuals,
    "products": spectrum.iterations,
    "converged": spectrum.converged,
  }


def gradient_record(gan, state, batch, name, options, *, frozen=None, stop=None) -> dict:
  """Computes the gradient norms of one discriminator, as a record of `gradient_norms.json`.

  Args:
    gan, state, batch, name, frozen: see `gradients.norms`.
    options: see `Options`.
    stop: unused; all analyses have the same arguments.

  Raises:
    hessian.NotFinite: a norm is not finite. JSON has no such numbers.
  """
  del stop
  layers = gradients.norms(gan, state, batch, name, seed=options.seed, frozen=frozen)
  for layer, sides in layers.items():
    if not all(map(math.isfinite, sides.values())):
      raise hessian.NotFinite(
        f"the gradient of {name}'s loss with respect to the weights of {layer} is not finite; are "
        "the checkpoint's weights finite?"
      )
  return {"step": int(state.step), "discriminator": name, "layers": layers}


_MAKE = {"hessian": spectrum_record, "gradients": gradient_record}


def read(path, what: str = "hessian") -> dict:
  """Reads a file of records of the analysis `what`.

  Returns:
    {"settings": {...}, "records": [...]}.

  Raises:
    UserError: the file does not exist or has another form.
  """
  try:
    content = json_files.read(path, {"settings": dict, "records": [_FORMS[what]]})
  except FileNotFoundError as error:
    raise UserError(f"{path} does not exist; vidgan analyze --what={what} writes it") from error
  for record in content["records"] if what == "hessian" else ():
    if len(record["eigenvalues"]) != len(record["residuals"]):
      raise UserError(f"{path}: malformed (a record has not as many residuals as eigenvalues)")
  return content


def check_settings(path, what: str, settings: dict) -> None:
  """Raises UserError if `path` has records of other settings, which cannot be compared."""
  if not pathlib.Path(path).exists():
    return
  stored = read(path, what)["settings"]
  for name in sorted({*stored, *settings}):
    if stored.get(name) != settings.get(name):
      raise UserError(
        f"{path} has records with {name} {stored.get(name)}, not {settings.get(name)}; choose "
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
  """Adds records to a file and draws its plot again.

  New records replace earlier ones of the same step and discriminator.

  Args:
    path: of the JSON file. The plot is next to it, with the suffix .png.
    what: "hessian" or "gradients".
    settings: see `Options.settings`.
    records: of the analysis `what`.

  Returns:
    all records of the file, by step.

  Raises:
    UserError: the file has other settings, see `check_settings`, or cannot be written.
  """
  path = pathlib.Path(path)
  # The hook of a running training and `analyze` may write to the same file.
  with locks.held(path.parent, f"write {path}", wait=True):
    check_settings(path, what, settings)
    earlier = read(path, what)["records"] if path.exists() else []
    key = lambda record: (record["step"], record["discriminator"])
    merged = {key(record): record for record in [*earlier, *records]}
    merged = [merged[k] for k in sorted(merged)]
    _write(path, settings, merged)
    _PLOT[what](merged, path.with_suffix(".png"))
  return merged


def drop_after(path, what: str, settings: dict, step: int) -> None:
  """Drops the records after `step`: a run that resumes there writes them again.

  A file with other settings, or one that cannot be read, is renamed and kept.

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
  """Does the work of `drop_after`; the caller holds the lock."""
  try:
    check_settings(path, what, settings)
    records = read(path, what)["records"]
  except UserError:
    backups = (path.with_suffix(f".{n}.json") for n in itertools.count(1))
    path.rename(next(backup for backup in backups if not backup.exists()))
    return
  _write(path, settings, [record for record in records if record["step"] <= step])


_PLOT = {"hessian": plots.spectra, "gradients": plots.gradients}


def analyze(
  gan, config, state, source, folder, names, options, *, what, frozen=None, stop=None
) -> list[pathlib.Path]:
  """Analyzes the discriminators of one state and adds the records to the files in `folder`.

  Args:
    gan: from `hessian.for_analysis`.
    config: of the run.
    state: a `TrainState`.
    source: data from which the fixed batch is read.
    folder: folder of the JSON files and their plots.
    names: of the discriminators.
    options: see `Options`.
    what: analyses to run, "hessian", "gradients" or both.
    frozen: see `contract.Context`.
    stop: see `hessian.lanczos`.

  Returns:
    the files written.

  Raises:
    UserError: on an unknown discriminator, files that cannot be added to, or a state that is not
      finite.
    hessian.Abandoned: `stop` returned true. Records that were complete by then are written.
  """
  for name in names:
    hessian.check_name(gan, name)
  paths = {each: pathlib.Path(folder) / FILES[each] for each in what}
  settings = {each: options.settings(each, config, source) for each in what}
  for each, path in paths.items():
    check_settings(path, each, settings[each])
  try:
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # checked first: the products take minutes
      raise PermissionError("no permission")
  except OSError as error:
    raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
  gan = gan.at_step(int(state.step))
  batch = fixed_batch(source, options.batch_size, options.seed)
  written = []
  for each, path in paths.items():
    for name in names:
      with ticking(f"{each} of {name} after iteration {int(state.step)}"):
        record = _MAKE[each](gan, state, batch, name, options, frozen=frozen, stop=stop)
      add(path, each, settings[each], [record])
    written += [path, path.with_suffix(".png")]
  return written
