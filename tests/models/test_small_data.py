"""R1 and differentiable augmentation: switches of every system."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.layers import augmentation
from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.runtime.config import schema
from vidgan_jax.training import optimizers, state
from vidgan_jax.training.step import Iteration

KEY = jax.random.key(0)
ROWS = (
  ("quickstart", "runlocal"),
  ("tgan", "f_c1,runlocal"),
  ("mocogan", "categorical,runlocal"),
  ("vgan", "ucf101_16,runlocal"),
  ("tgan_v2", "shapes,runlocal"),
)
ON = {"r1.weight": 0.1, **{f"augmentation.{kind}": True for kind in augmentation.KINDS}}


def primitives(jaxpr):
  """How often each primitive stands in a program."""
  counts = {}
  for equation in jaxpr.eqns:
    counts[equation.primitive.name] = counts.get(equation.primitive.name, 0) + 1
    for value in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        for name, count in primitives(inner).items():
          counts[name] = counts.get(name, 0) + count
  return counts


@pytest.mark.parametrize(("file", "row"), ROWS)
def test_every_system_takes_both(load_config, file, row):
  """The iteration is traced: R1 of each discriminator is in its metrics, gathers in its program."""

  def traced(**changes):
    config = load_config(file, row)
    with config.unlocked():
      schema.set_fields(config, {"r1.weight": 0.0, **changes})
    gan = registry.build(config)
    transforms = optimizers.build(config, gan.discriminators)
    start = jax.eval_shape(lambda: state.create(gan, transforms, 0))
    batch = jax.eval_shape(
      lambda: jax.tree.map(
        lambda a: jnp.stack([a] * gan.schedule.discriminator_steps),
        gan.example_batch(config.batch_size),
      )
    )
    iteration = Iteration(gan, transforms, config)
    program, shapes = jax.make_jaxpr(iteration, return_shape=True)(start, batch)
    return gan, set(shapes[1]), primitives(program.jaxpr)

  gan, metrics, without = traced()
  _, with_both, more = traced(**ON)
  parts = {f"loss/discriminator/r1_{name}" for name in gan.discriminators}
  assert with_both - metrics == parts and metrics <= with_both
  assert more["gather"] > without.get("gather", 0)  # of translations
  # Their derivatives are in the generator's update alone.
  assert more["scatter-add"] > without.get("scatter-add", 0)


def test_the_score_of_a_clip_is_what_the_loss_reads(load_config, normal):
  """R1 takes its gradient: VGAN has two logits, MoCoGAN patches and logits of categories."""
  vgan = registry.build(load_config("vgan", "ucf101_16,runlocal"))
  logits = normal((3, 2))
  score = vgan.clip_scores("video", logits)
  loss = vgan.discriminator_losses(*2 * [Side({}, {}, {}, {"video": logits})], Context())["real"]
  assert float(loss) == pytest.approx(np.mean(np.log1p(np.exp(-score))), rel=1e-5)
  mocogan = registry.build(load_config("mocogan", "categorical,runlocal"))
  clips = normal((3, 5))
  np.testing.assert_allclose(mocogan.clip_scores("video", clips), clips[:, 0], rtol=1e-6)
  patches = normal((3, 2, 2))
  score = mocogan.clip_scores("image", patches)
  np.testing.assert_allclose(score, patches.mean((1, 2)), rtol=1e-5)


def test_r1_is_the_mean_squared_norm_at_the_real_clips(x64, tiny_config, randomized, normal):
  """Of the summed hinge: the gradient of the sum over frames, of both of DVD-GAN's networks."""
  config = tiny_config(**{"r1.weight": 0.3, "precision": "float64"})
  gan = registry.build(config, ops="plain")
  networks = randomized(jax.eval_shape(lambda: gan.init(KEY)))["discriminators"]
  batch = {"clip": np.zeros((3, 4, 8, 8, 3), np.uint8), "label": np.array([0, 1, 2])}
  samples = {"clip": normal((3, 4, 8, 8, 3))}
  views = gan.views(KEY, samples, gan.real_inputs(KEY, batch, Context()), Context())
  score = lambda name, view: gan.discriminate(name, networks[name], view, KEY)[0]
  for aggregation, reduce in (("sum_before", jnp.sum), ("mean_after", jnp.mean)):
    with config.unlocked():
      config.model.aggregation = aggregation
    parts = registry.build(config, ops="plain").penalties(score, views, {}, KEY, Context())
    for name, view in views.items():
      squares = []
      for i in range(3):
        one = jax.tree.map(lambda a, i=i: a[i : i + 1], view)
        of = lambda clip, one=one, name=name, reduce=reduce: reduce(
          score(name, {**one, "clip": clip})
        )
        squares.append(float(jnp.sum(jax.grad(of)(one["clip"]) ** 2)))
      assert float(parts[f"r1_{name}"]) == pytest.approx(0.3 * np.mean(squares), rel=1e-9)


def test_both_are_off_by_default(tiny_config):
  gan = registry.build(tiny_config())
  assert gan.augmentation == () and gan.penalties(None, {}, {}, KEY, Context()) == {}
  samples = {"clip": jnp.ones((2, 4, 8, 8, 3))}
  inputs = {"label": jnp.zeros(2, jnp.int32)}
  views = [f(KEY, samples, inputs, Context()) for f in (gan.views, gan.augmented_views)]
  assert all(map(np.array_equal, *map(jax.tree.leaves, views)))


def test_only_clips_are_augmented(tiny_config):
  gan = registry.build(tiny_config(**{"augmentation.cutout": True}))
  samples = {"clip": jnp.ones((2, 4, 8, 8, 3)), "mask": jnp.ones((2, 4, 8, 8, 1))}
  seen = {}

  class Recorder(type(gan)):
    def views(self, key, samples, inputs, context):
      seen.update(samples)
      return {}

  recorder = Recorder(**{f: getattr(gan, f) for f in gan.__dataclass_fields__})
  recorder.augmented_views(KEY, samples, {}, Context())
  assert np.all(seen["mask"] == 1) and not np.all(seen["clip"] == 1)
