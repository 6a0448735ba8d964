"""Ten iterations of DVD-GAN equal those of a loop written from its paper's A.2 and A.3."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.training.parity import parts
from vidgan_jax.models.contract import Context
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema

EPSILON = 1e-5  # of batch norm in BigGAN
RATE, D_RATE, BETA1 = 1e-4, 2e-4, 0.0
ITERATIONS, AVERAGE_START, AVERAGE_DECAY = 10, 4, 0.9
FRAMES, BATCH = 5, 4
GROWS = (False, True, False, True)  # which of the generator's blocks upsample
NAMES = ("spatial", "temporal")


def normalized(params, vectors):
  """Divides every weight that has a vector u by v^T W u after one power iteration.

  A kernel [*window, in, out] is the matrix W [window * in, out], a table of embeddings is W^T.

  Returns:
    the weights and the new vectors, which have no gradients.
  """
  weights, after = dict(params), {}
  for name, u in vectors.items():
    matrix = params[name].reshape(-1, params[name].shape[-1])
    matrix = matrix.T if name.endswith("embedding") else matrix
    fixed = jax.lax.stop_gradient(matrix)
    v = fixed @ u
    v = v / jnp.sqrt(jnp.sum(v * v))
    u = fixed.T @ v
    u = u / jnp.sqrt(jnp.sum(u * u))
    weights[name] = params[name] / (v @ matrix @ u)
    after[name] = u
  return weights, after


def conv(weights, name, x):
  """A convolution with bias whose output has the size of its input."""
  kernel = weights[f"{name}/kernel"]
  return parts.convolution(x, kernel, 1, kernel.shape[0] // 2) + weights[f"{name}/bias"]


def pooled(x, factors):
  """Means over whole windows on the axes before the channels."""
  for axis, factor in zip(range(-len(factors) - 1, -1), factors, strict=True):
    count = x.shape[axis] // factor
    taken = [
      jax.lax.slice_in_dim(x, start, count * factor, stride=factor, axis=axis)
      for start in range(factor)
    ]
    x = sum(taken) / factor
  return x


def doubled(x):
  """Every pixel of [..., H, W, C] four times."""
  return jnp.repeat(jnp.repeat(x, 2, axis=-3), 2, axis=-2)


def attention(weights, name, x, axes):
  """SAGAN's attention among the positions of `axes` of x [B, T, H, W, C], e.g. (2,) for height."""
  front = [axis for axis in range(4) if axis not in axes]
  order = [*front, *axes, 4]
  tokens = jnp.transpose(x, order)
  shape = tokens.shape
  tokens = tokens.reshape(*shape[: len(front)], -1, shape[-1])
  query, key, value = (tokens @ weights[f"{name}/{n}/kernel"] for n in ("query", "key", "value"))
  logits = query @ jnp.swapaxes(key, -1, -2)
  odds = jnp.exp(logits)
  mixed = (odds / jnp.sum(odds, axis=-1, keepdims=True)) @ value @ weights[f"{name}/output/kernel"]
  mixed = jnp.transpose(mixed.reshape(shape), np.argsort(order))
  return x + weights[f"{name}/gamma"] * mixed


def recurrent(weights, x):
  """The multiplicative ConvGRU (A.2): the same x [B, 4, 4, C] at each step, and states from 0."""
  h, states = jnp.zeros_like(x), []
  for _ in range(FRAMES):
    g = conv(weights, "rnn/gate_state", h) * conv(weights, "rnn/gate_input", x)
    joined = jnp.concatenate([g, x], axis=-1)
    r = parts.sigmoid(conv(weights, "rnn/reset", joined))
    u = parts.sigmoid(conv(weights, "rnn/update", joined))
    c = parts.relu(conv(weights, "rnn/candidate", jnp.concatenate([x, r * g], axis=-1)))
    h = u * g + (1 - u) * c
    states.append(h)
  return jnp.stack(states, axis=1)


