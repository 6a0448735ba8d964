"""One request to look into runs, from their folders to files."""

import dataclasses
import pathlib
from collections.abc import Sequence

from vidgan_jax.analysis import curvature, hessian
from vidgan_jax.data.build import build_source
from vidgan_jax.models import contract
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import state as states

WHAT = ("hessian", "gradients", "compare")


@dataclasses.dataclass(frozen=True)
class Request:
  """What is asked for; see the flags of `vidgan_jax.analyze`."""

  workdirs: Sequence[str]
  what: Sequence[str] = ("hessian",)
  output: str | None = None
  discriminators: Sequence[str] | None = None
  checkpoint: int | None = None
  every_checkpoint: bool = False
  batch_size: int = 16
  eigenvalues: int = 10
  products: int = 60
  seed: int = 0
  data_directory: str | None = None


def fulfil(request: Request, report=print) -> list[str]:
  """Looks and writes; returns lines that say where the files are.

  Raises:
    UserError: on bad input, or where the files cannot be written.
  """
  for what in request.what:
    contract.check("--what", what, WHAT)
  if not request.what or not all(request.workdirs):
    raise UserError("--what and --workdir must name something")
  if "compare" in request.what:
    return _compare(request)
  if len(request.workdirs) > 1:
    raise UserError("several runs are for --what=compare; the others look at one")
  if request.every_checkpoint and request.checkpoint is not None:
    raise UserError("either --checkpoint or --every_checkpoint")
  (workdir,) = request.workdirs
  folder = pathlib.Path(request.output or pathlib.Path(workdir) / curvature.FOLDER)
  steps = [request.checkpoint]
  if request.every_checkpoint:
    steps = Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS, report=report).steps() or [None]
  gan = source = frozen = None
  files = []
  for step in steps:
    config, _, state = states.load(workdir, step, report=report)
    if gan is None:
      gan = hessian.for_analysis(config)
      frozen = states.frozen_variables(gan, report=report)
      source = _source(config, gan, request.data_directory, report)
    names = request.discriminators or sorted(gan.discriminators)
    report(f"looking at {', '.join(names)} after iteration {int(state.step)}")
    files = curvature.analyse(
      gan,
      state,
      source,
      folder,
      names,
      what=request.what,
      batch_size=request.batch_size,
      seed=request.seed,
      frozen=frozen,
      count=request.eigenvalues,
      products=request.products,
    )
  return [f"written: {path}" for path in files]


def _source(config, gan, directory, report):
  """The data a run was trained on."""
  with config.unlocked():
    if directory is not None:
      config.data.directory = directory
  return build_source(
    config.data,
    frames=gan.frames,
    resolution=gan.resolution,
    num_classes=gan.num_classes,
    report=report,
  )


def _compare(request) -> list[str]:
  if list(request.what) != ["compare"]:
    raise UserError("--what=compare stands alone")
  if not request.output:
    raise UserError("--what=compare needs --output")
  runs = {}
  for workdir in request.workdirs:
    name = pathlib.Path(workdir).resolve().name
    if name in runs:
      raise UserError(f"two of the runs are called {name}")
    found = curvature.read(pathlib.Path(workdir) / curvature.FOLDER / curvature.HESSIAN)
    runs[name] = [
      record
      for record in found["records"]
      if not request.discriminators or record["discriminator"] in request.discriminators
    ]
    if not runs[name]:
      raise UserError(f"{workdir} has no eigenvalues of {', '.join(request.discriminators)}")
  folder = pathlib.Path(request.output)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot use {folder} as output: {error}") from error
  curvature.plot_comparison(runs, folder / "comparison.png")
  return [f"written: {folder / 'comparison.png'}"]
