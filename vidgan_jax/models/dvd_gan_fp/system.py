"""DVD-GAN-FP (Clark, Donahue, Simonyan 2019, arXiv 1907.06571, appendix A.4).

The generator continues C given frames. An encoder, the residual blocks of the spatial
discriminator with weights of its own, maps each given frame to features. The last features of all
frames are concatenated on the channels, and a 1x1 convolution makes them the first state of the
ConvGRU at 4x4. Features of each resolution are also joined to the generator's maps of the same
resolution (skips, as in a U-Net); a 3x3 convolution returns them to the generator's width.

The generator returns the whole clip, given frames first, and both discriminators see it as any
other clip: nothing marks the given frames. There are no classes.

What the paper leaves open: "the i-th block" of encoder and generator cannot be meant literally,
because the sizes of the one shrink and those of the other grow. Here maps of equal size are joined,
behind the first block of the generator with this size. Of the two blocks of the encoder at 4x4, the
first gives the skip and the last the state. The state has the ConvGRU's width; the paper says 512
channels, which is this width only for ch = 64. `config.conditioning` decides further questions.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from vidgan_jax.layers.attention import SelfAttention
from vidgan_jax.layers.convolution import Conv
from vidgan_jax.layers.residual import discriminator_block
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import dvd_gan, dvd_gan_config
from vidgan_jax.models.contract import Arrays, Context
from vidgan_jax.runtime.errors import UserError

_STATE_SIZE = 4  # height and width of the ConvGRU's state


class Encoder(nn.Module):
  """The spatial discriminator's residual blocks on each given frame, and the ConvGRU's first state.

  Attributes:
    widths: channels of the blocks; all but the last halve height and width.
    state_width: channels of the state.
    settings: see `LayerSettings`.
    skips: "concatenate" or "average", how maps combine the frames.
    least_skip: height of the smallest map that is returned.
    final_activation: ReLU in front of the convolution that computes the state.
    attention_resolution: see `dvd_gan.Discriminator`.
  """

  widths: tuple[int, ...]
  state_width: int
  settings: LayerSettings
  skips: str = "concatenate"
  least_skip: int = 4
  final_activation: bool = False
  attention_resolution: int = 0

  @nn.compact
  def __call__(self, clip: jax.Array) -> tuple[jax.Array, dict[int, jax.Array]]:
    """Encodes given frames [B, C, H, W, 3] in [-1, 1].

    Returns:
      The state [B, 4, 4, state_width], and {height: map [B, height, height, channels]}. A map of
      concatenated frames has C times the channels of its block, the first frame first.
    """
    settings = self.settings
    x, maps = clip.astype(settings.dtype), {}
    block = discriminator_block(settings)
    for index, width in enumerate(self.widths):
      before = x.shape[2]
      pool = (2, 2) if index < len(self.widths) - 1 else ()
      x = block(width, settings, pool, index > 0, 2, name=f"block{index}")(x)
      if x.shape[2] == self.attention_resolution != before:
        x = SelfAttention("hw", settings, pool=True, name="attention")(x)
      if x.shape[2] >= self.least_skip and x.shape[2] not in maps:
        maps[x.shape[2]] = jnp.mean(x, axis=1) if self.skips == "average" else _on_channels(x)
    x = jax.nn.relu(x) if self.final_activation else x
    return Conv(self.state_width, (1, 1), settings, name="to_state")(_on_channels(x)), maps


def _on_channels(x: jax.Array) -> jax.Array:
  """Concatenates the frames of [B, C, H, W, F] on the channels: [B, H, W, C * F]."""
  return jnp.moveaxis(x, 1, 3).reshape(x.shape[0], *x.shape[2:4], -1)


class Generator(dvd_gan.Generator):
  """DVD-GAN's generator behind an encoder of the given frames.

  It is called with inputs {"given": uint8 [B, C, H, W, 3]}, and `frames` counts the given frames.

  Attributes:
    encoder: the fields of `Encoder` but `settings`.
  """

  encoder: tuple[tuple[str, Any], ...] = ()

  def _encode(self, inputs: Arrays) -> tuple[jax.Array | None, jax.Array | None, dict]:
    """See `dvd_gan.Generator`."""
    # As in `VideoGan.real_samples`, so that given frames are equal in real and generated clips.
    given = inputs["given"].astype(jnp.result_type(float)) / 127.5 - 1
    encoder = Encoder(settings=self.settings, **dict(self.encoder), name="encoder")
    return given, *encoder(given)


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity: a static argument of jit
class DvdGanFp(dvd_gan.DvdGan):
  """DVD-GAN-FP as a `VideoGan`.

  Attributes:
    given_frames: C, see `given.Conditioned`.
  """

  given_frames: int = 1

  def generated_inputs(self, key: jax.Array, batch: Arrays, context: Context) -> Arrays:
    """The first frames of the real clips, {"given": uint8 [B, C, H, W, 3]}."""
    del key, context
    return {"given": batch["clip"][:, : self.given_frames]}

  def sampling_inputs(
    self,
    key: jax.Array,
    labels: jax.Array,
    context: Context,
    frames: int | None = None,
    conditioning: Arrays | None = None,
  ) -> Arrays:
    """The first frames of the clips in `conditioning`; see `generated_inputs`.

    Raises:
      UserError: there is no `conditioning`, its clips have another number, type or size or too few
        frames, or `frames` leaves no frame to generate.
    """
    del key, context
    if not conditioning:
      raise UserError(
        f"this run continues {self.given_frames} given frame(s): give clips to continue "
        "(--conditioning, or `conditioning` in Python)"
      )
    if (frames or self.frames) <= self.given_frames:
      raise UserError(
        f"clips of {frames} frames leave none to generate: {self.given_frames} are given"
      )
    clip, size = conditioning["clip"], self.resolution
    if clip.ndim != 5 or clip.shape[1] < self.given_frames or clip.shape[2:] != (size, size, 3):
      raise UserError(
        f"clips to continue must be [N, {self.given_frames} or more, {size}, {size}, 3], these are "
        f"{list(clip.shape)}"
      )
    if clip.dtype != jnp.uint8:
      raise UserError(f"clips to continue must be uint8 in 0..255, these are {clip.dtype}")
    if len(clip) != len(labels):
      raise UserError(f"{len(clip)} clips to continue for {len(labels)} clips to generate")
    return {"given": clip[:, : self.given_frames]}


def build(config: ConfigDict, settings: LayerSettings) -> DvdGanFp:
  """Builds the system of `config` (see `configs/dvd_gan_fp.py`).

  Args:
    config: the whole config; only `config.model` is read.
    settings: settings of all layers, see `contract.layer_settings`.

  Raises:
    UserError: sizes do not fit each other.
  """
  model = config.model
  widths, _ = dvd_gan_config.discriminator_multipliers(model)
  if model.resolution >> (len(widths) - 1) != _STATE_SIZE:
    raise UserError(
      f"an encoder of {len(widths)} blocks maps {model.resolution}x{model.resolution} to "
      f"{model.resolution >> (len(widths) - 1)}x{model.resolution >> (len(widths) - 1)}, and the "
      "ConvGRU's state has 4x4 (config.model.discriminator.multipliers)"
    )
  plain = dvd_gan.build(config, settings)
  options, network = model.conditioning, plain.generator
  assert isinstance(network, dvd_gan.Generator)
  fields = _fields(network) - {"parent", "name"}
  generator = Generator(
    **{name: getattr(network, name) for name in fields},
    encoder=(
      ("widths", tuple(m * model.discriminator.channels for m in widths)),
      ("state_width", network.widths[0]),
      ("skips", options.skips),
      ("least_skip", options.least_skip),
      ("final_activation", options.final_activation),
      ("attention_resolution", model.discriminator.attention_resolution),
    ),
  )
  parts = {name: getattr(plain, name) for name in _fields(plain)}
  return DvdGanFp(**{**parts, "generator": generator, "given_frames": options.frames})


def _fields(one: object) -> set[str]:
  """The names of the fields of a dataclass."""
  return {field.name for field in dataclasses.fields(one) if field.init}  # type: ignore[arg-type]