def generator(weights, z, labels):
  """Maps z [B, Z] and labels [B] to clips [B, 5, 16, 16, 3] and batch statistics by path."""
  statistics = {}

  def norm(x, name):  # the statistics of each time step are separate
    x, moments = parts.normalized(x, EPSILON, (0, 2, 3))
    statistics.update({f"{name}/{kind}": value for kind, value in moments.items()})
    return x

  condition = jnp.concatenate([z, weights["embed/embedding"][labels]], axis=-1)

  def conditional(x, name):
    gain, bias = (condition @ weights[f"{name}/{kind}/kernel"] for kind in ("gain", "bias"))
    return norm(x, name) * (1 + gain[:, None, None, None]) + bias[:, None, None, None]

  x = condition @ weights["linear/kernel"] + weights["linear/bias"]
  x = recurrent(weights, x.reshape(len(z), 4, 4, -1))
  x = attention(weights, "attention", x, (1, 2, 3))
  for index, grows in enumerate(GROWS):
    if index == len(GROWS) - 1:
      for name, axis in (("height", 2), ("width", 3), ("time", 1)):
        x = attention(weights, f"separable_attention/{name}", x, (axis,))
    block = f"block{index}"
    out = parts.relu(conditional(x, f"{block}/norm1"))
    out = conv(weights, f"{block}/conv1", doubled(out) if grows else out)
    out = conv(weights, f"{block}/conv2", parts.relu(conditional(out, f"{block}/norm2")))
    x = doubled(x) if grows else x
    x = out + (conv(weights, f"{block}/shortcut", x) if f"{block}/shortcut/bias" in weights else x)
  x = parts.relu(norm(x, "norm") * weights["norm/gain"] + weights["norm/bias"])
  return jnp.tanh(conv(weights, "to_rgb", x)), statistics


def discriminator(weights, name, clips, labels):
  """Maps frames ("spatial") or downsampled clips ("temporal") to one score per clip, a sum."""
  x = clips
  for index in range(3):
    pools = [(2, 2, 2), (2, 2, 2), ()] if name == "temporal" else [(2, 2), (2, 2), ()]
    block, pool = f"block{index}", pools[index]
    # Pixels enter the first block without ReLU. The shortcut has none in any block.
    out = conv(weights, f"{block}/conv1", parts.relu(x) if index else x)
    out = pooled(conv(weights, f"{block}/conv2", parts.relu(out)), pool)
    x = pooled(x, pool)
    x = out + (conv(weights, f"{block}/shortcut", x) if f"{block}/shortcut/bias" in weights else x)
  hidden = jnp.sum(parts.relu(x), axis=(2, 3))
  scores = hidden @ weights["head/linear/kernel"][:, 0] + weights["head/linear/bias"][0]
  scores += jnp.einsum("btc,bc->bt", hidden, weights["head/embed/embedding"][labels])
  return jnp.sum(scores, axis=1)


def view(name, clips, frames):
  """k frames of each clip for the spatial, all at half their size for the temporal one."""
  return parts.frames_of(clips, frames) if name == "spatial" else pooled(clips, (2, 2))


@jax.jit
def discriminator_gradient(params, vectors, real, generated):
  """The hinge losses; a side is (clips, labels, numbers of the spatial discriminator's frames)."""

  def loss(params):
    total, after = 0, {}
    for name in NAMES:
      weights, after[name] = normalized(params[name], vectors[name])
      score = lambda clips, labels, frames, w=weights, n=name: discriminator(
        w, n, view(n, clips, frames), labels
      )
      total += jnp.mean(parts.relu(1 - score(*real))) + jnp.mean(parts.relu(1 + score(*generated)))
    return total, after

  return jax.value_and_grad(loss, has_aux=True)(params)


@jax.jit
def create(params, vectors, z, labels):
  """The clips of a discriminator update. The generator's vectors stay."""
  return generator(normalized(params, vectors)[0], z, labels)[0]


@jax.jit
def generator_gradient(params, vectors, opponents, opponents_vectors, z, labels, frames):
  """The generator minimises minus the scores. The discriminators' vectors stay."""

  def loss(params):
    weights, after = normalized(params, vectors)
    clips, statistics = generator(weights, z, labels)
    total = 0
    for name in NAMES:
      opponent, _ = normalized(opponents[name], opponents_vectors[name])
      total -= jnp.mean(discriminator(opponent, name, view(name, clips, frames), labels))
    return total, (statistics, after)

  return jax.value_and_grad(loss, has_aux=True)(params)


