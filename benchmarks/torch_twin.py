"""A PyTorch twin of our DVD-GAN and of its training iteration, written in good PyTorch style.

It has the same networks, losses, spectral normalisation, updates and moving average as `vidgan_jax`
with the switches of `configs/dvd_gan.py:kinetics600_64x12`. It uses what is fast in PyTorch:
channels last in memory, one discriminator call for real and generated clips, one power iteration
per network and update, and fused Adam. The networks are written as in the paper, without algebraic
savings. Metrics that only monitor training (gradient norms, pixel statistics) are left out.

Inside the generator frames are folded time-major, [T*B, C, H, W], so that the frames of one time
step, over which batch statistics are taken, are contiguous. Inputs and outputs of networks are
clips [B, T, H, W, 3]. Modules have the same names as in Flax, so that Flax variables can be loaded
(`from_flax`).
"""

import copy
import dataclasses
import functools
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

EPSILON = 1e-5  # of batch norm
MOMENTUM = 0.9  # weight of the old running moments in an update
_GENERATOR_MULTIPLIERS = (8, 8, 8, 4, 2)  # at 64x64
_DISCRIMINATOR_MULTIPLIERS = (2, 4, 8, 16, 16)
_FIXED_SWITCHES = {  # the twin implements only these values
  "model.name": "dvd_gan",
  "model.initializer": "orthogonal",
  "model.aggregation": "sum_before",
  "model.generated_labels": "uniform",
  "model.pixel_loss.weight": 0.0,
  "model.generator.variant": "single_rnn",
  "model.generator.doubled": True,
  "model.generator.final_multiplier": 0,
  "model.generator.condition": "z_class",
  "model.generator.statistics": "per_step",
  "model.generator.rnn": "multiplicative",
  "model.generator.rnn_activation": "relu",
  "model.generator.rnn_spectral": True,
  "model.generator.linear_spectral": True,
  "model.generator.full_attention": True,
  "model.generator.attention_before": "last_block",
  "model.generator.attention_order": "hwt",
  "model.generator.attention_style": "sagan",
  "model.discriminator.temporal": True,
  "model.discriminator.downsampling": "pool2",
  "model.discriminator.temporal_multipliers": (),
  "model.discriminator.temporal_min_size": 1,
  "model.discriminator.pool_time": True,
  "model.discriminator.plain_3d": False,
  "model.discriminator.time_into": "batch",
  "model.discriminator.attention_resolution": 0,
  "optimizer.orthogonal_penalty": 0.0,
}


def _channels_last(tensor):
  """The tensor with channels last in memory if it is 4-D or 5-D, else unchanged."""
  formats = {4: torch.channels_last, 5: torch.channels_last_3d}
  if tensor.ndim not in formats:
    return tensor
  return tensor.contiguous(memory_format=formats[tensor.ndim])


class Layer(nn.Module):
  """A weight [out, in, *window] with an optional bias [out] and power-iteration vector u [out]."""

  def __init__(self, shape, bias: bool = True, spectral: bool = True):
    super().__init__()
    self.weight = nn.Parameter(_channels_last(nn.init.orthogonal_(torch.empty(shape))))
    self.register_parameter("bias", nn.Parameter(torch.zeros(shape[0])) if bias else None)
    if spectral:
      self.register_buffer("u", torch.randn(shape[0]))


class Conv(Layer):
  """Convolution of [N, in, *spatial] with a window of `size` on `dimensions` axes, same padding."""

  def __init__(self, inputs: int, features: int, size: int, dimensions: int = 2):
    super().__init__((features, inputs, *(size,) * dimensions))
    self._convolve = F.conv2d if dimensions == 2 else F.conv3d
    self._padding = size // 2

  def forward(self, x):
    """Maps [N, in, *spatial] to [N, features, *spatial]."""
    return self._convolve(x, self.weight, self.bias, padding=self._padding)


class Linear(Layer):
  """Product with a weight [features, in] on the last axis."""

  def __init__(self, inputs: int, features: int, bias: bool = True):
    super().__init__((features, inputs), bias)

  def forward(self, x):
    """Maps [..., in] to [..., features]."""
    return F.linear(x, self.weight, self.bias)


