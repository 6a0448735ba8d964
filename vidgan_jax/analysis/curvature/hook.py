"""Measures curvature and gradient norms of the discriminators during training."""

from typing import Any

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.analysis.curvature import records as curvature
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.hooks import Hook, HookContext


class CurvatureHook(Hook):
  """Measures all discriminators at regular intervals and writes to `WORKDIR/analysis`.

  It also measures the initial state. It abandons a measurement when the run is asked to stop.

  Args:
    settings: `config.analysis`: every (iterations between measurements, 0 never measures),
      batch_size, eigenvalues, products.
  """

  def __init__(self, settings: Any):
    self.every = settings.every
    self.options = curvature.Options(settings.batch_size, settings.eigenvalues, settings.products)
    self._gan: VideoGan | None = None

  def due(self, step: int, last: bool) -> bool:
    """Before the first iteration, every `every` iterations and after the last."""
    return bool(self.every and (last or step % self.every == 0))

  def before_save(self, context: HookContext) -> None:
    """Measures the state and adds records to the files."""
    folder = context.workdir / curvature.FOLDER
    if self._gan is None:
      self._gan = hessian.for_analysis(context.config, meshes.platform(context.mesh))
      for what, name in curvature.FILES.items():
        settings = self.options.settings(what, context.config, context.source)
        curvature.drop_after(folder / name, what, settings, context.start_step)
      if context.step == context.start_step and self._measured(self._gan, folder, context.step):
        return  # the run has resumed at a step that it measured before
    try:
      curvature.analyze(
        self._gan,
        context.config,
        context.state,
        context.source,
        folder,
        sorted(self._gan.discriminators),
        self.options,
        what=tuple(curvature.FILES),
        frozen=context.frozen,
        stop=context.stop_requested,
      )
    except (hessian.Abandoned, hessian.NotFinite):
      pass  # the loop's guard reports a state that is not finite

  def _measured(self, gan: VideoGan, folder, step) -> bool:
    """Whether both files have records of all discriminators at `step`."""
    names = {*gan.discriminators}
    for what, name in curvature.FILES.items():
      if not (folder / name).exists():
        return False
      records = curvature.read(folder / name, what)["records"]
      if names - {record["discriminator"] for record in records if record["step"] == step}:
        return False
    return True
