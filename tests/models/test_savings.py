"""The networks as the paper writes them, and with every exact saving: equal, with gradients."""

import jax
import numpy as np
import pytest

from vidgan_jax.layers import cpu_convolution
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, Side


@pytest.fixture(scope="module")
def found(tiny_config, randomized, enable_x64):
  """A function (savings) that returns clips, scores and the gradients of both losses."""

  def compute(savings):
    with enable_x64(True):
      config = tiny_config(precision="float64")
      gan = registry.build(config, savings=savings)
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
        # Weights apart, so that neither loss hides the other's gradient.
        total = sum(gan.discriminator_losses(real, fake, Context(0)).values())
        total += 0.3 * sum(gan.generator_losses(fake, real, Context(0)).values())
        return total, (samples, reported, fake.scores, real.scores)

      params = {"generator": variables["generator"]["params"]}
      params |= {name: v["params"] for name, v in variables["discriminators"].items()}
      return jax.device_get(jax.jit(jax.value_and_grad(losses, has_aux=True))(params))

  return compute


@pytest.fixture(scope="module")
def plain(found):
  return found(False)


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_savings_are_exact(found, plain, monkeypatch, device, assert_close):
  """In the forms for a CPU, whatever a convolution's size, and in those for GPU and TPU."""
  monkeypatch.setattr(cpu_convolution, "_WORTH_IT", {"few pixels": 0, "many pixels": 0})
  with cpu_convolution.traced_for(device):
    outputs, gradients = found(True)
  assert_close(outputs, plain[0], 1e-11)
  largest = max(np.max(np.abs(leaf)) for leaf in jax.tree.leaves(plain[1]))
  for (path, got), want in zip(
    jax.tree.leaves_with_path(gradients), jax.tree.leaves(plain[1]), strict=True
  ):
    # Biases before a batch normalisation have no gradient but rounding.
    scale = max(np.max(np.abs(want)), 1e-5 * largest)
    assert np.max(np.abs(got - want)) <= 1e-11 * scale, jax.tree_util.keystr(path)