class Embed(Layer):
  """Embedding table [classes, features]. Its power-iteration vector has one element per class."""

  def __init__(self, classes: int, features: int, spectral: bool = True):
    super().__init__((classes, features), bias=False, spectral=spectral)

  def forward(self, labels):
    """Maps int [...] to [..., features]."""
    return F.embedding(labels, self.weight)


def normalize(network, eps: float):
  """Spectral normalisation of a whole network by one power iteration.

  Args:
    network: a module made of `Layer`s.
    eps: lower bound of the norms divided by.

  Returns:
    {name: weight to use}, with gradients through sigma, and {name of u: advanced vector [out]}.
  """
  weights, vectors = dict(network.named_parameters()), {}
  for name, u in network.named_buffers():
    if not name.endswith(".u"):
      continue
    weight_name = name.removesuffix("u") + "weight"
    weight = weights[weight_name]
    matrix = weight.movedim(1, -1).flatten(1)  # a view of a channels-last weight
    with torch.no_grad():
      v = F.normalize(torch.mv(matrix.t(), u), dim=0, eps=eps)
      u = F.normalize(torch.mv(matrix, v), dim=0, eps=eps)
    vectors[name] = u
    # Multiplying by the reciprocal: the gradient of a division needs two more passes.
    weights[weight_name] = weight * torch.dot(u, torch.mv(matrix, v)).reciprocal()
  return weights, vectors


def _advance(network, vectors):
  """Stores the vectors that `normalize` returned."""
  with torch.no_grad():
    buffers = dict(network.named_buffers())
    torch._foreach_copy_([buffers[name] for name in vectors], list(vectors.values()))


def _detached(weights):
  return {name: weight.detach() for name, weight in weights.items()}


class _Standardize(torch.autograd.Function):
  """Batch normalisation of each time step with gains and biases per clip.

  The gradient is implemented by hand. On a CPU, autograd of the plain formula takes four times as
  long, and calling PyTorch's batch norm for each time step takes nearly twice as long.
  """

  @staticmethod
  def forward(ctx, x, gain, bias, frames):
    """Normalises [T*B, C, H, W] with gain and bias [B, C].

    Returns:
      the result and the moments, mean and variance [T, C].
    """
    steps = x.permute(0, 2, 3, 1).reshape(frames, -1, x.shape[1])  # a view of channels-last x
    mean = steps.mean(1)
    variance = torch.linalg.vecdot(steps, steps, dim=1) / steps.shape[1] - mean.square()
    spread = torch.rsqrt(variance + EPSILON)
    scale = gain * spread[:, None]  # [T, B, C]
    shift = bias - mean[:, None] * scale
    ctx.save_for_backward(x, gain, mean, spread)
    ctx.mark_non_differentiable(mean, variance)
    return torch.addcmul(_per_frame(shift), x, _per_frame(scale)), mean, variance

  @staticmethod
  def backward(ctx, gradient, *_):
    """Gradients by x, gain and bias."""
    x, gain, mean, spread = ctx.saved_tensors
    frames, batch = mean.shape[0], gain.shape[0]
    by_bias = gradient.sum((2, 3)).unflatten(0, (frames, batch))  # [T, B, C]
    by_gain = (gradient * x).sum((2, 3)).unflatten(0, (frames, batch))
    by_gain = (by_gain - mean[:, None] * by_bias) * spread[:, None]
    count = batch * x.shape[2] * x.shape[3]
    # dx = spread (gain dy - mean(gain dy) - x_hat mean(gain dy x_hat)), as k0 + k1 x + k2 dy.
    k1 = -(gain * by_gain).sum(1) / count * spread.square()
    k0 = -(gain * by_bias).sum(1) / count * spread - k1 * mean
    k0, k1 = (_per_frame(k[:, None].expand(-1, batch, -1)) for k in (k0, k1))
    k2 = _per_frame(gain * spread[:, None])
    by_x = torch.addcmul(torch.addcmul(k0, x, k1), gradient, k2)
    return by_x, by_gain.sum(0), by_bias.sum(0), None


def _per_frame(values):
  """[T, B, C] as [T*B, C, 1, 1]."""
  return values.flatten(0, 1)[..., None, None]


