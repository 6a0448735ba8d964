"""The switches of TGAN, MoCoGAN and VGAN at their defaults; `configs/` sets them per experiment."""

import ml_collections

from vidgan_jax.runtime import configuration


def experiment(model, *, batch_size: int, num_iterations: int, rate: float):
  """A config of clips from a folder around `model`; the generator itself is sampled."""
  config = configuration.base_config()
  config.batch_size = batch_size
  config.num_iterations = num_iterations
  config.data.name = "video_folder"
  config.data.prepare = "--source=ucf101 --crop=240"
  config.data.crop = "center"
  config.optimizer.generator_lr = config.optimizer.discriminator_lr = rate
  config.optimizer.beta1 = 0.5
  config.ema.decay, config.ema.start = 0.0, 0
  config.model = model
  return config


def on_moving_shapes(config, iterations: int) -> None:
  """Turns an experiment, in place, into some minutes on two CPU cores with a look at curvature.

  64x64 and 16 frames stay; the set is the embedded one with plain grounds and without classes.
  """
  config.batch_size = 8
  config.num_iterations = iterations
  config.data.name = "moving_shapes"
  config.data.variety = 0.0
  config.data.stride = 1
  config.log_every = 10
  config.checkpoint_every = iterations // 4
  config.sample_every = iterations // 4
  config.analysis.every = iterations // 8
  config.analysis.batch_size = 8
  config.analysis.products = 30


def _common(name: str) -> ml_collections.ConfigDict:
  model = ml_collections.ConfigDict()
  model.name = name
  model.resolution = 64
  model.frames = 16
  model.num_classes = 0
  model.savings = True  # algebraically equal, cheaper forms of the layers
  model.shared_fakes = name != "mocogan"  # both sides of an iteration see the same clips
  return model


def tgan_discriminator() -> ml_collections.ConfigDict:
  """TGAN's discriminator."""
  discriminator = ml_collections.ConfigDict()
  discriminator.kind = "3d"  # factorised (LDVD 4.1), tsm (4.2)
  discriminator.level = 0  # layers that are factorised, or followed by a shift; the others are 2-D
  discriminator.channels = 64
  discriminator.pooling = "mean"  # sum, max: of what is left of time (LDVD Figure 5a)
  discriminator.noise = 0.0  # before every activation; 0.3 in TGAN's vanilla variant
  return discriminator


def tgan() -> ml_collections.ConfigDict:
  """TGAN with singular value clipping at 64x64, 16 frames."""
  model = _common("tgan")
  model.latent_dim = 100
  model.loss = "wasserstein"  # or vanilla
  model.clipping_period = 5  # iterations between clippings of singular values; 0: never
  generator = model.generator = ml_collections.ConfigDict()
  generator.temporal_channels = (512, 256, 128, 128)
  generator.image_channels = 512
  generator.image_initializer = "uniform01"
  generator.temporal_initializer = "lecun_normal"
  model.discriminator = tgan_discriminator()
  model.discriminator.initializer = "lecun_normal"  # Chainer's
  return model


def mocogan() -> ml_collections.ConfigDict:
  """MoCoGAN without categories at 64x64, 16 frames, with the discriminators of LDVD's Table 1."""
  model = _common("mocogan")
  model.content_dim = 50
  model.motion_dim = 10
  model.categories = 0  # or the number of classes
  model.infogan = False  # the generator's term on categories
  model.initializer = "fan_in_uniform"  # PyTorch's
  model.generator = ml_collections.ConfigDict()
  model.generator.channels = 64
  discriminator = model.discriminator = ml_collections.ConfigDict()
  discriminator.image = True
  discriminator.video = "patch"  # categorical, factorised, tsm, tgan, none
  discriminator.level = 0  # factorised, tsm: as TGAN's
  discriminator.channels = 64
  discriminator.image_window = 4
  discriminator.video_window = 4
  discriminator.noise = 0.0  # in front of the layers; 0.1 in its authors' settings for UCF-101
  discriminator.spectral = False  # spectral normalisation of all kernels
  discriminator.tgan = tgan_discriminator()  # where video is tgan; `model.initializer` draws it
  return model


def vgan() -> ml_collections.ConfigDict:
  """VGAN at 64x64, 16 frames."""
  model = _common("vgan")
  model.latent_dim = 100
  model.mask_weight = 0.1
  model.initializer = "normal01"
  model.generator = ml_collections.ConfigDict()
  model.generator.channels = 512
  model.discriminator = ml_collections.ConfigDict()
  model.discriminator.channels = 64
  return model
