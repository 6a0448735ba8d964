"""All forms of the networks give the same outputs and gradients as the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.analysis.curvature import hessian
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.ops import cpu
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import loop


@pytest.fixture(scope="module")
def run_form(tiny_config, randomized, enable_x64):
  """Returns a function (ops) that returns clips, scores and the gradients of both losses."""

  def compute(ops):
    with enable_x64(True):
      config = tiny_config(precision="float64")
      gan = registry.build(config, ops=ops)
      variables = randomized(jax.eval_shape(lambda: gan.init(jax.random.key(0))))
      generator = np.random.default_rng(0)
      key, label = jax.random.key(1), generator.integers(0, gan.num_classes, 3)
      size = (3, gan.frames, gan.resolution, gan.resolution, 3)
      inputs, pixels = {"label": label}, generator.uniform(-1, 1, size)
      latents = {"z": generator.normal(size=gan.latents(key, 3)["z"].shape)}
      moments = variables["generator"]["batch_stats"]

      def scored(params, samples):
        views = gan.views(key, samples, inputs, Context(0))
        scores = {n: gan.discriminate(n, {"params": params[n]}, views[n], key)[0] for n in views}
        return Side(inputs=inputs, samples=samples, scores=scores)

      def losses(params):
        network = {"params": params["generator"], "batch_stats": moments}
        samples, reported = gan.generate(network, latents, inputs, key, True)
        fake, real = scored(params, samples), scored(params, {**samples, "clip": pixels})
        # Different weights, so that neither loss hides the gradient of the other.
        total = sum(gan.discriminator_losses(real, fake, Context(0)).values())
        total += 0.3 * sum(gan.generator_losses(fake, real, Context(0)).values())
        return total, (samples, reported, fake.scores, real.scores)

      params = {"generator": variables["generator"]["params"]}
      params |= {name: v["params"] for name, v in variables["discriminators"].items()}
      return jax.device_get(jax.jit(jax.value_and_grad(losses, has_aux=True))(params))

  return compute


@pytest.fixture(scope="module")
def plain(run_form):
  return run_form("plain")


@pytest.mark.parametrize("ops", ["cpu", "folded"])
def test_forms_are_exact(run_form, plain, monkeypatch, ops, assert_close):
  """The form for CPUs treats every convolution as a large one here."""
  monkeypatch.setattr(cpu, "_LEAST_WORK", {"few pixels": 0, "many pixels": 0})
  outputs, gradients = run_form(ops)
  assert_close(outputs, plain[0], 1e-11)
  largest = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(plain[1]))
  for (path, got), want in zip(
    jax.tree.leaves_with_path(gradients), jax.tree.leaves(plain[1]), strict=True
  ):
    # The gradients of biases in front of a batch normalisation are zero up to rounding.
    scale = max(np.max(np.abs(want)), 1e-5 * largest)
    assert np.max(np.abs(got - want)) <= 1e-11 * scale, jax.tree_util.keystr(path)


def _settings(gan):
  (settings,) = {network.settings for network in (gan.generator, *gan.discriminators.values())}
  return settings


def test_a_system_is_built_for_the_platform_that_is_named(tiny_config):
  """The argument `platform` decides, not the backend of this process, which is a CPU."""
  config = tiny_config(precision="auto")
  for platform, ops, dtype in [("cpu", "cpu", jnp.float32), ("tpu", "folded", jnp.bfloat16)]:
    settings = _settings(registry.build(config, platform=platform))
    assert (settings.ops, settings.dtype) == (ops, dtype)
    assert _settings(registry.build(config, platform=platform, ops="plain")).ops == "plain"
  assert _settings(registry.build(config)).ops == "cpu"
  as_written = tiny_config(**{"model.savings": False})
  assert _settings(registry.build(as_written, platform="tpu")).ops == "plain"
  with pytest.raises(UserError, match="unknown ops 'fast'; known: plain, folded, cpu, cpu_forward"):
    registry.build(config, ops="fast")


def test_runs_and_analyses_are_built_for_their_devices(tiny_config, tmp_path, monkeypatch):
  config = tiny_config()
  assert _settings(hessian.for_analysis(config, "cpu")).ops == "cpu_forward"
  assert _settings(hessian.for_analysis(config, "gpu")).ops == "folded"
  one = jax.devices()[:1]
  assert _settings(loop.Trainer(config, tmp_path / "cpu", devices=one).gan).ops == "cpu"
  monkeypatch.setattr(meshes, "platform", lambda mesh: "tpu")
  assert _settings(loop.Trainer(config, tmp_path / "tpu", devices=one).gan).ops == "folded"