class _Norm(nn.Module):
  """Running moments [T, C]; normalises each time step by its moments over B, H and W."""

  def __init__(self, channels: int, frames: int):
    super().__init__()
    self.register_buffer("mean", torch.zeros(frames, channels))
    self.register_buffer("variance", torch.ones(frames, channels))

  def _standardize(self, x, gain, bias, track):
    """Normalises [T*B, C, H, W] with gain and bias [B, C]; `track` updates the running moments."""
    x, mean, variance = _Standardize.apply(x, gain, bias, self.mean.shape[0])
    if track:
      with torch.no_grad():
        self.mean.lerp_(mean, 1 - MOMENTUM)
        self.variance.lerp_(variance, 1 - MOMENTUM)
    return x


class BatchNorm(_Norm):
  """Batch normalisation with a gain and a bias per channel."""

  def __init__(self, channels: int, frames: int):
    super().__init__(channels, frames)
    self.gain = nn.Parameter(torch.ones(channels))
    self.bias = nn.Parameter(torch.zeros(channels))

  def forward(self, x, track: bool):
    """Normalises [T*B, C, H, W]."""
    batch = x.shape[0] // self.mean.shape[0]
    gain, bias = (a.expand(batch, -1) for a in (self.gain, self.bias))
    return self._standardize(x, gain, bias, track)


class ConditionalBatchNorm(_Norm):
  """Batch normalisation with gain 1 + Wg c and bias Wb c for a condition c."""

  def __init__(self, channels: int, frames: int, condition: int):
    super().__init__(channels, frames)
    self.gain = Linear(condition, channels, bias=False)
    self.bias = Linear(condition, channels, bias=False)

  def forward(self, x, condition, track: bool):
    """Normalises [T*B, C, H, W] under `condition` [B, D]."""
    return self._standardize(x, 1 + self.gain(condition), self.bias(condition), track)


class ConvGRU(nn.Module):
  """The multiplicative convolutional GRU with the same input at every time step."""

  def __init__(self, channels: int):
    super().__init__()
    self.gate_state = Conv(channels, channels, 1)
    self.gate_input = Conv(channels, channels, 1)
    self.reset = Conv(2 * channels, channels, 3)
    self.update = Conv(2 * channels, channels, 3)
    self.candidate = Conv(2 * channels, channels, 3)

  def forward(self, x, frames: int):
    """Maps [B, C, H, W] to the states [T*B, C, H, W]."""
    gate = self.gate_input(x)
    # Both gates have the same input, so one convolution computes both.
    weight = _channels_last(torch.cat([self.reset.weight, self.update.weight]))
    bias = torch.cat([self.reset.bias, self.update.bias])
    state, states = torch.zeros_like(x), []
    for _ in range(frames):
      g = self.gate_state(state) * gate
      gates = F.conv2d(torch.cat([g, x], 1), weight, bias, padding=1)
      reset, update = torch.sigmoid(gates).chunk(2, 1)
      candidate = F.relu(self.candidate(torch.cat([x, reset * g], 1)))
      state = torch.lerp(candidate, g, update)
      states.append(state)
    return torch.cat(states)


