"""DVD-GAN (Clark, Donahue, Simonyan 2019, arXiv 1907.06571) and the variant of Du's thesis (2020).

  python -m vidgan_jax.train --config=configs/dvd_gan.py:NAME --workdir=DIR \
      --config.data.directory=PREPARED

PREPARED is what `python -m vidgan_jax.prepare` made; a folder of videos will do as well.

NAME,runlocal shrinks any of them to seconds per iteration on a CPU with the same structure, on the
embedded moving shapes. Table 1 and 2 are the DVD-GAN paper's; none of its scores has been
reproduced with this code yet, and the I3D and C3D scores need their own evaluation.

| NAME                    | paper          | FID / IS there | G, D_S, D_T params | hardware there |
|-------------------------|----------------|----------------|--------------------|----------------|
| kinetics600_64x12       | Table 1, row 1 | 0.91 / 61.10   | 182, 154, 163 M    | 32-512 TPUv3   |
| kinetics600_64x48       | Table 1, row 2 | 12.92 / 97.62  | 48, 154, 163 M     | cores, 12-96 h |
| kinetics600_128x12      | Table 1, row 3 | 2.16 / 55.09   | 143, 155, 157 M    | (A.3)          |
| kinetics600_128x48      | Table 1, row 4 | 31.50 / 111.19 | 141, 155, 157 M    |                |
| kinetics600_256x12      | Table 1, row 5 | 3.35 / 59.74   | see `summarize`    |                |
| ucf101_128x16           | Table 2        | IS 32.97       | see `summarize`    |                |
| kinetics600_phi_*, _k_* | Figure 7       | curves         | as row 1           |                |
| thesis_kinetics400      | thesis, text   | 11.92 / 20.76  | 31, 39, 6 M        | 8 V100, 110k   |
| thesis_kinetics400_code | its code       | the same run   | 30, 39, 6 M        | its., 4-5 days |

The thesis' frames are resized by area, the paper's bilinearly: `prepare --help` says how.

Time: one iteration of the first row costs 4,517 TFLOP at batch 512 (`summarize` prints the floor
for any device): 5.7 s at 790 TFLOP/s.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime import configuration

_ROWS = {
  "kinetics600_64x12": dict(),
  "kinetics600_64x48": dict(frames=48, channels=64, rnn="standard"),
  "kinetics600_128x12": dict(resolution=128, channels=64),
  "kinetics600_128x48": dict(resolution=128, frames=48, channels=64, rnn="standard"),
  "kinetics600_256x12": dict(resolution=256, channels=64),
  "ucf101_128x16": dict(resolution=128, frames=16, channels=64, num_classes=101, stride=1),
  # Section 4.3 and Figure 7: phi of the temporal, k of the spatial discriminator; 100k iterations.
  "kinetics600_phi_identity": dict(downsampling="identity", iterations=100_000),
  "kinetics600_phi_pool2": dict(downsampling="pool2", iterations=100_000),
  "kinetics600_phi_pool4": dict(downsampling="pool4", iterations=100_000),
  "kinetics600_phi_half_crop": dict(downsampling="half_crop", iterations=100_000),
  "kinetics600_k_1": dict(sampled_frames=1, iterations=100_000),
  "kinetics600_k_2": dict(sampled_frames=2, iterations=100_000),
  "kinetics600_k_8": dict(sampled_frames=8, iterations=100_000),
  "kinetics600_k_10": dict(sampled_frames=10, iterations=100_000),
  # The paper's second version, as SSW-GAN cites it: a ConvGRU per resolution, D at 5e-4.
  "kinetics600_64x12_stacked": dict(variant="stacked_rnn", rnn="standard", discriminator_lr=5e-4),
  "thesis_kinetics400": dict(thesis="text"),
  "thesis_kinetics400_code": dict(thesis="code"),
}


def _thesis(config, source):
  """Du's thesis: tables 3.1-3.3 and 4.1; "code" is its author's final script where it differs."""
  model, generator, discriminator = (
    config.model,
    config.model.generator,
    config.model.discriminator,
  )
  config.data.prepare += " --resize=area"
  config.batch_size = 108
  config.num_iterations = 110_000
  config.optimizer.generator_lr = 5e-4  # the reverse of the paper's, on purpose
  config.optimizer.discriminator_lr = 1e-4
  config.ema.start = 20_000 if source == "text" else 1000
  model.num_classes = 400
  model.latent_dim = model.embedding_dim = 128
  model.initializer = "normal02"
  model.aggregation = "mean_after"
  generator.channels = discriminator.channels = 64
  generator.doubled = False
  generator.final_multiplier = 1
  generator.rnn = "standard"
  generator.attention_before = "last_upsampling"
  generator.attention_order = "thw"  # its Figure 3.1
  discriminator.temporal_multipliers = (1, 2, 4, 8)
  discriminator.temporal_min_size = 4
  if source == "code":
    generator.rnn_activation = "tanh"
    generator.rnn_spectral = generator.linear_spectral = False
    generator.condition = "class"
    generator.statistics = "shared"
    generator.attention_order = "wht"
    discriminator.plain_3d = True
    config.data.crop = "center"


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  row = dict(_ROWS[name])
  config = configuration.base_config()
  config.model = dvd_gan_config.default()
  model = config.model
  config.data.name = "video_folder"
  config.data.prepare = "--source=ucf101" if name.startswith("ucf101") else "--source=kinetics"
  config.data.stride = row.get("stride", 2)
  config.num_iterations = row.get("iterations", 300_000)
  config.optimizer.discriminator_lr = row.get("discriminator_lr", 2e-4)
  model.resolution = row.get("resolution", 64)
  model.frames = row.get("frames", 12)
  model.num_classes = row.get("num_classes", 600)
  model.generator.channels = row.get("channels", 128)
  model.generator.rnn = row.get("rnn", "multiplicative")
  model.generator.variant = row.get("variant", "single_rnn")
  model.discriminator.downsampling = row.get("downsampling", "pool2")
  model.discriminator.sampled_frames = row.get("sampled_frames", 8)
  if "thesis" in row:
    _thesis(config, row["thesis"])
  if runlocal:
    run_local(config)
  return config.lock()


def run_local(config) -> None:
  """Shrinks widths, batch and cadences in place; depth, resolution and frames stay."""
  configuration.run_local(config)
  config.ema.start = 1
  config.model.num_classes = min(config.model.num_classes, 8)
  config.model.latent_dim = config.model.embedding_dim = 8
  config.model.generator.channels = config.model.discriminator.channels = 4
