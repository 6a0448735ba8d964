"""The training hook that scores a run and keeps its best state.

It uses the same `Evaluator` as the command. Training waits while it evaluates; `evaluate --follow`,
a process of its own, does not delay training. With several processes, all draw clips, run the
networks and save the best state; process 0 alone computes and writes scores.
"""

import contextlib
import json
import shutil
from collections.abc import Callable

import vidgan_jax.training.state as states
from vidgan_jax.evaluation import clips
from vidgan_jax.evaluation.evaluator import Evaluator, load_extractors
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import results, writer
from vidgan_jax.models import stored_config
from vidgan_jax.runtime import processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import locks
from vidgan_jax.runtime.hooks import Hook, HookContext

BEST = "best"  # of a run's folder: a run of its own, to be sampled and evaluated like any other
_MARK = "best.json"


def _what(folder) -> str:
  return f"keep the best state in {folder}"


class EvaluationHook(Hook):
  """Judges the run every so often; writes `evaluation/PROTOCOL/results.json` and scalars.

  With `settings.best` the state of the best such score is kept in `best/`, a folder that every door
  takes as `--workdir`.

  Args:
    settings: `config.evaluation`: every (iterations; 0 never), protocol, count and real_count (of
      clips; 0 is the protocol's), best (a metric of it, or "").
    stream: (`HookContext`, seed) -> the clips of the run now, see `evaluation.clips`; from the
      door.
    report: called with lines for the user.
    load: (protocol) -> extractors.

  Raises:
    UserError: on an unknown protocol, or a metric it has not.
  """

  collective = True

  def __init__(self, settings, stream: Callable, report=print, load=load_extractors):
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
      raise UserError(f"evaluation.best is {self.best!r}, of which neither more nor less is better")
    self._stream = stream
    self._report = lambda line: report(line) if processes.first() else None
    self._extractors = load(self.protocol)  # now: what is missing is told before training begins
    self._evaluator = self._reference = self._kept = None

  def due(self, step, last) -> bool:
    """At every `every`-th iteration and at the last; and at the start, to report faults early."""
    first, self._called = not self._called, True
    return bool(self.every and (first or self._scores_at(step, last)))

  def _scores_at(self, step, last) -> bool:
    return bool(step and (last or step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Scores the run, writes the scores, and keeps the state if it is the best."""
    folder = context.workdir / results.FOLDER / self.protocol.name
    if self._evaluator is None and not self._open(context, folder):
      return
    if not self._scores_at(context.step, context.last):
      return
    if context.step == context.start_step and processes.from_first(
      processes.first() and self._known(folder, context.step)
    ):
      return  # where a run continues
    generated = self._stream(context, seed=0)
    scores = self._evaluator.score(
      generated,
      self._reference,
      count=self.count,
      labelled=clips.labels_fit(self.protocol, self._reference),
      leaving=context.stop_requested,
    )
    if scores is None:
      return  # training was asked to stop
    shown = writer.first_clips(generated, context.mesh)
    best = self._write(context, scores, shown) if processes.first() else None
    if processes.from_first(best is not None):
      self._keep_best(context, best)

  def _write(self, context, scores, shown):
    """Writes scores; returns the record that makes this state the best, or None."""
    content, _ = self._kept.add(self._heading(context), scores, shown)
    values = {f"evaluation/{record['metric']}": record["value"] for record in scores.records}
    context.log.summary(context.step, values)
    found = [r for r in scores.records if r["metric"] == self.best]
    return found[0] if found and self._is_best(context, found[0], content["records"]) else None

  def _open(self, context, folder) -> bool:
    """Prepares networks, real clips and files; False where training was asked to stop."""
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
      return False
    # The first process alone has labels where features were kept from an earlier start.
    labelled = processes.from_first(reference.labels is not None)
    labelled = labelled and clips.labels_fit(self.protocol, reference)
    if self._metric and self._metric.needs_labels and not labelled:
      raise UserError(f"evaluation.best is {self.best!r}, but the data has no labels that it needs")
    self._evaluator, self._reference = evaluator, reference
    self._kept = writer.ResultsWriter(folder, real, reference.class_names, self._report)
    self._kept.check(self._heading(context))  # in all processes, so that all refuse
    if processes.first():
      locks.check(context.workdir / BEST, _what(context.workdir / BEST))
      self._forget_best_after(context.start_step, context.workdir / BEST)
      self._kept.drop_after(context.start_step, self._heading(context))
    processes.meet("earlier scores read")
    return True

  def _heading(self, context):
    workdir = context.workdir
    about = {"workdir": str(workdir), "name": workdir.resolve().name}
    return self._evaluator.heading(self._reference, about)

  def _forget_best_after(self, step, best):
    """Best states of later iterations go: they will come again, and may be others."""
    later = [each for each in Checkpoints(best / states.CHECKPOINTS).steps() if each > step]
    for each in later:
      shutil.rmtree(best / states.CHECKPOINTS / str(each), ignore_errors=True)
    if later:
      (best / _MARK).unlink(missing_ok=True)

  def _known(self, folder, step) -> bool:
    path = folder / results.FILE
    return path.exists() and any(r["step"] == step for r in results.read(path)["records"])

  def _is_best(self, context, record, records) -> bool:
    """Whether no earlier score of the same fingerprint is as good.

    Of iterations whose state could have been kept, that is: `evaluate` may add scores of others.
    """
    sign = 1 if self._metric.higher_is_better else -1
    kept = Checkpoints(context.workdir / BEST / states.CHECKPOINTS).steps()
    others = [
      sign * r["value"]
      for r in records
      if r["metric"] == self.best
      and r["fingerprint"] == record["fingerprint"]
      and r["truncation"] == record["truncation"]
      and (r["step"] or 0) < record["step"]
      and (r["step"] in kept or self._scores_at(r["step"], False))
    ]
    return not others or max(others) < sign * record["value"]

  def _keep_best(self, context, record):
    """Saves the state in a run's folder of its own; all processes together, each its part.

    Args:
      context: see `runtime.hooks.HookContext`.
      record: of the score, in the first process; None in others.
    """
    folder = context.workdir / BEST
    with contextlib.ExitStack() as stack:

      def begin():
        stack.enter_context(locks.held(folder, _what(folder), self._report))
        data = (context.workdir / states.DATA).read_text("utf-8", "replace")
        results.write_text(folder / states.CONFIG, configuration.to_json(context.config))
        results.write_text(folder / states.DATA, data)

      processes.in_first(begin)
      with Checkpoints(folder / states.CHECKPOINTS, 2, self._report) as checkpoints:
        checkpoints.save(context.step, context.sharded_state, {"seconds": 0.0})
      if processes.first():
        mark = {name: record[name] for name in ("step", "metric", "value", "fingerprint")}
        results.write_text(folder / _MARK, json.dumps(mark, indent=2) + "\n")
