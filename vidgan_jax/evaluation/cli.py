"""One call of `evaluate`: from the folder of a run, or a file of clips, to files of results."""

import dataclasses
import pathlib
import time
from collections.abc import Callable

import jax

import vidgan_jax.training.state as states
from vidgan_jax.evaluation import clips as clip_sources
from vidgan_jax.evaluation import motion_controls
from vidgan_jax.evaluation.evaluator import Evaluator, check_frames, load_extractors
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.report import results, writer
from vidgan_jax.evaluation.request import Request
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError

_POLL = 5.0  # seconds between looks at a run that is followed


@dataclasses.dataclass(frozen=True)
class Opener:
  """What opens runs; handed in by the door, for this room knows no sampling.

  Attributes:
    load: (workdir, step, use_ema, standing_passes, report) -> an open run.
    stream: (run, seed, truncation, frames, mesh) -> its clips, see `evaluation.clips`.
  """

  load: Callable
  stream: Callable


def adjusted(protocol, request) -> Protocol:
  """The protocol with what a request changes; what moves a number is in the fingerprint."""
  protocol = protocols.with_metrics(protocol, request.metrics)
  names = ("frames", "stride", "split", "bootstrap")
  changes = {name: getattr(request, name) for name in names}
  return dataclasses.replace(
    protocol, **{name: value for name, value in changes.items() if value is not None}
  )


def fulfil(request: Request, opener: Opener, report=print) -> list[str]:
  """Evaluates and writes; returns lines with the scores and where the files are.

  Raises:
    UserError: on bad input, or where the files cannot be written.
  """
  protocol = adjusted(protocols.get_protocol(request.protocol), request)
  _check(request)
  try:
    if request.clips is not None:
      return _evaluate_clips(request, protocol, report)
    return _evaluate_run(request, protocol, opener, report)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    raise UserError("not enough memory; a smaller --batch_size needs less") from error


def _check(request):
  if not request.workdir and not request.clips:
    raise UserError("--workdir (a run) or --clips (a file) is required")
  if request.clips and (
    request.every_checkpoint or request.follow or request.checkpoint is not None
  ):
    raise UserError("--clips has no checkpoints")
  if request.clips and tuple(request.truncations) != (1.0,):
    raise UserError("--clips are drawn already; --truncation is of a run's")
  if request.clips and not request.output:
    raise UserError("--clips needs --output")
  if sum((request.checkpoint is not None, request.every_checkpoint, request.follow)) > 1:
    raise UserError("one of --checkpoint, --every_checkpoint and --follow")
  if request.patience is not None and not request.follow:
    raise UserError("--patience is for --follow")
  if not request.truncations:
    raise UserError("--truncations must name a number")
  if request.clips and not (request.real or request.workdir):
    raise UserError(
      "--clips needs --real=FILE.npz, or --workdir of a run whose data it is compared with"
    )
  if request.real and (request.stride, request.split) != (None, None):
    raise UserError("--stride and --split are of a run's data; --real holds clips as they are")
  for truncation in request.truncations:
    if not truncation > 0:
      raise UserError(f"truncation is {truncation:g}; it is a standard deviation, above 0")
  results.check_writable(request.output or _folder(request))  # before hours of judging


def _folder(request) -> pathlib.Path:
  """Where the results of a run go unless --output says otherwise."""
  return pathlib.Path(request.workdir) / results.FOLDER / request.protocol


def _real(request, protocol, shape, report):
  """The real clips for generated ones of `shape` (T, H, W, 3)."""
  count = request.real_count or protocol.real_count
  if request.real is not None:
    found = clip_sources.read(request.real)
    if count is not None and request.real_count is None:
      count = min(count, found.count) if request.count else count
      if count > found.count:
        raise UserError(
          f"{request.real} has {found.count} clips, protocol {protocol.name} takes {count}; "
          f"--real_count={found.count} takes these, and the fingerprint says so"
        )
    return found.some(count, request.seed)
  config = states.read_config(request.workdir)
  stride = config.data.stride
  _check_data(request, config.data.name)
  with config.unlocked():
    if request.data_directory is not None:
      config.data.directory = request.data_directory
  found = clip_sources.of_run(
    config.data,
    protocol,
    frames=shape[0],
    resolution=shape[1],
    num_classes=config.model.num_classes,
    stride=protocol.stride,
    seed=request.seed,
    count=count,
    report=report,
  )
  # Other windows than the run's may leave out other videos as too short.
  as_trained = shape[0] == config.model.frames and protocol.stride in (None, stride)
  if protocol.split == "train" and as_trained:
    states.check_data(request.workdir, found.description())
  return found


def _check_data(request, name):
  """UserError where the run's data cannot have the stride or the split that is asked for."""
  if request.stride is not None and name == "moving_shapes":
    raise UserError("--stride is of stored videos; moving_shapes draws each frame")
  if request.split is not None and name == "npz":
    raise UserError(
      "--split: the data is one .npz, which has no splits; --real=FILE.npz takes another file"
    )


def _evaluator(request, protocol, report):
  extractors = load_extractors(protocol, request.weights)
  return Evaluator(protocol, extractors, batch_size=request.batch_size, report=report)


def _reference(evaluator, request, protocol, shape, report):
  real = _real(request, protocol, shape, report)
  reference = evaluator.reference(real, file=request.reference, folder=references.default_folder())
  return real, reference