def train(run, draw):
  """The independent loop.

  Args:
    run: the project's run.
    draw: maps the numbers of an iteration and of an update in it to z, the labels of the generated
      clips, and the numbers of the frames of real and generated clips.
  """
  start = parts.arrays(run.before)
  g, running, vectors = (start[f"generator/{n}"] for n in ("params", "batch_stats", "spectral"))
  ema, ema_running = start["ema/params"], start["ema/batch_stats"]
  d = {name: start[f"{name}/params"] for name in NAMES}
  d_vectors = {name: start[f"{name}/spectral"] for name in NAMES}
  optimizer = parts.Adam(g, RATE, BETA1)
  d_optimizers = {name: parts.Adam(d[name], D_RATE, BETA1) for name in NAMES}
  losses = []
  for step, batch in enumerate(run.batches):
    d_losses = []
    for number in range(2):  # two discriminator updates, each on new clips
      z, labels, real_frames, frames = draw(step, number)
      real = parts.real_clips(batch, number), batch["label"][number], real_frames
      generated = create(g, vectors, z, labels), labels, frames
      (loss, d_vectors), slopes = discriminator_gradient(d, d_vectors, real, generated)
      d = {name: d_optimizers[name].step(d[name], slopes[name]) for name in NAMES}
      d_losses.append(loss)
    z, labels, _, frames = draw(step, 2)
    (loss, (reported, vectors)), slopes = generator_gradient(
      g, vectors, d, d_vectors, z, labels, frames
    )
    g = optimizer.step(g, slopes)
    running = parts.blended(running, reported)
    ema = parts.averaged(ema, g, step + 1, AVERAGE_START, AVERAGE_DECAY)
    ema_running = parts.averaged(ema_running, running, step + 1, AVERAGE_START, AVERAGE_DECAY)
    losses.append({"loss/generator": loss, "loss/discriminator": sum(d_losses) / 2})
  groups = {
    "generator/params": g,
    "generator/batch_stats": running,
    "generator/spectral": vectors,
    "ema/params": ema,
    "ema/batch_stats": ema_running,
  }
  for name in NAMES:
    groups |= {f"{name}/params": d[name], f"{name}/spectral": d_vectors[name]}
  for name, one in {"generator": optimizer, **d_optimizers}.items():
    groups |= {f"{name}/{moment}": value for moment, value in one.moments.items()}
  return losses, groups


def test_ten_iterations_of_dvd_gan(load_config, x64):
  config = load_config("dvd_gan", "kinetics600_64x12,runlocal")
  changes = {
    "precision": "float64",
    "batch_size": BATCH,
    "ema.start": AVERAGE_START,
    "ema.decay": AVERAGE_DECAY,
    "model.resolution": 16,
    "model.frames": FRAMES,
    "model.num_classes": 3,
    "model.latent_dim": 3,
    "model.embedding_dim": 2,
    "model.generator.multipliers": (2, 2, 1),  # 8 channels or more for attention's eighth
    "model.discriminator.channels": 2,
    "model.discriminator.multipliers": (1, 2, 2),
    "model.discriminator.sampled_frames": 2,
  }
  with config.unlocked():
    schema.set_fields(config, changes)
  run = parts.trained(config, ITERATIONS)
  gan = run.gan

  def draw(step, number):
    key = lambda stream: streams.key(config.seed, stream, step, number)
    frames = lambda stream: parts.chosen_frames(gan, key(stream), BATCH, "spatial")
    batch = {"label": np.zeros(BATCH, np.int32)}  # the labels to generate do not depend on it
    labels = gan.generated_inputs(key(streams.INPUTS), batch, Context(step))["label"]
    z = np.asarray(gan.latents(key(streams.LATENTS), BATCH)["z"])
    return z, np.asarray(labels), frames(streams.VIEWS_REAL), frames(streams.VIEWS_GENERATED)

  losses, expected = train(run, draw)
  # Measured on x86: losses 6e-16, arrays up to 2e-13, idle biases and means 5e-12. Idle are the
  # biases in front of a batch norm (in blocks before separable attention only those of conv1), and
  # those of scores where hinges of opposite slopes cancel.
  idle = (
    r"block\d/conv1/bias|block3/(conv2|shortcut)/bias|(block\d/norm2|norm)/mean|head/linear/bias"
  )
  parts.check(run, losses, expected, limit=1e-12, idle=idle)
