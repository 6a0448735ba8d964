"""Networks and losses of TGAN, MoCoGAN and VGAN, against equations from their papers and code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidgan_jax.models import registry
from vidgan_jax.models.contract import Context, Side
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema

KEY = jax.random.key(0)  # the networks under test do not use it


def convolved(x, layer, strides, padding):
  """A convolution of [B, T, H, W, C]; axes that the kernel does not have get a window of 1."""
  kernel = layer["kernel"]
  kernel = kernel.reshape((1,) * (5 - kernel.ndim) + kernel.shape)
  pads = [(pad, pad) for pad in padding]
  layout = ("NDHWC", "DHWIO", "NDHWC")
  out = jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=layout)
  return out + layer.get("bias", 0)


def doubled(x, layer):
  """Transposed convolution, window 4, stride 2, padding 1, of the last axes of [B, T, H, W, C]."""
  rank = layer["kernel"].ndim - 2
  kernel = np.flip(layer["kernel"], tuple(range(rank)))
  kernel = kernel.reshape((1,) * (3 - rank) + kernel.shape)
  still, layout = 3 - rank, ("NDHWC", "DHWIO", "NDHWC")
  pads = [(0, 0)] * still + [(2, 2)] * rank
  dilation = (1,) * still + (2,) * rank
  out = jax.lax.conv_general_dilated(
    x, kernel, (1, 1, 1), pads, lhs_dilation=dilation, dimension_numbers=layout
  )
  return out + layer.get("bias", 0)


def normalised(x, layer, epsilon):
  axes = tuple(range(x.ndim - 1))
  x = (x - x.mean(axes)) / jnp.sqrt(x.var(axes) + epsilon)
  return x * layer["gain"] + layer.get("bias", 0)


def leaky(x):
  return jnp.where(x > 0, x, 0.2 * x)


def relu(x):
  return jnp.maximum(x, 0)


def shifted(x):
  """LDVD 4.2: a quarter of the channels from the next frame, a quarter from the previous one."""
  quarter = x.shape[-1] // 4
  none = jnp.zeros_like(x[:, :1])
  after = jnp.concatenate([x[:, 1:], none], axis=1)
  before = jnp.concatenate([none, x[:, :-1]], axis=1)
  return jnp.concatenate(
    [after[..., :quarter], before[..., quarter : 2 * quarter], x[..., 2 * quarter :]], axis=-1
  )


@pytest.fixture
def small(load_config, randomized, x64):
  """A function (file, row, **changes of the model) that returns gan and random variables.

  It computes in float64 and at 16x16 unless the changes say otherwise.
  """

  def build(file, row, **changes):
    config = load_config(file, row + ",runlocal")
    with config.unlocked():
      config.precision = "float64"
      schema.set_fields(config.model, {"resolution": 16, **changes})
    gan = registry.build(config)
    shapes = jax.eval_shape(lambda: gan.init(jax.random.key(0)))
    return gan, randomized(shapes)

  return build


def clips(gan, seed=0):
  size = (2, gan.frames, gan.resolution, gan.resolution, 3)
  return np.random.default_rng(seed).uniform(-1, 1, size)


def scores_of(gan, variables, name="video"):
  """A discriminator's scores of two clips, and the clips."""
  clip = clips(gan)
  call = jax.jit(lambda clip: gan.discriminate(name, variables, {"clip": clip}, KEY)[0])
  return call(clip), clip


@pytest.mark.parametrize(
  ("row", "pooling"),
  [("svc", "mean"), ("f_c0", "mean"), ("f_c1", "sum"), ("f_c1", "max"), ("tsm_c1", "mean")],
)
def test_tgans_discriminators(small, assert_close, row, pooling):
  """LDVD Tables 3b and 4b, 4.2."""
  changes = {"generator.image_channels": 8, "discriminator.pooling": pooling}
  gan, variables = small("tgan", row, **changes)
  variables = variables["discriminators"]["video"]
  kind, level = {"s": ("3d", 0), "f": ("factorised", int(row[-1] == "1") + 1)}.get(
    row[0], ("tsm", 2)
  )

  def expected(params, x):
    for index in range(2):
      if kind == "3d":
        x = convolved(x, params[f"c{index}"], (2, 2, 2), (1, 1, 1))
      else:
        x = convolved(x, params[f"c{index}"], (1, 2, 2), (0, 1, 1))
      if kind == "factorised" and index < level:
        x = convolved(leaky(x), params[f"c{index}_time"], (2, 1, 1), (1, 0, 0))
      if index:
        x = normalised(x, params[f"norm{index}"], 2e-5)
      x = leaky(x)
      x = shifted(x) if kind == "tsm" else x
    x = {"mean": jnp.mean, "sum": jnp.sum, "max": jnp.max}[pooling](x, axis=1)
    kernel = params["c2"]["kernel"].reshape(4, 4, -1)
    return jnp.einsum("bhwc,hwc->b", x, kernel) + params["c2"]["bias"]

  actual, clip = scores_of(gan, variables)
  assert_close(actual, jax.jit(expected)(variables["params"], clip), 1e-10)


