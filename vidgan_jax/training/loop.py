"""The training loop: run hooks on the current state, save it, take the next batch, train on it."""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from vidgan_jax.data import build as data
from vidgan_jax.data.pipeline import Prefetcher
from vidgan_jax.data.sources.base import Source
from vidgan_jax.models import registry, switches
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import precision, processes
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import paths
from vidgan_jax.runtime.hardware import heartbeat
from vidgan_jax.runtime.hardware.heartbeat import Heartbeat
from vidgan_jax.runtime.hooks import Hook, HookContext
from vidgan_jax.runtime.preemption import Preemption
from vidgan_jax.runtime.progress import Lines, ticking
from vidgan_jax.training import capacity, earlier, guards, optimizers
from vidgan_jax.training import state as states
from vidgan_jax.training import workdir as workdirs
from vidgan_jax.training.clock import Clock, Goodput
from vidgan_jax.training.logs import Log, Reader
from vidgan_jax.training.optimizers import Optimizers
from vidgan_jax.training.phases import Phases
from vidgan_jax.training.starts import branches, weights
from vidgan_jax.training.state import TrainState


def _initialised(
  gan: VideoGan, transforms: Optimizers, config: ConfigDict, like: TrainState
) -> TrainState:
  """Draws the state before the first iteration, with each array created in its sharding."""
  return states.initialisation(gan, transforms, config.seed, like)()


def _describe_batch(size: int, microbatch: int) -> str:
  """Describes how a batch is split, and over how many clips batch normalisation normalises."""
  group = microbatch or size
  if group == size:
    return f"batch {size}"
  return (
    f"batch {size} as {size // group} micro-batches of {group} (batch normalisation takes its "
    f"statistics over {group} clips, gradients are means over the {size})"
  )


