"""The switches of DVD-GAN, each at its default; `configs/` sets them per experiment."""

import ml_collections


def default() -> ml_collections.ConfigDict:
  """DVD-GAN's first version at 64x64x12 with every switch at its default."""
  model = ml_collections.ConfigDict()
  model.name = "dvd_gan"
  model.resolution = 64
  model.frames = 12
  model.num_classes = 600  # 0: unconditional, no labels anywhere
  model.latent_dim = 120
  model.embedding_dim = 120
  model.initializer = "orthogonal"  # or normal02
  model.spectral_eps = 1e-8
  model.discriminator_steps = 2
  model.shared_fakes = False  # the generator moves on the discriminators' last clips: a pass less
  model.aggregation = "sum_before"  # mean_after (thesis), concat_mean (SSW-GAN)
  model.generated_labels = "uniform"  # or batch: those of the real clips
  model.savings = True  # algebraically equal, cheaper forms of the layers
  model.remat = "none"  # conv_outputs, block_inputs: less memory, more work

  model.pixel_loss = ml_collections.ConfigDict()  # thesis 4.5
  model.pixel_loss.weight = 0.0
  model.pixel_loss.start = 0
  model.pixel_loss.form = "channel_means"  # or pixels

  generator = model.generator = ml_collections.ConfigDict()
  generator.variant = "single_rnn"  # or stacked_rnn
  generator.channels = 128  # ch; 64 above 64x64 or for 48 frames
  generator.multipliers = ()  # empty: by resolution
  generator.doubled = True  # two blocks per stage
  generator.final_multiplier = 0  # a further block at full resolution; 0: none
  generator.condition = "z_class"  # what conditional batch norm sees: z_class, class, z
  generator.statistics = "per_step"  # of batch norm; or shared over time
  generator.rnn = "multiplicative"  # standard for 48 frames
  generator.rnn_activation = "relu"  # or tanh
  generator.rnn_spectral = True
  generator.linear_spectral = True
  generator.full_attention = True  # over all positions and frames at 4x4
  generator.attention_before = "last_block"  # last_pair, last_upsampling, none
  generator.attention_order = "hwt"  # any order: text hwt, pseudo-code thw, thesis' code wht
  generator.attention_style = "sagan"  # or bare: the pseudo-code's

  discriminator = model.discriminator = ml_collections.ConfigDict()
  discriminator.channels = 128
  discriminator.multipliers = ()  # empty: by resolution
  discriminator.sampled_frames = 8  # k; 0: no spatial discriminator
  discriminator.temporal = True  # False: no temporal discriminator
  discriminator.downsampling = "pool2"  # phi: identity, pool2, pool4, half_crop
  discriminator.temporal_multipliers = ()  # empty: as the spatial one
  discriminator.temporal_min_size = 1  # stop halving at this size
  discriminator.pool_time = True  # 3-D blocks halve time
  discriminator.plain_3d = False  # plain convolutions in place of 3-D residual blocks
  discriminator.time_into = "batch"  # or channel
  discriminator.attention_resolution = 0  # 64: as BigGAN's discriminator at 128
  return model