@pytest.mark.parametrize(
  ("row", "name"),
  [("base", "image"), ("base", "video"), ("f_c1", "video"), ("f_c3", "video"), ("tsm_c1", "video")],
)
def test_mocogans_discriminators(small, assert_close, row, name):
  """LDVD Tables 1 and 4a, 4.2."""
  gan, variables = small("mocogan", row)
  variables = variables["discriminators"][name]
  level = int(row[-1]) + 1 if "_c" in row else 0

  def expected(params, x):
    for index in range(4):
      whole = (row, name) == ("base", "video")
      x = convolved(x, params[f"c{index}"], (1, 2, 2), (0, 1, 1))
      assert params[f"c{index}"]["kernel"].shape[:-2] == ((4, 4, 4) if whole else (1, 4, 4))
      if row[0] == "f" and index < level:
        x = convolved(leaky(x), params[f"c{index}_time"], (1, 1, 1), (1, 0, 0))
      if index == 3:
        return x[..., 0]
      x = leaky(normalised(x, params[f"norm{index}"], 1e-5) if index else x)
      x = shifted(x) if row[0] == "t" and index < level else x

  actual, clip = scores_of(gan, variables, name)
  assert_close(actual, jax.jit(expected)(variables["params"], clip), 1e-10)


def drawn(gan, variables, inputs=None):
  """Returns what a generator generates from random latents, the latents and its parameters."""
  latents = gan.latents(jax.random.key(1), 2)
  latents = jax.tree.map(lambda a: a.astype(np.float64), latents)
  variables = variables["generator"]
  call = jax.jit(lambda z: gan.generate(variables, z, inputs or {}, KEY, True)[0])
  return call(latents), latents, variables["params"]


def test_tgans_generator(small, assert_close):
  """TGAN Table 1, as in its code: both generators; a clip's latent joins that of each frame."""
  gan, variables = small("tgan", "svc", **{"generator.image_channels": 8})
  actual, latents, params = drawn(gan, variables)
  assert np.max(np.abs(latents["z"])) <= 1 and np.min(latents["z"]) < 0  # uniform

  def expected(params, z):
    temporal = params["temporal"]
    x = z[:, None] @ temporal["layer0"]["kernel"] + temporal["layer0"]["bias"]
    for index in range(4):
      x = relu(normalised(x, temporal[f"norm{index}"], 2e-5))
      x = doubled(x[:, None, None], temporal[f"layer{index + 1}"])[:, 0, 0]
    frames = jnp.tanh(x)
    assert frames.shape == (2, 16, 8)
    halves = []
    for name, latent in (("clip", jnp.repeat(z[:, None], 16, axis=1)), ("frame", frames)):
      half = latent @ params[f"{name}_linear"]["kernel"]
      half = relu(normalised(half, params[f"{name}_norm"], 2e-5))
      halves.append(half.reshape(2, 16, 4, 4, 4))
    x = jnp.concatenate(halves, axis=-1)
    for index in range(2):
      x = relu(normalised(doubled(x, params[f"layer{index}"]), params[f"norm{index}"], 2e-5))
    return jnp.tanh(convolved(x, params["rgb"], (1, 1, 1), (0, 1, 1)))

  assert_close(actual["clip"], jax.jit(expected)(params, latents["z"]), 1e-10)


