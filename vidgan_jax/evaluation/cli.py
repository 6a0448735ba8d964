"""One call of `evaluate`: scores a run or given clips, and writes the files of results."""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import vidgan_jax.training.state as states
from vidgan_jax.evaluation import checks, given_clips, motion_controls
from vidgan_jax.evaluation import clips as clip_sources
from vidgan_jax.evaluation.evaluator import Evaluator, check_count, check_frames, load_extractors
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.protocols import listing
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.report import results, writer
from vidgan_jax.evaluation.request import Request
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import requests
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import memory

_POLL = 5.0  # seconds between searches for new checkpoints of a run that is followed
_Report = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Opener:
  """Functions that open a run; the command passes them, because evaluation imports no sampling.

  Attributes:
    load: (workdir, step, use_ema, standing_passes, report) -> a run with restored weights.
    stream: (run, seed, truncation, frames, mesh) -> the run's clips, see `evaluation.clips`.
    conditioned: the same for a run that continues given frames, with further arguments clips and
      count: the real clips whose first frames it continues.
  """

  load: Callable
  stream: Callable
  conditioned: Callable | None = None


def adjusted(protocol: Protocol, request: Request) -> Protocol:
  """The protocol with the changes that a request makes; the fingerprint contains them."""
  protocol = protocols.with_metrics(protocol, request.metrics)
  names = ("frames", "stride", "split", "bootstrap")
  changes = {name: getattr(request, name) for name in names}
  return dataclasses.replace(
    protocol, **{name: value for name, value in changes.items() if value is not None}
  )


def fulfil(request: Request, opener: Opener, report: _Report = print) -> list[str]:
  """Evaluates as requested and writes the files of results.

  Args:
    request: what to evaluate.
    opener: opens the run; not used for given clips.
    report: called with lines for the user during the work.

  Returns:
    lines with the scores and the paths of the files.

  Raises:
    UserError: the input is bad, or a file cannot be written.
  """
  requests.check(request)
  protocol = adjusted(protocols.get_protocol(request.protocol), request)
  checks.check(request)
  if protocol.name != request.protocol:
    report(f"--protocol={request.protocol} stands for {protocol.name}: {protocol.source}")
    with_counts = dataclasses.replace(
      protocol,
      generated_count=request.count or protocol.generated_count,
      real_count=request.real_count or protocol.real_count,
    )
    for line in listing.clip_lines(with_counts):
      report(line)
  with memory.reported_if_full("a smaller --batch_size needs less"):
    if request.clips is not None:
      return _evaluate_clips(request, protocol, report)
    return _evaluate_run(request, protocol, opener, report)


