"""Fulfils a request of the `analyze` command: opens runs, runs analyses, writes files."""

import dataclasses
import pathlib

import jax

import vidgan_jax.training.earlier as stages
import vidgan_jax.training.state as states
from vidgan_jax.analysis import summary_lines
from vidgan_jax.analysis.curvature import hessian, plots
from vidgan_jax.analysis.curvature import records as curvature
from vidgan_jax.analysis.request import Request
from vidgan_jax.analysis.samples import analyses
from vidgan_jax.analysis.samples.analyzed_run import Tools
from vidgan_jax.data.build import build_source
from vidgan_jax.models import contract
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.hardware import memory

WHAT = (*curvature.FILES, *analyses.ANALYSES, "compare")


def fulfil(request: Request, report=print, tools: Tools | None = None) -> list[str]:
  """Runs the requested analyses, writes their files and returns lines for the user.

  The lines contain the most important numbers and the paths of the files.

  Args:
    request: see `Request`.
    report: receives lines for the user while the analyses run.
    tools: functions that the analyses of samples need, see `Tools`; unused by the others.

  Raises:
    UserError: on bad input, or if files cannot be written.
  """
  requests.check(request)
  for what in request.what:
    contract.check("--what", what, WHAT)
  if not request.what or not request.workdirs or not all(request.workdirs):
    raise UserError("--what and --workdir must name something")
  if "compare" in request.what:
    return _compare(request)
  if len(request.workdirs) > 1:
    raise UserError("several runs are for --what=compare; the other analyses take one run")
  if request.every_checkpoint and request.checkpoint is not None:
    raise UserError("either --checkpoint or --every_checkpoint")
  of_samples = [what for what in request.what if what in analyses.ANALYSES]
  of_curvature = [what for what in request.what if what in curvature.FILES]
  with memory.reported_if_full("fewer products, fewer frames or a smaller batch_size need less"):
    lines = []
    if of_samples:
      if tools is None:
        raise ValueError("analyses of samples need tools")
      lines += analyses.fulfil(request, of_samples, tools, report)
    if of_curvature:
      lines += _analyze_curvature(dataclasses.replace(request, what=of_curvature), report)
    return lines


def _analyze_curvature(request, report):
  """Analyzes the discriminators of one or all checkpoints of a run; see `fulfil`."""
  (workdir,) = request.workdirs
  states.refuse_export(workdir, f"--what={','.join(request.what)}, which uses the discriminators,")
  folder = pathlib.Path(request.output or pathlib.Path(workdir) / curvature.FOLDER)
  paths.check_writable(folder)
  steps = [request.checkpoint]
  if request.every_checkpoint:
    # The newest checkpoint is first: if it cannot be analyzed, the request or the run is at fault,
    # and the command ends before it has done much work.
    stored = Checkpoints(pathlib.Path(workdir) / states.CHECKPOINTS, report=report).steps()
    steps = [None, *reversed(stored[:-1])]
  mesh = meshes.make_mesh(jax.devices()[:1])
  gan = source = frozen = None
  files, analyzed = [], set()
  for step in steps:
    try:
      config, _, state = states.load(workdir, step, mesh=mesh, report=report)
    except UserError as error:
      if gan is None:
        raise
      # An older checkpoint is damaged, or training still runs and has deleted it.
      report(f"left out: {error}")
      continue
    if gan is None:
      gan = hessian.for_analysis(config, meshes.platform(mesh))
      names = request.discriminators or sorted(gan.discriminators)
      for name in names:
        hessian.check_name(gan, name)
      options = _options(request, config)
      frozen = stages.frozen_variables(
        config, gan, workdir, mesh=mesh, training=True, report=report
      )
      source = _source(config, gan, request.data_directory, report)
      states.check_data(workdir, source.description())
    report(f"analyzing {', '.join(names)} after iteration {int(state.step)}")
    files = curvature.analyze(
      gan, config, state, source, folder, names, options, what=request.what, frozen=frozen
    )
    analyzed |= {(int(state.step), name) for name in names}
  lines = []
  for what in request.what:
    records = curvature.read(folder / curvature.FILES[what], what)["records"]
    new = [record for record in records if (record["step"], record["discriminator"]) in analyzed]
    lines += summary_lines.CURVATURE[what](new)
  return [*lines, *(f"written: {path}" for path in files)]


def _options(request, config) -> curvature.Options:
  """Options of the request, else of the run's `config.analysis`, else the defaults."""
  of_run = config.get("analysis", {})
  names = ("batch_size", "eigenvalues", "products")
  values = {name: getattr(request, name) or of_run.get(name) for name in names}
  return curvature.Options(seed=request.seed, **{n: v for n, v in values.items() if v})


def _source(config, gan, directory, report):
  """The data that the run was trained on, in `directory` if that is not None."""
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
  """Content of `hessian.json` of a run, or of the one directly in `folder`."""
  folder, name = pathlib.Path(folder), curvature.FILES["hessian"]
  of_run = folder / curvature.FOLDER / name
  in_folder = folder / name
  return curvature.read(in_folder if in_folder.exists() and not of_run.exists() else of_run)


def _compare(request) -> list[str]:
  """Plots the eigenvalues of several runs; see `fulfil`."""
  if list(request.what) != ["compare"]:
    raise UserError("--what=compare cannot be combined with other analyses")
  if not request.output:
    raise UserError("--what=compare needs --output")
  paths.check_writable(request.output)
  chosen = lambda record: (
    not request.discriminators or record["discriminator"] in request.discriminators
  )
  names = [pathlib.Path(folder).resolve().name for folder in request.workdirs]
  if len({*names}) < len(names):
    names = list(request.workdirs)
  runs, settings = {}, None
  for name, folder in zip(names, request.workdirs, strict=True):
    content = _records(folder)
    of_run = {key: value for key, value in content["settings"].items() if key != "config"}
    settings = settings or of_run
    if of_run != settings:
      raise UserError(f"{folder} was analyzed with other settings than the first run: {of_run}")
    runs[name] = list(filter(chosen, content["records"]))
    if not runs[name]:
      raise UserError(f"{folder} has no eigenvalues of the discriminators in --discriminators")
  folder = pathlib.Path(request.output)
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot use {folder} as output: {error}") from error
  plots.comparison(runs, folder / "comparison.png")
  return [*summary_lines.comparison(runs), f"written: {folder / 'comparison.png'}"]
