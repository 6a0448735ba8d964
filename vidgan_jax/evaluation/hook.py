"""The training hook that scores a run and saves its best state.

The hook uses the same `Evaluator` as the command `evaluate`. Training waits while it evaluates;
`evaluate --follow` runs in a separate process and does not delay training. With several processes,
all generate clips, run the networks and save the best state; only process 0 computes and writes
scores.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import vidgan_jax.training.earlier as stages
import vidgan_jax.training.state as states
from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.evaluator import Evaluator, load_extractors
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.records import Scores
from vidgan_jax.evaluation.report import results, writer
from vidgan_jax.evaluation.report.writer import ResultsWriter
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.buckets import staged
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.runtime.hooks import Hook, HookContext

BEST = "best"  # in a run's folder: the folder of a complete run, for sampling and evaluation
_MARK = "best.json"


def _purpose(folder: pathlib.Path) -> str:
  """Completes "cannot ..." in the message of a lock that another process holds."""
  return f"keep the best state in {folder}"


class EvaluationHook(Hook):
  """Evaluates the run at intervals; writes `evaluation/PROTOCOL/results.json` and scalars.

  With `settings.best`, the state with the best score is saved in `best/`, a folder that all
  commands accept as `--workdir`.

  Args:
    settings: `config.evaluation`: every (iterations; 0 is never), protocol, count and real_count
      (numbers of clips; 0 is the protocol's), best (a metric of the protocol, or "").
    stream: (`HookContext`, seed) -> clips of the current state, see `evaluation.clips`. The command
      passes it, because evaluation imports no sampling. For runs that continue given frames it
      also receives these, as `clips` and their number, `count`.
    report: called with lines for the user.
    load: (protocol) -> extractors, see `load_extractors`.

  Raises:
    UserError: the protocol is unknown, does not have the metric `best`, or this metric has no
      better direction.
  """

  collective = True

  def __init__(
    self,
    settings: Any,
    stream: Callable,
    report: Callable[[str], None] = print,
    load: Callable = load_extractors,
  ):
    self.every, self.best = settings.every, settings.best
    self.count, self.real_count = settings.count or None, settings.real_count or None
    self._called = False
    self.protocol = protocols.get_protocol(settings.protocol)
    numbers = self.protocol.numbers
    if self.best and self.best not in numbers:
      raise UserError(
        f"evaluation.best is {self.best!r}; {self.protocol.name} has {', '.join(numbers)}"
      )
    self._metric = metrics.metric_of_number(self.best)
    if self._metric and self._metric.higher_is_better is None:
      raise UserError(
        f"evaluation.best is {self.best!r}, but neither higher nor lower values of it are better"
      )
    self._stream = stream
    self._report = lambda line: report(line) if processes.first() else None
    self._extractors = load(self.protocol)  # now, so that a missing file stops before training
    self._evaluation: _Evaluation | None = None

  def due(self, step: int, last: bool) -> bool:
    """At every `every`-th iteration and at the last; at the start too, to report faults early."""
    first, self._called = not self._called, True
    return bool(self.every and (first or self._scores_at(step, last)))

  def _scores_at(self, step: int, last: bool) -> bool:
    return bool(step and (last or step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Scores the run, writes the scores, and saves the state if it is the best."""
    folder = context.workdir / results.FOLDER / self.protocol.name
    if self._evaluation is None:
      self._evaluation = self._open(context, folder)
    evaluation = self._evaluation
    if evaluation is None or not self._scores_at(context.step, context.last):
      return
    if context.step == context.start_step and processes.from_first(
      processes.first() and _has_scores(folder, context.step)
    ):
      return  # a run that continues has scored this state before
    given = {}
    if context.gan.needs_conditioning:
      given = {"clips": evaluation.real, "count": evaluation.real.to_continue}
    generated = self._stream(context, seed=0, **given)
    scores = evaluation.evaluator.score(
      generated,
      evaluation.reference,
      count=self.count,
      leaving=context.stop_requested,
    )
    if scores is None:
      return  # training was asked to stop
    shown = writer.first_clips(generated, context.mesh)
    best = self._write(context, evaluation, scores, shown) if processes.first() else None
    if processes.from_first(best is not None):
      self._save_best(context, best)

  def _write(
    self, context: HookContext, evaluation: "_Evaluation", scores: Scores, shown: tuple
  ) -> Mapping | None:
    """Writes scores; returns the record of `best` if this state is the best, else None."""
    content, _ = evaluation.writer.add(evaluation.heading(context), scores, shown)
    values = {f"evaluation/{record['metric']}": record["value"] for record in scores.records}
    context.log.summary(context.step, values)
    for record in scores.records:
      if record["metric"] == self.best:
        return record if self._is_best(context, record, content["records"]) else None
    return None

  def _open(self, context: HookContext, folder: pathlib.Path) -> "_Evaluation | None":
    """Prepares networks, real clips and files; None if training was asked to stop."""
    evaluator = Evaluator(self.protocol, self._extractors, mesh=context.mesh, report=self._report)
    gan = context.gan
    frames = self.protocol.frames or gan.frames
    if frames != gan.frames:
      raise UserError(
        f"evaluation.protocol {self.protocol.name} scores clips of {frames} frames, the run makes "
        f"{gan.frames}"
      )
    real = clips.of_run(
      stored_config.from_json(configuration.to_json(context.config)).data,
      self.protocol,
      frames=frames,
      resolution=gan.resolution,
      num_classes=gan.num_classes,
      stride=self.protocol.stride,
      seed=0,
      count=self.real_count or self.protocol.real_count,
      report=self._report,
    )
    reference = evaluator.reference(
      real, folder=references.default_folder(), leaving=context.stop_requested
    )
    if reference is None:
      return None
    # If features were cached by an earlier start, only process 0 has read labels.
    labelled = processes.from_first(reference.labels is not None)
    for metric in self.protocol.metrics:
      fault = evaluator.label_fault(metric, reference, labelled)
      if fault and self.best in [number.name for number in metric.numbers]:
        raise UserError(f"evaluation.best is {self.best!r}, but {fault}")
    results_writer = ResultsWriter(folder, real, reference.class_names, self._report)
    evaluation = _Evaluation(evaluator, reference, results_writer, real)
    results_writer.check(evaluation.heading(context))  # in all processes, so that all refuse
    if processes.first():
      locks.check(context.workdir / BEST, _purpose(context.workdir / BEST))
      _remove_best_after(context.start_step, context.workdir / BEST)
      results_writer.drop_after(context.start_step, evaluation.heading(context))
    processes.wait_for_all("earlier scores read")
    return evaluation

  def _is_best(self, context: HookContext, record: Mapping, records: Sequence[Mapping]) -> bool:
    """Whether the score is better than all earlier ones of the same fingerprint.

    Only iterations count at which this hook evaluates or whose state is saved, because `evaluate`
    may have added scores of others.
    """
    assert self._metric is not None  # there is a record of it
    sign = 1 if self._metric.higher_is_better else -1
    saved = Checkpoints(context.workdir / BEST / states.CHECKPOINTS).steps()
    others = [
      sign * r["value"]
      for r in records
      if r["metric"] == self.best
      and r["fingerprint"] == record["fingerprint"]
      and r["truncation"] == record["truncation"]
      and (r["step"] or 0) < record["step"]
      and (r["step"] in saved or self._scores_at(r["step"], False))
    ]
    return not others or max(others) < sign * record["value"]

  def _save_best(self, context: HookContext, record: Mapping | None) -> None:
    """Saves the state in the folder `best`. Each process saves its part.

    Args:
      context: see `runtime.hooks.HookContext`.
      record: record of the score in process 0; None in others.
    """
    folder = context.workdir / BEST
    with contextlib.ExitStack() as stack:

      def begin():
        stack.enter_context(locks.held(folder, _purpose(folder), self._report))
        data = (context.workdir / states.DATA).read_text("utf-8", "replace")
        results.write_text(folder / states.CONFIG, configuration.to_json(context.config))
        results.write_text(folder / states.DATA, data)
        stages.copy_record(context.workdir, folder)

      processes.in_first(begin)
      with Checkpoints(folder / states.CHECKPOINTS, 2, self._report) as checkpoints:
        checkpoints.save(context.step, context.sharded_state, {"seconds": 0.0})
      if record is not None:
        mark = {name: record[name] for name in ("step", "metric", "value", "fingerprint")}
        results.write_text(folder / _MARK, json.dumps(mark, indent=2) + "\n")


@dataclasses.dataclass(frozen=True)
class _Evaluation:
  """What a hook prepares at its first call.

  Attributes:
    evaluator: the compiled networks.
    reference: features of the real clips.
    writer: writes the files of results.
    real: the real clips, which runs that continue given frames continue.
  """

  evaluator: Evaluator
  reference: references.Reference
  writer: ResultsWriter
  real: clips.RealClips

  def heading(self, context: HookContext) -> dict[str, Any]:
    """The part of results.json above the records."""
    workdir = context.workdir
    run = {"workdir": staged.named(str(workdir)), "name": workdir.resolve().name}
    return self.evaluator.heading(self.reference, run)


def _has_scores(folder: pathlib.Path, step: int) -> bool:
  """Whether the results in a folder contain an iteration."""
  path = folder / results.FILE
  return path.exists() and any(r["step"] == step for r in results.read(path)["records"])


def _remove_best_after(step: int, best: pathlib.Path) -> None:
  """Deletes best states of later iterations: a run that continues computes them again."""
  checkpoints = Checkpoints(best / states.CHECKPOINTS)
  later = [each for each in checkpoints.steps() if each > step]
  for each in later:
    checkpoints.remove(each)
  if later:
    (best / _MARK).unlink(missing_ok=True)