@pytest.mark.parametrize("categories", [0, 3])
def test_mocogans_generator(small, assert_close, categories):
  """Each frame's vector joins content, category and a state of PyTorch's GRU cell."""
  changes = {"categories": categories, "num_classes": categories}
  gan, variables = small("mocogan", "base", **changes)
  label = np.array([2, 0])
  actual, latents, params = drawn(gan, variables, {"label": label} if categories else None)

  def expected(params, latents):
    gru, state, vectors = params["motion"], latents["start"], []
    sigmoid = lambda x: 1 / (1 + jnp.exp(-x))
    for time in range(16):
      given = latents["motion"][:, time] @ gru["input_kernel"] + gru["input_bias"]
      from_state = state @ gru["state_kernel"] + gru["state_bias"]
      (i_r, i_z, i_n), (h_r, h_z, h_n) = jnp.split(given, 3, -1), jnp.split(from_state, 3, -1)
      reset, update = sigmoid(i_r + h_r), sigmoid(i_z + h_z)
      state = (1 - update) * jnp.tanh(i_n + reset * h_n) + update * state
      vectors.append(jnp.concatenate([latents["content"], *one_hot, state], axis=-1))
    x = jnp.stack(vectors, axis=1) @ params["layer0"]["kernel"]
    x = x.reshape(2, 16, 4, 4, -1)
    for index in range(2):
      x = relu(normalised(x, params[f"norm{index}"], 1e-5))
      x = doubled(x, params[f"layer{index + 1}"])
    return jnp.tanh(x)

  one_hot = [np.eye(categories)[label]] if categories else []
  assert_close(actual["clip"], jax.jit(expected)(params, latents), 1e-10)