def _real(
  request: Request, protocol: Protocol, shape: tuple[int, ...], report: _Report
) -> clip_sources.RealClips | clip_sources.ArrayClips:
  """The real clips to compare generated clips of `shape` (T, H, W, 3) with."""
  count = request.real_count or protocol.real_count
  if request.real is not None:
    stored = given_clips.real(
      request.real,
      protocol,
      shape,
      stride=states.read_config(request.workdir).data.stride if request.workdir else None,
      seed=request.seed,
      report=report,
    )
    if count is not None and request.real_count is None:
      count = min(count, stored.count) if request.count else count
      if count > stored.count:
        raise UserError(
          f"{request.real} has {stored.count} clips, protocol {protocol.name} takes {count}; "
          f"--real_count={stored.count} takes these and enters the fingerprint"
        )
    return stored.some(count, request.seed)
  assert request.workdir is not None  # see `checks.check`
  config = states.read_config(request.workdir)
  stride = config.data.stride
  checks.check_data(request, config.data.name)
  states.check_data_named(request.workdir, config, request.data_directory)
  with config.unlocked():
    if request.data_directory is not None:
      config.data.directory = request.data_directory
  real = clip_sources.of_run(
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
  # With other windows than in training, other videos may be too short and left out.
  as_trained = shape[0] == config.model.frames and protocol.stride in (None, stride)
  if protocol.split == "train" and as_trained:
    states.check_data(request.workdir, real.description())
  return real


def _evaluator(request: Request, protocol: Protocol, report: _Report) -> Evaluator:
  extractors = load_extractors(protocol, request.weights)
  return Evaluator(protocol, extractors, batch_size=request.batch_size, report=report)


def _reference(
  evaluator: Evaluator, request: Request, shape: tuple[int, ...], report: _Report
) -> tuple[clip_sources.RealClips | clip_sources.ArrayClips, references.Reference]:
  """The real clips and their features, for generated clips of `shape` (T, H, W, 3)."""
  real = _real(request, evaluator.protocol, shape, report)
  reference = evaluator.reference(real, file=request.reference, folder=references.default_folder())
  assert reference is not None  # nothing stops the computation here
  return real, reference


def _evaluate_clips(request: Request, protocol: Protocol, report: _Report) -> list[str]:
  """Evaluates given clips; returns lines for the user."""
  assert request.clips is not None and request.output is not None  # see `checks.check`
  stored = given_clips.generated(request.clips, protocol, seed=request.seed, report=report)
  check_frames(protocol, stored.shape[0])
  if protocol.frames is not None and stored.shape[0] != protocol.frames:
    raise UserError(
      f"protocol {protocol.name} scores clips of {protocol.frames} frames, {request.clips} has "
      f"{stored.shape[0]}; --frames={stored.shape[0]} evaluates them at this length"
    )
  count = request.count or protocol.generated_count
  check_count(protocol, stored, count, protocol.repeats)  # before videos are read
  evaluator = _evaluator(request, protocol, report)  # missing weights, too
  needed = count * protocol.repeats
  if needed < stored.count or protocol.repeats > 1:  # files may be ordered by class
    generated = stored.shuffled(request.seed, needed)
  else:
    generated = stored.some(None)
  real, reference = _reference(evaluator, request, generated.shape, report)
  generated = given_clips.with_classes_of(real, generated)
  results_writer = writer.ResultsWriter(request.output, real, reference.class_names, report)
  heading = evaluator.heading(reference, checks.evaluated(request))
  results_writer.check(heading)
  scores = evaluator.score(
    generated,
    reference,
    count=request.count,
    labelled=generated.labelled,
    seed=request.seed,
  )
  assert scores is not None  # nothing stops the computation here
  control_records = _controls(request, evaluator, real, reference)
  shown = writer.first_clips(generated)
  with _shown_if_not_written(scores.records, report):
    _, files = results_writer.add(heading, scores, shown, control_records)
  lines = results.table({"records": scores.records}) + results.control_lines(control_records)
  return lines + [f"written: {path}" for path in files]


def _controls(
  request: Request, evaluator: Evaluator, real: Any, reference: references.Reference
) -> list[dict]:
  """Scores of real clips with damaged motion, if --controls asks for them."""
  if not request.controls:
    return []
  return motion_controls.score(evaluator, real, reference, count=request.count, seed=request.seed)


@contextlib.contextmanager
def _shown_if_not_written(records: list[dict], report: _Report) -> Iterator[None]:
  """Reports the scores if their files cannot be written, as on a full disk: they may cost hours."""
  try:
    yield
  except UserError:
    for line in results.table({"records": records}):
      report(line)
    raise


def _steps(request: Request, config: Any, report: _Report) -> Iterator[int | None]:
  """Yields the iterations to evaluate; None is the newest. Follows a run to its last iteration."""
  assert request.workdir is not None  # see `checks.check`
  folder = pathlib.Path(request.workdir) / states.CHECKPOINTS
  checkpoints = Checkpoints(folder, report=report)
  if request.every_checkpoint:
    # The newest first, so that a wrong request fails before much is computed.
    yield from reversed(checkpoints.steps())
    return
  if not request.follow:
    yield request.checkpoint
    return
  evaluated: set[int] = set()
  end, last = int(config.num_iterations), time.monotonic()
  while True:
    new = [step for step in checkpoints.steps() if step not in evaluated]
    if not new:
      if end in evaluated:
        return
      if request.patience is not None and time.monotonic() - last > 60 * request.patience:
        report(f"no new checkpoint within {request.patience:g} minutes: the run has stopped")
        states.mention_branch(request.workdir, report)  # as its collapse may be new
        return
      time.sleep(_POLL)
      end = int(states.read_config(request.workdir).num_iterations)  # it may have been increased
      continue
    evaluated.update(new)  # all of them now: training may delete them before the next search
    yield from new
    last = time.monotonic()


def _advice(protocol: Protocol, frames: int) -> str:
  """Which option evaluates clips of this number of frames, or why none does."""
  try:
    check_frames(protocol, frames)
  except UserError as error:
    return f"{error}; "
  return f"--frames={frames} evaluates clips as the run makes them, "


def _evaluate_run(
  request: Request, protocol: Protocol, opener: Opener, report: _Report
) -> list[str]:
  """Evaluates checkpoints of a run; returns lines for the user."""
  assert request.workdir is not None  # see `checks.check`
  if request.every_checkpoint or request.follow:
    states.refuse_export(request.workdir, "--every_checkpoint or --follow")
    states.mention_branch(request.workdir, report)
  config = states.read_config(request.workdir)
  evaluation: _RunEvaluation | None = None
  if request.follow:
    report(f"following {request.workdir} to iteration {config.num_iterations}; Ctrl-C stops this")
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
      if evaluation is None and not request.follow:
        raise
      report(f"left out: {error}")  # training has deleted the checkpoint, or it is damaged
      continue
    if evaluation is None:
      evaluation = _RunEvaluation(request, protocol, opener, run, report)
    for truncation in request.truncations:
      evaluation.add(run, truncation)
  if evaluation is None:
    raise UserError(f"the run in {request.workdir} has no checkpoint yet")
  return evaluation.lines()


class _RunEvaluation:
  """Evaluates checkpoints of one run against the same real clips, and adds scores to its files.

  Args:
    request, protocol, opener, report: see `fulfil`.
    run: the first checkpoint, which sets the size of the clips.

  Raises:
    UserError: clips of the run do not fit the protocol, or the files contain results of another
      run or protocol.
  """

  def __init__(
    self, request: Request, protocol: Protocol, opener: Opener, run: Any, report: _Report
  ):
    self._request, self._protocol, self._opener, self._report = request, protocol, opener, report
    self._frames = protocol.frames or run.gan.frames
    if self._frames != run.gan.frames and request.frames is None:
      raise UserError(
        f"protocol {protocol.name} scores clips of {self._frames} frames, the run makes "
        f"{run.gan.frames}; {_advice(protocol, run.gan.frames)}--frames={self._frames} lets "
        f"the run generate {self._frames} frames"
      )
    check_frames(protocol, self._frames)
    side = run.gan.resolution
    self._evaluator = _evaluator(request, protocol, report)
    real, self._reference = _reference(
      self._evaluator, request, (self._frames, side, side, 3), report
    )
    folder = request.output or checks.folder(request)
    self._writer = writer.ResultsWriter(folder, real, self._reference.class_names, report)
    self._writer.check(self._heading())
    self._controls = _controls(request, self._evaluator, real, self._reference)
    self._real = real
    self._tables: list[str] = []
    self._files: list[pathlib.Path] = []

  def _heading(self) -> Mapping:
    return self._evaluator.heading(self._reference, checks.evaluated(self._request))

  def add(self, run: Any, truncation: float) -> None:
    """Scores clips of a checkpoint at one truncation, and writes the files again."""
    request = self._request
    self._report(
      f"evaluating iteration {run.step} by {self._protocol.name}, truncation {truncation:g}"
    )
    options = dict(truncation=truncation, frames=self._frames, mesh=self._evaluator.mesh)
    if run.gan.needs_conditioning:
      assert self._opener.conditioned is not None
      count = getattr(self._real, "to_continue", self._real.count)
      stream = self._opener.conditioned(run, request.seed, clips=self._real, count=count, **options)
    else:
      stream = self._opener.stream(run, request.seed, **options)
    scores = self._evaluator.score(
      stream,
      self._reference,
      count=request.count,
      seed=request.seed,
    )
    assert scores is not None  # nothing stops the computation here
    shown = writer.first_clips(stream)
    with _shown_if_not_written(scores.records, self._report):
      _, self._files = self._writer.add(self._heading(), scores, shown, self._controls)
    table = results.table({"records": scores.records})
    if request.follow:
      for line in table:
        self._report(line)
    else:
      self._tables += table

  def lines(self) -> list[str]:
    """Lines for the user: scores that were not reported yet, and the paths of the files."""
    written = [f"written: {path}" for path in self._files]
    return self._tables + results.control_lines(self._controls) + written
