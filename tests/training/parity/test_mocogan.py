"""Ten iterations of MoCoGAN equal those of a loop written from its code and LDVD Table 1."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.training.parity import parts
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema

EPSILON = 1e-5  # of batch norm in PyTorch
RATE, BETA1, WEIGHT_DECAY = 1e-3, 0.5, 1e-5
ITERATIONS, AVERAGE_START, AVERAGE_DECAY = 10, 4, 0.9
FRAMES = 13  # the fewest that four windows of 4 frames without padding leave a score of
NAMES = ("image", "video")


def motion(params, state, noise):
  """PyTorch's GRU cell: maps the first state [B, F] and inputs [B, T, F] to states [B, T, F]."""
  of_noise = lambda x: x @ params["motion/input_kernel"] + params["motion/input_bias"]
  of_state = lambda h: h @ params["motion/state_kernel"] + params["motion/state_bias"]
  states = []
  for step in range(noise.shape[1]):
    (wr, wz, wn), (ur, uz, un) = (
      jnp.split(part, 3, axis=1) for part in (of_noise(noise[:, step]), of_state(state))
    )
    z = parts.sigmoid(wz + uz)
    state = (1 - z) * jnp.tanh(wn + parts.sigmoid(wr + ur) * un) + z * state
    states.append(state)
  return jnp.stack(states, axis=1)


def norm(params, statistics, x, name):
  """Batch norm over clips, frames and positions; adds its moments to `statistics`."""
  x, moments = parts.normalized(x, EPSILON)
  statistics.update({f"{name}/{kind}": value for kind, value in moments.items()})
  return x * params[f"{name}/gain"] + params[f"{name}/bias"]


def generator(params, latents):
  """Maps latents to clips [B, T, 16, 16, 3] and batch statistics by path."""
  statistics = {}
  moving = motion(params, latents["start"], latents["motion"])
  still = jnp.repeat(latents["content"][:, None], FRAMES, axis=1)
  # The transposed convolution of one pixel to 4x4 is a matrix product.
  x = jnp.concatenate([still, moving], axis=-1) @ params["layer0/kernel"]
  x = x.reshape(*x.shape[:2], 4, 4, -1)
  for index in range(2):
    x = parts.relu(norm(params, statistics, x, f"norm{index}"))
    x = parts.transposed_convolution(x, params[f"layer{index + 1}/kernel"])
  return jnp.tanh(x), statistics


def discriminator(params, name, x):
  """Maps frames [B, 1, ...] ("image") or clips ("video") to patches' scores, and statistics."""
  statistics = {}
  for index in range(4):
    kernel = params[f"c{index}/kernel"]
    if name == "image":
      x = parts.convolution(x, kernel[0], 2, 1)
    else:
      x = parts.convolution(x, kernel, (1, 2, 2), (0, 1, 1))
    if index in (1, 2):
      x = norm(params, statistics, x, f"norm{index}")
    if index < 3:
      x = parts.leaky_relu(x)
  return x, statistics


def cross_entropy(scores, target):
  """Mean of -log sigmoid(score) for the target 1, of -log(1 - sigmoid(score)) for the target 0."""
  signed = scores if target else -scores
  return -jnp.mean(jnp.log(parts.sigmoid(signed)))


def view(name, clips, frames):
  """What a discriminator sees: one frame of each clip, or all."""
  return parts.frames_of(clips, frames) if name == "image" else clips


@jax.jit
def discriminator_gradient(params, real, generated, real_frames, generated_frames):
  """Gradients of both discriminators; real and generated clips pass separately."""

  def loss(params):
    total, statistics = 0, {}
    for name in NAMES:
      of_real, first = discriminator(params[name], name, view(name, real, real_frames))
      of_generated, second = discriminator(
        params[name], name, view(name, generated, generated_frames)
      )
      total += cross_entropy(of_real, 1) + cross_entropy(of_generated, 0)
      statistics[name] = first, second
    return total, statistics

  return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def generator_gradient(params, opponents, latents, frames):
  """The non-saturating loss."""

  def loss(params):
    clips, statistics = generator(params, latents)
    scores = [discriminator(opponents[n], n, view(n, clips, frames))[0] for n in NAMES]
    return sum(cross_entropy(s, 1) for s in scores), statistics

  return jax.value_and_grad(loss, has_aux=True)(params)