class SelfAttention(nn.Module):
  """Self-attention over the axes `attended` of [T, B, H, W, C]: 0 time, 2 height, 3 width."""

  def __init__(self, channels: int, attended: tuple[int, ...]):
    super().__init__()
    narrow, middle = max(1, channels // 8), max(1, channels // 2)
    self.query = Linear(channels, narrow, bias=False)
    self.key = Linear(channels, narrow, bias=False)
    self.value = Linear(channels, middle, bias=False)
    self.output = Linear(middle, channels, bias=False)
    self.gamma = nn.Parameter(torch.zeros(()))
    self._order = [axis for axis in range(4) if axis not in attended] + [*attended, 4]
    self._first = 4 - len(attended)

  def forward(self, x):
    """Maps [T, B, H, W, C] to the same shape."""
    first = self._first
    fold = lambda a: a.permute(self._order).flatten(first, 3).flatten(0, first - 1)  # [N, L, C]
    query, key, value = fold(self.query(x)), fold(self.key(x)), fold(self.value(x))
    mixed = torch.bmm(torch.softmax(torch.bmm(query, key.mT), -1), value)
    mixed = mixed.reshape(*(x.shape[axis] for axis in self._order[:4]), -1)
    mixed = mixed.permute([self._order.index(axis) for axis in range(5)])
    return torch.addcmul(x, self.gamma, self.output(mixed))


class SeparableAttention(nn.Module):
  """Attention over height, then width, then time."""

  def __init__(self, channels: int):
    super().__init__()
    self.height = SelfAttention(channels, (2,))
    self.width = SelfAttention(channels, (3,))
    self.time = SelfAttention(channels, (0,))

  def forward(self, x):
    """Maps [T, B, H, W, C] to the same shape."""
    return self.time(self.width(self.height(x)))


def _attend(attention, x, frames):
  """Applies an attention to [T*B, C, H, W]."""
  tokens = x.permute(0, 2, 3, 1).unflatten(0, (frames, -1))
  return attention(tokens).flatten(0, 1).permute(0, 3, 1, 2)


class GeneratorBlock(nn.Module):
  """norm - ReLU - (up) - conv3x3 - norm - ReLU - conv3x3, plus a shortcut."""

  def __init__(self, inputs: int, features: int, upsample: bool, frames: int, condition: int):
    super().__init__()
    self.norm1 = ConditionalBatchNorm(inputs, frames, condition)
    self.conv1 = Conv(inputs, features, 3)
    self.norm2 = ConditionalBatchNorm(features, frames, condition)
    self.conv2 = Conv(features, features, 3)
    self.shortcut = Conv(inputs, features, 1) if upsample or inputs != features else None
    self._upsample = upsample

  def forward(self, x, condition, track: bool):
    """Maps [T*B, C, H, W] under `condition` [B, D] to [T*B, features, H', W']."""
    out = F.relu_(self.norm1(x, condition, track))
    if self._upsample:
      out = F.interpolate(out, scale_factor=2, mode="nearest")
      x = F.interpolate(x, scale_factor=2, mode="nearest")
    out = F.relu_(self.norm2(self.conv1(out), condition, track))
    out = self.conv2(out)
    return out.add_(x if self.shortcut is None else self.shortcut(x))


class Generator(nn.Module):
  """DVD-GAN's generator; built from the whole config."""

  def __init__(self, config):
    super().__init__()
    model = config.model
    self.frames = model.frames
    multipliers = tuple(model.generator.multipliers) or _GENERATOR_MULTIPLIERS
    widths = [m * model.generator.channels for m in multipliers]
    condition = model.latent_dim + model.embedding_dim
    self.embed = Embed(model.num_classes, model.embedding_dim, spectral=False)
    self.linear = Linear(condition, 16 * widths[0])
    self.rnn = ConvGRU(widths[0])
    self.attention = SelfAttention(widths[0], (0, 2, 3))
    stages = (model.resolution // 4).bit_length() - 1
    plan = []
    for stage, (before, after) in enumerate(itertools.pairwise(widths)):
      plan += [(before, before, False), (before, after, stage < stages)]
    self._blocks = [f"block{index}" for index in range(len(plan))]
    for name, (before, after, upsample) in zip(self._blocks, plan, strict=True):
      self.add_module(name, GeneratorBlock(before, after, upsample, self.frames, condition))
    self.separable_attention = SeparableAttention(plan[-1][0])
    self.norm = BatchNorm(widths[-1], self.frames)
    self.to_rgb = Conv(widths[-1], 3, 3)

  def forward(self, z, label, track: bool = False):
    """Generates [B, T, H, W, 3] in [-1, 1] of z [B, latent_dim] and label int [B].

    `track` updates the running moments of batch norm.
    """
    condition = torch.cat([z, self.embed(label)], 1)
    x = self.linear(condition).unflatten(1, (4, 4, -1)).permute(0, 3, 1, 2)
    x = self.rnn(x, self.frames)
    x = _attend(self.attention, x, self.frames)
    for name in self._blocks:
      if name == self._blocks[-1]:
        x = _attend(self.separable_attention, x, self.frames)
      x = self.get_submodule(name)(x, condition, track)
    x = torch.tanh(self.to_rgb(F.relu_(self.norm(x, track))))
    return x.permute(0, 2, 3, 1).unflatten(0, (self.frames, -1)).transpose(0, 1)


class DiscriminatorBlock(nn.Module):
  """(ReLU) - conv - ReLU - conv - (average pool), plus a shortcut; 2-D or 3-D."""

  def __init__(
    self, inputs: int, features: int, shrink: bool, preactivation: bool, dimensions: int
  ):
    super().__init__()
    self.conv1 = Conv(inputs, features, 3, dimensions)
    self.conv2 = Conv(features, features, 3, dimensions)
    changed = shrink or inputs != features
    self.shortcut = Conv(inputs, features, 1, dimensions) if changed else None
    self._shrink, self._preactivation = shrink, preactivation
    self._pool = F.avg_pool2d if dimensions == 2 else F.avg_pool3d

  def forward(self, x):
    """Maps [N, C, *spatial] to [N, features, *spatial']."""
    out = F.relu(x) if self._preactivation else x
    out = self.conv2(F.relu_(self.conv1(out)))
    if self.shortcut is not None:
      x = self.shortcut(x)
    if self._shrink:
      factors = [min(2, size) for size in x.shape[2:]]
      out, x = self._pool(out, factors), self._pool(x, factors)
    return out + x


class Head(nn.Module):
  """ReLU, sum over height and width, a linear score and the projection <e(y), h>."""

  def __init__(self, channels: int, classes: int):
    super().__init__()
    self.linear = Linear(channels, 1)
    self.embed = Embed(classes, channels)

  def forward(self, x, label):
    """Scores [B*N, C, H, W] with `label` int [B] as [B, N]."""
    hidden = F.relu(x).sum((2, 3)).unflatten(0, (label.shape[0], -1))
    projection = torch.linalg.vecdot(self.embed(label)[:, None], hidden)
    return self.linear(hidden)[..., 0] + projection


class Discriminator(nn.Module):
  """BigGAN's discriminator on frames, or with its first `blocks_3d` blocks in 3-D on clips."""

  def __init__(self, config, blocks_3d: int = 0):
    super().__init__()
    model = config.model
    multipliers = tuple(model.discriminator.multipliers) or _DISCRIMINATOR_MULTIPLIERS
    widths = [m * model.discriminator.channels for m in multipliers]
    size = model.resolution // (2 if blocks_3d else 1)
    self._blocks_3d, self._blocks = blocks_3d, []
    for index, (before, after) in enumerate(itertools.pairwise([3, *widths])):
      shrink = index < len(widths) - 1 and size >= 2
      size //= 2 if shrink else 1
      dimensions = 3 if index < blocks_3d else 2
      block = DiscriminatorBlock(before, after, shrink, index > 0, dimensions)
      self._blocks.append(f"block{index}")
      self.add_module(self._blocks[-1], block)
    self.head = Head(widths[-1], model.num_classes)

  def forward(self, clip, label):
    """Scores [B, T, H, W, 3] with `label` int [B] as [B, T'], one per frame or time step."""
    fold = lambda x: x.flatten(0, 1).permute(0, 3, 1, 2)
    x = clip.permute(0, 4, 1, 2, 3) if self._blocks_3d else fold(clip)
    for index, name in enumerate(self._blocks):
      x = self.get_submodule(name)(x)
      if index == self._blocks_3d - 1:
        x = fold(x.permute(0, 2, 3, 4, 1))
    return self.head(x, label)


def sample_frames(clip, indices):
  """Takes frames `indices` [B, k] of [B, T, H, W, 3]."""
  return clip[torch.arange(clip.shape[0])[:, None], indices]


def downsample(clip):
  """Halves height and width of [B, T, H, W, 3] by 2x2 means."""
  frames = F.avg_pool2d(clip.flatten(0, 1).permute(0, 3, 1, 2), 2)
  return frames.permute(0, 2, 3, 1).unflatten(0, clip.shape[:2])


@dataclasses.dataclass
class Networks:
  """The generator and the discriminators "spatial" and "temporal"."""

  generator: Generator
  discriminators: nn.ModuleDict

  def named(self) -> dict[str, nn.Module]:
    """All networks by name."""
    return {"generator": self.generator, **self.discriminators}


def build(config) -> Networks:
  """Builds the networks of `config`; raises ValueError for switches that the twin lacks."""
  for name, value in _FIXED_SWITCHES.items():
    of_config = functools.reduce(lambda node, key: node[key], name.split("."), config)
    if of_config != value:
      raise ValueError(f"the twin implements only {name} {value!r}, not {of_config!r}")
  discriminators = {"spatial": Discriminator(config), "temporal": Discriminator(config, 2)}
  return Networks(Generator(config), nn.ModuleDict(discriminators))


def _axes(name, array):
  """A Flax array with its axes in PyTorch's order."""
  if name != "kernel":
    return array
  return np.moveaxis(array, (-1, -2), (0, 1))  # [*window, in, out] -> [out, in, *window]


def convert(variables) -> dict[str, torch.Tensor]:
  """Converts the Flax variables of one network, {collection: nested dict}, to named tensors."""
  names = {"kernel": "weight", "embedding": "weight"}
  tensors = {}

  def walk(collection, path, node):
    if hasattr(node, "items"):
      for key, child in node.items():
        walk(collection, (*path, key), child)
      return
    array = np.asarray(node)
    last = names.get(path[-1], path[-1])
    if collection == "spectral":
      last = "u"
    elif collection == "params":
      array = _axes(path[-1], array)
    tensors[".".join((*path[:-1], last))] = torch.from_numpy(np.array(array, order="C"))

  for collection in ("params", "spectral", "batch_stats"):
    walk(collection, (), variables.get(collection, {}))
  return tensors


def from_flax(config, variables) -> Networks:
  """Builds the twin with the values of Flax variables.

  Args:
    config: the whole config.
    variables: as `VideoGan.init` returns them, {"generator": variables, "discriminators": {name:
      variables}}. The twin gets their data type.
  """
  networks = build(config)
  sources = {"generator": variables["generator"], **variables["discriminators"]}
  for name, network in networks.named().items():
    tensors = convert(sources[name])
    network.to(next(iter(tensors.values())).dtype)
    network.load_state_dict(tensors)  # strict: names must match exactly
  return networks


@dataclasses.dataclass
class Draws:
  """The random numbers of one update.

  Attributes:
    z: [B, latent_dim].
    label: int [B], of the clips to generate.
    real_frames, generated_frames: int [B, k], ascending indices of the frames that the spatial
      discriminator gets.
  """

  z: torch.Tensor
  label: torch.Tensor
  real_frames: torch.Tensor
  generated_frames: torch.Tensor


class Iteration:
  """A full training iteration: the discriminators' updates, the generator's, the moving average.

  Args:
    config: the whole config.
    networks: trained in place.
    compiled: compile the passes with torch.compile.
  """

  def __init__(self, config, networks: Networks, compiled: bool = False):
    self.networks = networks
    self.batch_size, self.frames = config.batch_size, config.model.frames
    self.latent_dim, self.num_classes = config.model.latent_dim, config.model.num_classes
    self.sampled_frames = config.model.discriminator.sampled_frames
    self.discriminator_steps = config.model.discriminator_steps
    self.eps = config.model.spectral_eps
    self.decay, self.start = config.ema.decay, config.ema.start
    self.step_number = 0
    self.random = torch.Generator().manual_seed(config.seed)
    self.dtype = next(networks.generator.parameters()).dtype
    self.average = copy.deepcopy(networks.generator).requires_grad_(False)
    options = config.optimizer
    adam = lambda network, rate: torch.optim.Adam(
      network.parameters(),
      lr=rate,
      betas=(options.beta1, options.beta2),
      eps=options.eps,
      fused=True,
    )
    self.optimizers = {
      "generator": adam(networks.generator, options.generator_lr),
      "discriminators": adam(networks.discriminators, options.discriminator_lr),
    }
    wrap = lambda f: torch.compile(f, dynamic=False, fullgraph=True) if compiled else f
    self._normalize_generator = wrap(self._normalize_generator)
    self._generate = wrap(self._generate)
    self.discriminator_loss = wrap(self.discriminator_loss)
    self.generator_loss = wrap(self.generator_loss)

  def draw(self) -> Draws:
    """Draws the random numbers of one update."""
    size, random = self.batch_size, self.random
    frames = lambda: (
      torch.rand(size, self.frames, generator=random)
      .topk(self.sampled_frames)
      .indices.sort()
      .values
    )
    return Draws(
      z=torch.randn(size, self.latent_dim, generator=random, dtype=self.dtype),
      label=torch.randint(self.num_classes, (size,), generator=random),
      real_frames=frames(),
      generated_frames=frames(),
    )

  def _normalize_generator(self):
    return normalize(self.networks.generator, self.eps)

  def _generate(self, weights, z, label, track: bool = False):
    return functional_call(self.networks.generator, weights, (z, label, track))

  def discriminator_loss(self, real, label, fake, draws: Draws):
    """The discriminators' loss on clips [B, T, H, W, 3], and {name: advanced vectors}."""
    views = {
      "spatial": torch.cat(
        [sample_frames(real, draws.real_frames), sample_frames(fake, draws.generated_frames)]
      ),
      "temporal": downsample(torch.cat([real, fake])),
    }
    labels = torch.cat([label, draws.label])
    loss, vectors = 0.0, {}
    for name, network in self.networks.discriminators.items():
      weights, vectors[name] = normalize(network, self.eps)
      scores = functional_call(network, weights, (views[name], labels)).sum(1)
      on_real, on_fake = scores.chunk(2)
      loss = loss + F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()
    return loss, vectors

  def generator_loss(self, weights, draws: Draws):
    """The generator's loss with normalised `weights`; updates its running moments."""
    clip = self._generate(weights, draws.z, draws.label, True)
    views = {"spatial": sample_frames(clip, draws.generated_frames), "temporal": downsample(clip)}
    loss = 0.0
    for name, network in self.networks.discriminators.items():
      with torch.no_grad():  # the vectors advance only in updates of their own network
        constant, _ = normalize(network, self.eps)
      constant = _detached(constant)
      loss = loss - functional_call(network, constant, (views[name], draws.label)).sum(1).mean()
    return loss

  def step(self, batch, draws: list[Draws] | None = None) -> dict[str, float]:
    """Runs one iteration.

    Args:
      batch: {"clip": uint8 [D steps, B, T, H, W, 3], "label": int32 [D steps, B]}, NumPy arrays.
      draws: random numbers of the discriminator updates and of the generator's; None draws them.

    Returns:
      {"discriminator": mean loss over the updates, "generator": loss}.
    """
    clips, labels = torch.from_numpy(batch["clip"]), torch.from_numpy(batch["label"]).long()
    draws = draws or [self.draw() for _ in range(self.discriminator_steps + 1)]
    networks, optimizers = self.networks, self.optimizers
    # The generator is normalised once for the whole iteration.
    weights, vectors = self._normalize_generator()
    constant, losses = _detached(weights), []
    for index in range(self.discriminator_steps):
      real = clips[index].to(self.dtype) / 127.5 - 1
      with torch.no_grad():
        fake = self._generate(constant, draws[index].z, draws[index].label)
      loss, advanced = self.discriminator_loss(real, labels[index], fake, draws[index])
      optimizers["discriminators"].zero_grad()
      loss.backward()
      optimizers["discriminators"].step()
      for name, network in networks.discriminators.items():
        _advance(network, advanced[name])
      losses.append(loss.detach())
    loss = self.generator_loss(weights, draws[-1])
    optimizers["generator"].zero_grad()
    loss.backward()
    optimizers["generator"].step()
    _advance(networks.generator, vectors)
    self._move_average()
    self.step_number += 1
    return {"discriminator": (sum(losses) / len(losses)).item(), "generator": loss.item()}

  @torch.no_grad()
  def _move_average(self):
    """Averages parameters and running moments; copies them before the average starts."""
    decay = 0.0 if self.step_number + 1 < self.start else self.decay
    torch._foreach_lerp_(_averaged(self.average), _averaged(self.networks.generator), 1 - decay)


def _averaged(generator):
  moments = [b for name, b in generator.named_buffers() if not name.endswith(".u")]
  return [*generator.parameters(), *moments]


def count_parameters(network) -> int:
  """Number of a network's parameters."""
  return sum(math.prod(parameter.shape) for parameter in network.parameters())
