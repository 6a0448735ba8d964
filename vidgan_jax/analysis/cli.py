"""One request to look into runs, from their folders to files."""

import dataclasses
import pathlib

import jax

import vidgan_jax.training.state as states
from vidgan_jax.analysis import summary_lines
from vidgan_jax.analysis.curvature import hessian, plots
from vidgan_jax.analysis.curvature import records as curvature
from vidgan_jax.analysis.request import Request
from vidgan_jax.analysis.samples import analyses
from vidgan_jax.data.build import build_source
from vidgan_jax.models import contract
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError

WHAT = (*curvature.FILES, *analyses.LOOKS, "compare")


def fulfil(request: Request, report=print, tools: analyses.Tools | None = None) -> list[str]:
  """Looks and writes; returns lines with the numbers that matter most, and where the files are.

  Args:
    request: what is asked for.
    report: receives lines for the user.
    tools: what `looks.LOOKS` need of other rooms; curvature needs none.

  Raises:
    UserError: on bad input, or where the files cannot be written.
  """
  for what in request.what:
    contract.check("--what", what, WHAT)
  if not request.what or not request.workdirs or not all(request.workdirs):
    raise UserError("--what and --workdir must name something")
  if "compare" in request.what:
    return _compare(request)
  if len(request.workdirs) > 1:
    raise UserError("several runs are for --what=compare; the others look at one")
  if request.every_checkpoint and request.checkpoint is not None:
    raise UserError("either --checkpoint or --every_checkpoint")
  if request.search < 0:
    raise UserError(f"--search={request.search} is negative; 0 searches all")
  drawn = [what for what in request.what if what in analyses.LOOKS]
  others = [what for what in request.what if what in curvature.FILES]
  try:
    lines = []
    if drawn:
      if tools is None:
        raise ValueError("analyses of samples need tools")
      lines += analyses.fulfil(request, drawn, tools, report)
    lines += _look(dataclasses.replace(request, what=others), report) if others else []
    return lines
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError(
      "not enough memory; fewer products, frames or a smaller batch_size need less"
    ) from error


def _look(request, report):
  (workdir,) = request.workdirs
  folder = pathlib.Path(request.output or pathlib.Path(workdir) / curvature.FOLDER)
  steps = [request.checkpoint]
  if request.every_checkpoint:
    # The last first: it tells what is wrong with the request, or the run, before much is done.
    known = Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS, report=report).steps()
    steps = [None, *reversed(known[:-1])]
  gan = source = frozen = None
  files, looked_at = [], set()
  for step in steps:
    try:
      config, _, state = states.load(workdir, step, report=report)
    except UserError as error:
      if gan is None:
        raise
      report(f"left out: {error}")  # a run that goes on has removed it, or it is damaged
      continue
    if gan is None:
      gan = hessian.for_analysis(config, meshes.platform())
      names = request.discriminators or sorted(gan.discriminators)
      for name in names:
        hessian.check_name(gan, name)
      options = _options(request, config)
      frozen = states.frozen_variables(gan, report=report)
      source = _source(config, gan, request.data_directory, report)
      states.check_data(workdir, source.description())
    report(f"looking at {', '.join(names)} after iteration {int(state.step)}")
    files = curvature.analyse(
      gan, config, state, source, folder, names, options, what=request.what, frozen=frozen
    )
    looked_at |= {(int(state.step), name) for name in names}
  lines = []
  for what in request.what:
    records = curvature.read(folder / curvature.FILES[what], what)["records"]
    own = [record for record in records if (record["step"], record["discriminator"]) in looked_at]
    lines += summary_lines.CURVATURE[what](own)
  return [*lines, *(f"written: {path}" for path in files)]


def _options(request, config) -> curvature.Options:
  """What is asked for, else what the run itself looks with, else the defaults."""
  own = config.get("analysis", {})
  given = {name: getattr(request, name) for name in ("batch_size", "eigenvalues", "products")}
  given = {name: value or own.get(name) for name, value in given.items()}
  return curvature.Options(seed=request.seed, **{n: v for n, v in given.items() if v})


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


def _records(folder) -> dict:
  """What the `hessian.json` of a run, or in a folder, holds."""
  folder, name = pathlib.Path(folder), curvature.FILES["hessian"]
  own = folder / curvature.FOLDER / name
  return curvature.read(folder / name if (folder / name).exists() and not own.exists() else own)


def _compare(request) -> list[str]:
  if list(request.what) != ["compare"]:
    raise UserError("--what=compare stands alone")
  if not request.output:
    raise UserError("--what=compare needs --output")
  chosen = lambda record: (
    not request.discriminators or record["discriminator"] in request.discriminators
  )
  names = [pathlib.Path(folder).resolve().name for folder in request.workdirs]
  if len({*names}) < len(names):
    names = list(request.workdirs)
  runs, settings = {}, None
  for name, folder in zip(names, request.workdirs, strict=True):
    found = _records(folder)
    own = {key: value for key, value in found["settings"].items() if key != "config"}
    settings = settings or own
    if own != settings:
      raise UserError(f"{folder} was looked at with other settings than the first: {own}")
    runs[name] = list(filter(chosen, found["records"]))
    if not runs[name]:
      raise UserError(f"{folder} has no eigenvalues of what is asked for")
  folder = pathlib.Path(request.output)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot use {folder} as output: {error}") from error
  plots.comparison(runs, folder / "comparison.png")
  return [*summary_lines.comparison(runs), f"written: {folder / 'comparison.png'}"]
