"""Hooks of the loop: each gets the mesh and the state that it computes with."""

import jax
import pytest

from vidgan_jax.analysis.curvature.hook import CurvatureHook
from vidgan_jax.evaluation.hook import EvaluationHook
from vidgan_jax.runtime.hooks import Hook
from vidgan_jax.sampling.preview import PreviewHook
from vidgan_jax.training import loop
from vidgan_jax.training.curves import CurvesHook
from vidgan_jax.training.guards import DarkGuard


@pytest.mark.parametrize(
  "kind", [CurvatureHook, CurvesHook, DarkGuard, EvaluationHook, PreviewHook]
)
def test_every_hook_is_one(kind):
  assert issubclass(kind, Hook)
  assert kind.collective == (kind is EvaluationHook)


class Recorder(Hook):
  """Records the arguments of its calls."""

  def __init__(self, collective):
    self.collective, self.contexts = collective, []

  def due(self, step, last):
    return last

  def before_save(self, context):
    self.contexts.append(context)


def test_ordinary_hooks_get_one_device_and_collective_ones_all(tmp_path, lean_config):
  ordinary, collective = Recorder(False), Recorder(True)
  config = lean_config(batch_size=8, num_iterations=2)
  trainer = loop.Trainer(config, tmp_path, [ordinary, collective], report=lambda line: None)
  state = trainer.run()
  (one,), (every,) = ordinary.contexts, collective.contexts
  assert [*one.mesh.devices.flat] == jax.devices()[:1]
  assert [*every.mesh.devices.flat] == jax.devices() and every.mesh.devices.size == 8
  for context in (one, every):
    assert (context.step, context.start_step, context.last) == (2, 0, True)
    assert context.sharded_state is state and not context.stop_requested()
    assert all(leaf.is_fully_addressable for leaf in jax.tree.leaves(context.state))
    assert context.gan is trainer.gan and context.source is trainer.source