def train(run, draw):
  """The independent loop.

  Args:
    run: the project's run.
    draw: maps the numbers of an iteration and of an update in it to its latents, the frames of the
      real and those of the generated clips.
  """
  start = parts.arrays(run.before)
  g, running = start["generator/params"], start["generator/batch_stats"]
  ema, ema_running = start["ema/params"], start["ema/batch_stats"]
  d = {name: start[f"{name}/params"] for name in NAMES}
  d_running = {name: start[f"{name}/batch_stats"] for name in NAMES}
  adam = lambda params: parts.Adam(params, RATE, BETA1, WEIGHT_DECAY)
  optimizer, d_optimizers = adam(g), {name: adam(d[name]) for name in NAMES}
  create = jax.jit(lambda params, latents: generator(params, latents)[0])
  losses = []
  for step, batch in enumerate(run.batches):
    latents, real_frames, frames = draw(step, 0)
    (d_loss, statistics), slopes = discriminator_gradient(
      d, parts.real_clips(batch, 0), create(g, latents), real_frames, frames
    )
    d = {name: d_optimizers[name].step(d[name], slopes[name]) for name in NAMES}
    for name in NAMES:
      for reported in statistics[name]:
        d_running[name] = parts.blended(d_running[name], reported)

    latents, _, frames = draw(step, 1)  # new clips for the generator's update
    (g_loss, reported), slopes = generator_gradient(g, d, latents, frames)
    g = optimizer.step(g, slopes)
    running = parts.blended(running, reported)
    ema = parts.averaged(ema, g, step + 1, AVERAGE_START, AVERAGE_DECAY)
    ema_running = parts.averaged(ema_running, running, step + 1, AVERAGE_START, AVERAGE_DECAY)
    losses.append({"loss/generator": g_loss, "loss/discriminator": d_loss})
  groups = {
    "generator/params": g,
    "generator/batch_stats": running,
    "ema/params": ema,
    "ema/batch_stats": ema_running,
  }
  for name in NAMES:
    groups |= {f"{name}/params": d[name], f"{name}/batch_stats": d_running[name]}
  for name, one in {"generator": optimizer, **d_optimizers}.items():
    groups |= {f"{name}/{moment}": value for moment, value in one.moments.items()}
  return losses, groups


def test_ten_iterations_of_mocogan(load_config, x64):
  config = load_config("mocogan", "base,runlocal")
  changes = {
    "precision": "float64",
    "batch_size": 4,
    "ema.start": AVERAGE_START,
    "ema.decay": AVERAGE_DECAY,
    "optimizer.generator_lr": RATE,
    "optimizer.discriminator_lr": RATE,
    "model.resolution": 16,
    "model.frames": FRAMES,
    "model.content_dim": 4,
    "model.motion_dim": 3,
    "model.generator.channels": 2,
    "model.discriminator.channels": 2,
  }
  with config.unlocked():
    schema.set_fields(config, changes)
  run = parts.trained(config, ITERATIONS)

  def draw(step, number):
    key = lambda stream: streams.key(config.seed, stream, step, number)
    latents = jax.tree.map(np.asarray, run.gan.latents(key(streams.LATENTS), 4))
    frames = lambda stream: parts.chosen_frames(run.gan, key(stream), 4, "image")
    return latents, frames(streams.VIEWS_REAL), frames(streams.VIEWS_GENERATED)

  losses, expected = train(run, draw)
  # Measured on x86: losses 4e-16, arrays 5e-15. No layer in front of a batch norm has a bias.
  parts.check(run, losses, expected, limit=1e-12, idle="")
