"""Ten iterations of TGAN equal those of a loop written from its paper, code and LDVD Table 3."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.training.parity import parts
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema

EPSILON = 2e-5  # of batch norm in Chainer
RATE = 1e-3
ITERATIONS, AVERAGE_START, AVERAGE_DECAY = 10, 4, 0.9


def generator(params, z):
  """Maps z [B, Z] to clips [B, 16, 16, 16, 3] and batch statistics by path."""
  statistics = {}

  def norm(x, name):
    x, moments = parts.normalized(x, EPSILON)
    statistics.update({f"{name}/{kind}": value for kind, value in moments.items()})
    return parts.relu(x * params[f"{name}/gain"] + params.get(f"{name}/bias", 0))

  # One latent per frame. These batch norms have no bias.
  x = (z @ params["temporal/layer0/kernel"] + params["temporal/layer0/bias"])[:, None]
  for index in range(4):
    x = norm(x, f"temporal/norm{index}")
    layer = f"temporal/layer{index + 1}"
    x = parts.transposed_convolution(x, params[f"{layer}/kernel"]) + params[f"{layer}/bias"]
  steps = jnp.tanh(x)
  # The clip's latent is repeated in every frame.
  still = jnp.repeat(z[:, None], steps.shape[1], axis=1)
  halves = []
  for name, latent in (("clip", still), ("frame", steps)):
    half = norm(latent @ params[f"{name}_linear/kernel"], f"{name}_norm")
    halves.append(half.reshape(*half.shape[:2], 4, 4, -1))
  x = jnp.concatenate(halves, axis=-1)
  for index in range(2):
    x = norm(parts.transposed_convolution(x, params[f"layer{index}/kernel"]), f"norm{index}")
  x = parts.convolution(x, params["rgb/kernel"], 1, 1) + params["rgb/bias"]
  return jnp.tanh(x), statistics


def discriminator(params, clips):
  """Maps clips to scores [B] and batch statistics by path."""
  x = parts.convolution(clips, params["c0/kernel"], 2, 1) + params["c0/bias"]
  x = parts.leaky_relu(x)
  x = parts.convolution(x, params["c1/kernel"], 2, 1) + params["c1/bias"]
  x, moments = parts.normalized(x, EPSILON)
  x = parts.leaky_relu(x * params["norm1/gain"])
  # A score for each of the four remaining time steps; the clip's score is their mean.
  steps = parts.convolution(x, params["c2/kernel"], 1, 0) + params["c2/bias"]
  scores = jnp.mean(steps[..., 0, 0, 0], axis=1)
  return scores, {f"norm1/{kind}": value for kind, value in moments.items()}


@jax.jit
def generator_gradient(params, opponent, z):
  """WGAN: the generator maximises the mean score."""

  def loss(params):
    clips, statistics = generator(params, z)
    return -jnp.sum(discriminator(opponent, clips)[0]) / len(z), (clips, statistics)

  return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def discriminator_gradient(params, real, generated):
  """Real and generated clips pass separately, each with its own batch statistics."""

  def loss(params):
    of_real, real_statistics = discriminator(params, real)
    of_generated, generated_statistics = discriminator(params, generated)
    total = jnp.sum(of_generated) / len(generated) - jnp.sum(of_real) / len(real)
    return total, (real_statistics, generated_statistics)

  return jax.value_and_grad(loss, has_aux=True)(params)


def clipped(params, running):
  """Singular value clipping, TGAN 3.2: kernels by SVD, gains by the running deviation."""
  after, largest = dict(params), []
  for name, value in params.items():
    if value.ndim >= 4:
      u, s, v = np.linalg.svd(value.reshape(-1, value.shape[-1]), full_matrices=False)
      after[name] = ((u * np.minimum(s, 1)) @ v).reshape(value.shape)
      largest.append(s[0])
  assert max(largest) > 1.01, "the clipping changes nothing"
  deviation = np.sqrt(running["norm1/variance"])
  assert np.any(params["norm1/gain"] > deviation), "the clipping changes no gain"
  after["norm1/gain"] = np.minimum(np.maximum(params["norm1/gain"], 0.01 * deviation), deviation)
  return after


def train(run, draw):
  """The independent loop; `draw` maps the number of an iteration to its latents."""
  start = parts.arrays(run.before)
  g, d = start["generator/params"], start["video/params"]
  running, d_running = start["generator/batch_stats"], start["video/batch_stats"]
  ema, ema_running = start["ema/params"], start["ema/batch_stats"]
  optimizer, d_optimizer = parts.RmsProp(g, RATE), parts.RmsProp(d, RATE)
  losses = []
  for number, batch in enumerate(run.batches, 1):
    # The generator is updated first. The discriminator sees the clips from before this update.
    (g_loss, (clips, reported)), slopes = generator_gradient(g, d, draw(number - 1))
    g = optimizer.step(g, slopes)
    running = parts.blended(running, reported)
    average = lambda old, new, n=number: parts.averaged(old, new, n, AVERAGE_START, AVERAGE_DECAY)
    ema, ema_running = average(ema, g), average(ema_running, running)

    real = parts.real_clips(batch, 0)
    (d_loss, both), slopes = discriminator_gradient(d, real, clips)
    d = d_optimizer.step(d, slopes)
    # As the project does it. The authors' code blends the statistics of generated clips first, and
    # Chainer's running variance is unbiased; both move the limits of gains in `clipped`.
    for reported in both:
      d_running = parts.blended(d_running, reported)
    if number % 5 == 0:
      d = clipped(d, d_running)
    losses.append({"loss/generator": g_loss, "loss/discriminator": d_loss})
  return losses, {
    "generator/params": g,
    "generator/nu": optimizer.moments["nu"],
    "generator/batch_stats": running,
    "video/params": d,
    "video/nu": d_optimizer.moments["nu"],
    "video/batch_stats": d_running,
    "ema/params": ema,
    "ema/batch_stats": ema_running,
  }


def test_ten_iterations_of_tgan(load_config, x64):
  config = load_config("tgan", "svc,runlocal")
  changes = {
    "precision": "float64",
    "batch_size": 4,
    "ema.start": AVERAGE_START,
    "ema.decay": AVERAGE_DECAY,
    "optimizer.generator_lr": RATE,
    "optimizer.discriminator_lr": RATE,
    "model.resolution": 16,
    "model.latent_dim": 4,
    "model.generator.temporal_channels": (4, 3, 2, 2),
    "model.generator.image_channels": 8,
    "model.discriminator.channels": 2,
  }
  with config.unlocked():
    schema.set_fields(config, changes)
  run = parts.trained(config, ITERATIONS)
  key = lambda step: streams.key(config.seed, streams.LATENTS, step, 0)
  losses, expected = train(run, lambda step: run.gan.latents(key(step), 4)["z"])
  # Measured on x86: losses 1e-15, arrays up to 4e-14, idle biases and means 3e-10. Idle are the
  # biases in front of a batch norm, and the critic's last, which the difference of scores cancels.
  idle = r"temporal/(layer[0-3]/bias|norm\d/mean)|c[12]/bias|norm1/mean"
  parts.check(run, losses, expected, limit=1e-12, idle=idle)