@pytest.mark.parametrize("row", ["ucf101_16", "ucf101_32"])
def test_vgan(small, assert_close, row):
  """A foreground and a background mixed by a mask; a discriminator with two logits."""
  changes = {"resolution": 64, "generator.channels": 8, "discriminator.channels": 2}
  gan, variables = small("vgan", row, **changes)
  actual, latents, params = drawn(gan, variables)

  def stream(params, z, name, steps):
    x = (z[:, None] @ params[f"{name}0"]["kernel"]).reshape(2, steps, 4, 4, 8)
    x = relu(normalised(x + params[f"{name}0_bias"], params[f"{name}_norm0"], 1e-5))
    for index in (1, 2, 3):
      x = doubled(x, params[f"{name}{index}"])
      x = relu(normalised(x, params[f"{name}_norm{index}"], 1e-5))
    return x

  def expected(params, z):
    still = doubled(stream(params, z, "background", 1), params["background_rgb"])
    moving = stream(params, z, "foreground", gan.frames // 16)
    mask = 1 / (1 + jnp.exp(-doubled(moving, params["mask"])))
    foreground = jnp.tanh(doubled(moving, params["foreground_rgb"]))
    return mask, mask * foreground + (1 - mask) * jnp.tanh(still)

  mask, clip = jax.jit(expected)(params, latents["z"])
  assert_close((actual["mask"], actual["clip"]), (mask, clip), 1e-10)

  def logits(params, x):
    for index in range(4):
      x = convolved(x, params[f"c{index}"], (2, 2, 2), (1, 1, 1))
      x = leaky(normalised(x, params[f"norm{index}"], 1e-3) if index else x)
    return convolved(x, params["last"], (1, 1, 1), (0, 0, 0))[:, 0, 0, 0]

  variables = variables["discriminators"]["video"]
  scores, clip = scores_of(gan, variables)
  assert_close(scores, jax.jit(logits)(variables["params"], clip), 1e-10)


def sides(shape, seed=0, **generated):
  """Real and generated `Side`s of random scores, and the scores."""
  random = np.random.default_rng(seed)
  real, fake = random.normal(size=(2, *shape))
  side = lambda scores, samples: Side(
    inputs={"label": np.array([1, 0])}, samples=samples, scores={"video": scores}
  )
  return side(real, {}), side(fake, generated), real, fake


def losses_of(gan, real, generated):
  context = Context(0)
  return (
    gan.discriminator_losses(real, generated, context),
    gan.generator_losses(generated, real.replace(scores={}), context),
  )


def cross(scores, target):
  """Binary cross entropy of logits, by its definition."""
  likely = 1 / (1 + np.exp(-scores))
  return -np.mean(np.log(likely if target else 1 - likely))


def test_tgans_losses(small, assert_close):
  """Wasserstein losses; and vanilla losses, with class 1 for generated and 0 for real clips."""
  gan, _ = small("tgan", "svc", **{"generator.image_channels": 8})
  a, b, real, fake = sides((2,))
  expected = {"real": -real.mean(), "generated": fake.mean()}, {"video": -fake.mean()}
  assert_close(losses_of(gan, a, b), expected)
  assert gan.schedule.generator_first and gan.schedule.shared_fakes
  gan, _ = small("tgan", "normal", **{"generator.image_channels": 8})
  expected = {"real": cross(real, 0), "generated": cross(fake, 1)}, {"video": cross(fake, 0)}
  assert_close(losses_of(gan, a, b), expected)


def test_mocogans_losses(small, assert_close):
  """Means over patches, and with categories the cross entropy of those of real and drawn ones."""
  gan, _ = small("mocogan", "video_only")
  a, b, real, fake = sides((2, 4, 1, 1))
  expected = {"video_real": cross(real, 1), "video_generated": cross(fake, 0)}
  assert_close(losses_of(gan, a, b), (expected, {"video": cross(fake, 1)}))
  gan, _ = small("mocogan", "categorical", resolution=64, categories=2, num_classes=2)
  a, b, real, fake = sides((2, 3))
  likely = lambda scores: np.exp(scores[:, 1:]) / np.exp(scores[:, 1:]).sum(1, keepdims=True)
  category = lambda scores: -np.mean(np.log(likely(scores)[[0, 1], [1, 0]]))
  expected = {
    "video_real": cross(real[:, 0], 1),
    "video_generated": cross(fake[:, 0], 0),
    "category": category(real),
  }
  one = {"video": cross(fake[:, 0], 1), "category": category(fake)}
  assert_close(losses_of(gan, a, b), (expected, one))


def test_vgans_losses(small, assert_close):
  """Cross entropy of two classes, and a tenth of the mask's mean."""
  gan, _ = small("vgan", "ucf101_16", resolution=64)
  mask = np.random.default_rng(1).uniform(size=(2, 3))
  a, b, real, fake = sides((2, 2), mask=mask)
  towards = lambda scores, label: cross(scores[:, 1] - scores[:, 0], label)
  expected = {"real": towards(real, 1), "generated": towards(fake, 0)}
  one = {"video": towards(fake, 1), "mask": 0.1 * mask.mean()}
  assert_close(losses_of(gan, a, b), (expected, one))


def test_mocogans_image_discriminator_sees_a_random_frame(small):
  gan, _ = small("mocogan", "base")
  number = np.broadcast_to(np.arange(16.0)[None, :, None, None, None], (400, 16, 1, 1, 3))
  views = gan.views(jax.random.key(0), {"clip": number}, {}, Context(0))
  assert views["video"]["clip"] is number
  frames = np.asarray(views["image"]["clip"])
  assert frames.shape == (400, 1, 1, 1, 3) and len(np.unique(frames)) == 16


def test_noise_is_in_front_of_every_activation_and_each_clip_has_its_own(small, assert_close):
  """TGAN's vanilla variant, deviation 0.3, compared with noise drawn from the keys of the view."""
  gan, variables = small("tgan", "normal", **{"generator.image_channels": 8})
  variables = variables["discriminators"]["video"]
  view = gan.views(streams.key(0, streams.VIEWS_REAL), {"clip": clips(gan)}, {}, Context(0))
  view = view["video"]
  keys = jax.random.wrap_key_data(view["noise_keys"])

  def noise(number, shape):
    draw = lambda key: jax.random.normal(jax.random.fold_in(key, number), shape, jnp.float32)
    return 0.3 * jnp.stack([draw(keys[clip]) for clip in range(2)])

  def expected(params, x):
    x = convolved(x, params["c0"], (2, 2, 2), (1, 1, 1))
    x = leaky(x + noise(0, x.shape[1:]))
    x = normalised(convolved(x, params["c1"], (2, 2, 2), (1, 1, 1)), params["norm1"], 2e-5)
    x = leaky(x + noise(2, x.shape[1:])).mean(1)
    kernel = params["c2"]["kernel"].reshape(4, 4, -1)
    return jnp.einsum("bhwc,hwc->b", x, kernel) + params["c2"]["bias"]

  actual = jax.jit(lambda view: gan.discriminate("video", variables, view, KEY)[0])(view)
  assert_close(actual, jax.jit(expected)(variables["params"], view["clip"]), 1e-6)
  drawn = np.asarray(jax.jit(lambda: noise(0, (8, 8, 8, 4)))())
  assert np.std(drawn) == pytest.approx(0.3, rel=0.05) and not np.array_equal(*drawn)