class Trainer:
  """Trains one run: creates or continues it, and trains it to its end.

  Args:
    config: the whole config; see `configs/`.
    workdir: folder of the run. If it holds a run, that run continues.
    extra_hooks: hooks of other packages, such as previews; the command passes them.
    flops_per_clip: maps the index of a phase to the FLOPs of one iteration for each clip of the
      batch, in the plain form of the model. With `peak_flops` it gives the model FLOP utilisation;
      None leaves it out.
    peak_flops: peak performance of one device in FLOP/s; None leaves the utilisation out.
    report: called with lines for the user.
    source: data source to use instead of the config's.
    devices: devices to train on; None is all.
    init_from: folder of the run or exported model whose weights a new run begins with.
    open_export: opens an exported model for `init_from` (`sampling.exported.Exported`).

  Attributes:
    stopped: whether a signal ended the run before its last iteration.

  Raises:
    UserError: on bad input.
  """

  def __init__(
    self,
    config: ConfigDict,
    workdir: str | os.PathLike,
    extra_hooks: Iterable[Hook] = (),
    *,
    flops_per_clip: Callable[[int], float] | None = None,
    peak_flops: float | None = None,
    report: Callable[[str], None] = print,
    source: Source | None = None,
    devices: Sequence[jax.Device] | None = None,
    init_from: str | None = None,
    open_export: Callable[[str], Any] | None = None,
  ):
    workdir = paths.staged(workdir, "--workdir")
    self.config = config = earlier.with_absolute_run(config)
    self._goodput = Goodput()
    self._report_anywhere = report
    self.report = report = report if processes.first() else lambda line: None
    switches.check(config)
    self.mesh = meshes.make_mesh(devices)
    part = meshes.part_of_batch(self.mesh)
    precision.check_width(config.precision)
    self.gan = registry.build(config, platform=meshes.platform(self.mesh))
    self.phases = Phases(self.gan, config)
    self.phases.check(self.mesh)
    workdirs.check_fault(workdir, self.gan, report)
    self.transforms = optimizers.build(config, self.gan.discriminators)
    self.like = states.abstract(self.gan, self.transforms, config.seed, self.mesh, config.sharding)
    capacity.check_config(config, self.like, self.mesh)
    new_folders = workdirs.missing(workdir)
    self.workdir = workdirs.create(workdir, config)
    self.checkpoints = Checkpoints(
      self.workdir / states.CHECKPOINTS, config.checkpoints_kept, report=report
    )
    try:
      if source is None and not self.checkpoints.steps():
        data.check_new(config.data)
      self.source = source or data.build_source(
        config.data,
        frames=self.gan.frames,
        resolution=self.gan.resolution,
        num_classes=self.gan.num_classes,
        report=report,
      )
      # Built here, and not in `run`, so that a wrong reader is refused at once.
      self._batches = self.phases.batches(self.source, part, report)
      names = self.source.class_names
      self._weights = weights.for_training(
        init_from, self.workdir, config, self.like, names, self.mesh, open_export, report
      )
      self._description = self.source.description()
      if self.checkpoints.steps():
        states.check_data(self.workdir, self._description)
      self.frozen, self._stages = earlier.for_training(
        config, self.gan, self.workdir, self._description["class_names"], self.mesh, report
      )
    except UserError:
      if processes.first():
        workdirs.remove_empty(new_folders)  # leave no empty folder behind
      raise
    guard = config.guard
    self.hooks = [*extra_hooks, guards.DarkGuard(guard.dark_fraction, guard.dark_patience)]
    self._flops_per_clip = flops_per_clip
    self._programs = {}  # {index of a phase: (program, seconds of its compilation)}, until used
    self._flops: float | None = None  # of one iteration of the phase that is trained
    self._peak = peak_flops and peak_flops * self.mesh.devices.size
    self.log: Log | Reader  # opened by `run`
    self.stopped = False
    # (step, metrics) of the last iteration, which are not fetched from the devices yet.
    self._pending: tuple[int, dict[str, jax.Array]] | None = None
    self._read_back = False  # whether this process has read back a checkpoint that it saved
    self._extra_metrics = {}  # enter the next record of the log only
    self._branch = branches.scalars(self.workdir)  # enter every record

  def run(self) -> TrainState:
    """Trains to `config.num_iterations`, or until a signal, and returns the last state.

    Raises:
      UserError: on bad input, or if a file cannot be written.
      Stopped: a guard ends the run.
    """
    count = jax.process_count()
    self._alive = Heartbeat(self.workdir, jax.process_index(), count, self._report_anywhere)
    lock = workdirs.locked(self.workdir, self.config, self._description, self.report)
    announced = heartbeat.announced(self.workdir, self._report_anywhere)
    with lock, announced, self._alive, Preemption(self.report, watch=count == 1) as preemption:
      with preemption.nothing_to_lose():
        earlier.write_record(self.workdir, self._stages)
        restored = self.checkpoints.restore(self.like)
        if restored is None:
          state, timers = None, {"seconds": 0.0}
        else:
          state, timers = restored
        begin = int(state.step) if state is not None else 0
        self.checkpoints.set_aside(after=begin)
        processes.stop_requested(begin)  # from now on, all processes stop at the same step
        if state is not None:
          self.report(f"continuing from the checkpoint at iteration {begin}")
        if state is not None and begin >= self.config.num_iterations:
          self.report(f"already trained for {begin} iterations")
          return state
        devices = self.mesh.devices.flat
        self.report(
          f"training on {len(devices)} x {devices[0].device_kind}"
          f"{f' in {count} processes' if count > 1 else ''}, "
          f"{precision.policy(self.config.precision, devices[0].platform).name}, "
          f"{_describe_batch(self.phases.at(begin).batch_size, self.config.microbatch)}"
        )
        if len(devices) > 1:
          self.report(states.describe_size(self.like, self.mesh, self.config.sharding))
        if state is None:
          # The last phase needs the most memory. A run that cannot reach it must not begin.
          last = self.phases.index(self.config.num_iterations - 1)
          self._programs[last] = self._compile(last)
        program = self._program(self.phases.index(begin))
        if state is None:
          state = self._first_state()
      try:
        log = Log if processes.first() else Reader
        with self.checkpoints, log(self.workdir, begin, self.report) as self.log:
          for record in self.log.records:
            for hook in self.hooks:
              hook.replay(record["step"], record)
          return self._iterate(program, state, begin, Clock(timers["seconds"]), preemption)
      except BrokenPipeError:
        raise
      except OSError as error:
        raise UserError(f"cannot write to {self.workdir}: {error.strerror or error}") from error

  def _first_state(self) -> TrainState:
    """The state before the first iteration. With the weights of another model, it is saved."""
    state = _initialised(self.gan, self.transforms, self.config, self.like)
    if self._weights is None:
      weights.remove_record(self.workdir)
      return state
    state, self._weights = self._weights.into(state, self.workdir), None
    self.checkpoints.save(0, state, {"seconds": 0.0})
    return state

  def _program(self, index: int) -> jax.stages.Compiled:
    """The iteration of phase `index`, compiled unless it is already."""
    program, seconds = self._programs.pop(index, None) or self._compile(index)
    self._extra_metrics = {"time/compile_seconds": seconds}
    if self._flops_per_clip:
      self._flops = self._flops_per_clip(index) * self.phases.all[index].batch_size
    return program

  def _compile(self, index: int) -> tuple[jax.stages.Compiled, float]:
    """Compiles the iteration of phase `index`, and compares its memory with the devices'."""
    name = self.phases.name(index)
    what = f"the iteration of {name}" if name else "the iteration"
    self._alive.at(None, "compiling")
    with self._goodput.part("compiling"), ticking(f"compiling {what}"):
      program, seconds = self.phases.compiled(
        index, self.transforms, self.like, self.mesh, self.frozen
      )
    self.report(f"compiled {what} in {seconds:.1f} s")
    capacity.check_program(program, self.mesh)
    return program, seconds

  def _iterate(
    self,
    program: jax.stages.Compiled,
    state: TrainState,
    begin: int,
    clock: Clock,
    preemption: Preemption,
  ) -> TrainState:
    """Runs iterations `begin`..`config.num_iterations` - 1; returns the last state."""
    config, end = self.config, self.config.num_iterations
    # Two batches are sent to the devices in advance, while earlier iterations run.
    feed = lambda iteration: meshes.put_batch(self._batches(iteration), self.mesh)
    bar = tqdm(
      total=end,
      initial=begin,
      unit="it",
      desc="training",
      dynamic_ncols=True,
      disable=None if processes.first() else True,  # None disables it if stderr is no terminal
    )
    self._lines = Lines(self.report, end)
    self._goodput.started()
    with bar, Prefetcher(feed, begin, depth=2) as stream:
      for step in range(begin, end + 1):
        leave = preemption.requested or processes.stop_requested(step)
        due = leave or step == end or step % config.checkpoint_every == 0
        if due:
          # Check the metrics of the last iteration before its state may be saved.
          self._process_metrics(clock, bar, state)
        clock.stop()
        if not leave:  # hooks take time, and a signal asks to exit soon
          self._alive.at(step, "hooks")
          self._before_save(state, step, begin, step == end, lambda: preemption.requested)
        # A state that a hook calls unhealthy is saved only if the process ends here.
        healthy = leave or step == end or all(hook.healthy() for hook in self.hooks)
        if step > begin and due and healthy:
          self._alive.at(step, "saving")
          self._save(step, state, {"seconds": clock.total}, read_back=not leave)
        self.checkpoints.check()
        if leave or step == end:
          break
        if step > begin and step == self.phases.at(step).begin:
          self._process_metrics(clock, bar, state)
          clock.rate()  # the rates that are logged next are of this phase alone
          clock.stop()
          program = self._program(self.phases.index(step))
        clock.start()
        self._alive.at(step, "input")
        requested = time.perf_counter()
        _, batch = next(stream)
        waited = time.perf_counter() - requested
        self._goodput.add("input", waited)
        self._alive.at(step, "training")
        with jax.transfer_guard("disallow"):  # all inputs of the program are on the devices already
          state, metrics = program(state, batch, self.frozen)
        clock.iteration(waited)
        self._process_metrics(clock, bar, state)
        self._pending = (step + 1, metrics)
        bar.update()
    with self._goodput.part("saving"):
      self.checkpoints.wait()
    self.stopped = leave and step < end
    self.report(f"iteration {step} of {end}, {self._goodput}")
    if self.stopped:
      saved = f"saved at iteration {step}" if step else "before the first iteration"
      self.report(f"stopped by a signal: {saved}; the same command continues")
    return state

  def _save(self, step: int, state: TrainState, timers: dict, *, read_back: bool) -> None:
    """Saves a checkpoint; reads the first one back, so that no run goes on that cannot resume."""
    with self._goodput.part("saving"):
      if processes.first():
        # The log in a bucket must not end before its newest checkpoint.
        workdirs.write_back(self.workdir)
      self.checkpoints.save(step, state, timers)
      if read_back and not self._read_back:
        self.checkpoints.read_back(step, state)
        self._read_back = True

  def _before_save(
    self, state: TrainState, step: int, begin: int, last: bool, stop_requested: Callable[[], bool]
  ) -> None:
    """Runs the hooks that are due; see `runtime.hooks` for which process runs which."""
    due = [hook for hook in self.hooks if hook.due(step, last)]
    if not due:
      return
    addressable, frozen = processes.local((state, self.frozen), self.mesh)
    collective = HookContext(
      step=step,
      state=addressable,
      sharded_state=state,
      frozen=frozen,
      gan=self.gan,
      config=self.config,
      source=self.source,
      mesh=self.mesh,
      workdir=self.workdir,
      log=self.log,
      start_step=begin,
      last=last,
      stop_requested=stop_requested,
    )
    local = [d for d in self.mesh.devices.flat if d.process_index == jax.process_index()]
    ordinary = dataclasses.replace(collective, mesh=meshes.make_mesh(local[:1]))
    with self._goodput.part("hooks"):
      for hook in due:
        if hook.collective:
          hook.before_save(collective)
        elif processes.first():
          hook.before_save(ordinary)

  def _process_metrics(self, clock: Clock, bar: tqdm, state: TrainState) -> None:
    """Fetches, checks and logs the metrics of the iteration before the one that now runs."""
    if self._pending is None:
      return
    (step, metrics), self._pending = self._pending, None
    finite = float(metrics["finite"])
    if finite == 1 and step != 1 and step % self.config.log_every:
      return
    values = {name: value.item() for name, value in jax.device_get(metrics).items()}
    seconds, waited = clock.rate()
    values |= self._extra_metrics | self.phases.scalars(step - 1) | self._branch
    self._extra_metrics = {}
    values["time/step_seconds"] = seconds
    values["time/input_seconds"] = waited
    values["time/videos_per_second"] = self.phases.at(step - 1).batch_size / seconds
    values["time/training_seconds"] = clock.total
    values |= {f"time/share_{part}": share for part, share in self._goodput.shares().items()}
    if self._flops:
      values["time/tflop_per_second"] = self._flops / seconds / 1e12
      if self._peak:
        values["time/model_flop_utilisation"] = self._flops / seconds / self._peak
    self.log.scalars(step, values)
    guards.check_finite(step, finite, values, state)  # after logging, so that the log shows why
    losses = f"D {values['loss/discriminator']:.3f} G {values['loss/generator']:.3f}"
    losses = ", ".join(filter(None, (losses, self.phases.progress(step - 1))))
    bar.set_postfix_str(losses, refresh=False)
    if bar.disable:
      self._lines.update(step, seconds, losses)
    for hook in self.hooks:
      hook.metrics(step, values)