def _evaluate_clips(request, protocol, report):
  generated = clip_sources.read(request.clips)
  check_frames(protocol, generated.shape[0])
  if protocol.frames is not None and generated.shape[0] != protocol.frames:
    raise UserError(
      f"protocol {protocol.name} scores clips of {protocol.frames} frames, {request.clips} has "
      f"{generated.shape[0]}; --frames={generated.shape[0]} scores these"
    )
  evaluator = _evaluator(request, protocol, report)
  real, reference = _reference(evaluator, request, protocol, generated.shape, report)
  needed = (request.count or protocol.generated_count) * protocol.repeats
  if needed < generated.count or protocol.repeats > 1:  # files may be ordered by class
    generated = generated.shuffled(request.seed, needed)
  about = {"workdir": str(request.clips), "name": pathlib.Path(request.clips).name}
  kept = writer.ResultsWriter(request.output, real, reference.class_names, report)
  kept.check(evaluator.heading(reference, about))
  scores = evaluator.score(
    generated,
    reference,
    count=request.count,
    labelled=generated.labelled and clip_sources.labels_fit(protocol, reference),
    seed=request.seed,
  )
  spoilt = _controls(request, evaluator, real, reference)
  heading, shown = evaluator.heading(reference, about), writer.first_clips(generated)
  _, files = kept.add(heading, scores, shown, spoilt)
  lines = results.table({"records": scores.records}) + results.control_lines(spoilt)
  return lines + [f"written: {path}" for path in files]


def _controls(request, evaluator, real, reference) -> list[dict]:
  """Scores of real clips whose motion was spoilt, where they are asked for."""
  if not request.controls:
    return []
  labelled = clip_sources.labels_fit(evaluator.protocol, reference)
  return motion_controls.score(
    evaluator, real, reference, count=request.count, labelled=labelled, seed=request.seed
  )


def _steps(request, config, report):
  """Yields checkpoints to evaluate; None is the newest. Follows a run until its last iteration."""
  folder = pathlib.Path(request.workdir) / states.CHECKPOINTS
  known = Checkpoints(folder, report=report)
  if request.every_checkpoint:
    # The newest first: it tells what is wrong with the request before much is done.
    yield from reversed(known.steps())
    return
  if not request.follow:
    yield request.checkpoint
    return
  seen, end, last = set(), int(config.num_iterations), time.monotonic()
  while True:
    new = [step for step in known.steps() if step not in seen]
    if not new:
      if end in seen:
        return
      if request.patience is not None and time.monotonic() - last > 60 * request.patience:
        report(f"no new checkpoint within {request.patience:g} minutes: the run has stopped")
        return
      time.sleep(_POLL)
      end = int(states.read_config(request.workdir).num_iterations)  # it may have been prolonged
      continue
    seen.update(new)  # of several that came meanwhile, all: they may be gone by the next look
    yield from new
    last = time.monotonic()


def _advice(protocol, frames) -> str:
  """How clips of so many frames can be evaluated, or why they cannot."""
  try:
    check_frames(protocol, frames)
  except UserError as error:
    return f"{error}; "
  return f"--frames={frames} scores these, "


def _evaluate_run(request, protocol, opener, report):
  config = states.read_config(request.workdir)
  folder = request.output or _folder(request)
  evaluator = kept = reference = None
  shown, files = [], []
  if request.follow:
    report(f"following {request.workdir} to iteration {config.num_iterations}; Ctrl-C leaves it")
  for step in _steps(request, config, report):
    try:
      run = opener.load(
        request.workdir,
        step=step,
        use_ema=request.ema,
        standing_passes=request.standing_passes,
        report=report,
      )
    except UserError as error:
      if evaluator is None and not request.follow:
        raise
      report(f"left out: {error}")  # a run that goes on has removed it, or it is damaged
      continue
    if evaluator is None:
      frames = protocol.frames or run.gan.frames
      if frames != run.gan.frames and request.frames is None:
        raise UserError(
          f"protocol {protocol.name} scores clips of {frames} frames, the run makes "
          f"{run.gan.frames}; {_advice(protocol, run.gan.frames)}--frames={frames} unrolls it"
        )
      check_frames(protocol, frames)
      side = run.gan.resolution
      evaluator = _evaluator(request, protocol, report)
      real, reference = _reference(evaluator, request, protocol, (frames, side, side, 3), report)
      about = {
        "workdir": str(request.workdir),
        "name": pathlib.Path(request.workdir).resolve().name,
      }
      kept = writer.ResultsWriter(folder, real, reference.class_names, report)
      kept.check(evaluator.heading(reference, about))
      spoilt = _controls(request, evaluator, real, reference)
    for truncation in request.truncations:
      report(f"evaluating iteration {run.step} by {protocol.name}, truncation {truncation:g}")
      stream = opener.stream(
        run, request.seed, truncation=truncation, frames=frames, mesh=evaluator.mesh
      )
      scores = evaluator.score(
        stream,
        reference,
        count=request.count,
        labelled=clip_sources.labels_fit(protocol, reference),
        seed=request.seed,
      )
      heading, drawn = evaluator.heading(reference, about), writer.first_clips(stream)
      _, files = kept.add(heading, scores, drawn, spoilt)
      lines = results.table({"records": scores.records})
      if request.follow:
        for line in lines:
          report(line)
      else:
        shown += lines
  if evaluator is None:
    raise UserError(f"the run in {request.workdir} has no checkpoint yet")
  return shown + results.control_lines(spoilt) + [f"written: {path}" for path in files]
