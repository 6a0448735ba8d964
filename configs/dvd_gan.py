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
from vidgan_jax.runtime.config import configuration, schema

_NARROW = {"model.generator.channels": 64}
_LONG = {**_NARROW, "model.frames": 48, "model.generator.rnn": "standard"}
_SHORT = {"num_iterations": 100_000}  # Figure 7's
_ROWS = {
  "kinetics600_64x12": {},
  "kinetics600_64x48": _LONG,
  "kinetics600_128x12": {**_NARROW, "model.resolution": 128},
  "kinetics600_128x48": {**_LONG, "model.resolution": 128},
  "kinetics600_256x12": {**_NARROW, "model.resolution": 256},
  "ucf101_128x16": {
    **_NARROW,
    "model.resolution": 128,
    "model.frames": 16,
    "model.num_classes": 101,
    "data.prepare": "--source=ucf101",
    "data.stride": 1,
  },
  # Section 4.3 and Figure 7: phi of the temporal, k of the spatial discriminator; 100k iterations.
  **{
    f"kinetics600_phi_{phi}": {**_SHORT, "model.discriminator.downsampling": phi}
    for phi in ("identity", "pool2", "pool4", "half_crop")
  },
  **{
    f"kinetics600_k_{k}": {**_SHORT, "model.discriminator.sampled_frames": k} for k in (1, 2, 8, 10)
  },
  # The paper's second version, as SSW-GAN cites it: a ConvGRU per resolution, D at 5e-4.
  "kinetics600_64x12_stacked": {
    "model.generator.variant": "stacked_rnn",
    "model.generator.rnn": "standard",
    "optimizer.discriminator_lr": 5e-4,
  },
}

# Du's thesis: tables 3.1-3.3 and 4.1 ...
_THESIS = {
  "data.prepare": "--source=kinetics --resize=area",
  "batch_size": 108,
  "num_iterations": 110_000,
  "optimizer.generator_lr": 5e-4,  # the reverse of the paper's, on purpose
  "optimizer.discriminator_lr": 1e-4,
  "ema.start": 20_000,
  "model.num_classes": 400,
  "model.latent_dim": 128,
  "model.embedding_dim": 128,
  "model.initializer": "normal02",
  "model.aggregation": "mean_after",
  "model.generator.channels": 64,
  "model.generator.doubled": False,
  "model.generator.final_multiplier": 1,
  "model.generator.rnn": "standard",
  "model.generator.attention_before": "last_upsampling",
  "model.generator.attention_order": "thw",  # its Figure 3.1
  "model.discriminator.channels": 64,
  "model.discriminator.temporal_multipliers": (1, 2, 4, 8),
  "model.discriminator.temporal_min_size": 4,
}
_ROWS |= {
  "thesis_kinetics400": _THESIS,
  # ... and its author's final script, where it differs.
  "thesis_kinetics400_code": {
    **_THESIS,
    "ema.start": 1000,
    "data.crop": "center",
    "model.generator.rnn_activation": "tanh",
    "model.generator.rnn_spectral": False,
    "model.generator.linear_spectral": False,
    "model.generator.condition": "class",
    "model.generator.statistics": "shared",
    "model.generator.attention_order": "wht",
    "model.discriminator.plain_3d": True,
  },
}


def get_config(argument: str = "") -> ml_collections.ConfigDict:
  """Returns the experiment `argument` names; UserError lists the known ones."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = configuration.base_config()
  config.model = dvd_gan_config.default()
  common = {"data.name": "video_folder", "data.prepare": "--source=kinetics", "data.stride": 2}
  schema.set_fields(config, common | _ROWS[name])
  if runlocal:
    run_local(config)
  return config.lock()


def run_local(config) -> None:
  """Shrinks widths, batch and cadences in place; depth, resolution and frames stay."""
  configuration.run_local(config)
  schema.set_fields(
    config,
    {
      "ema.start": 1,
      "model.num_classes": min(config.model.num_classes, 8),
      "model.latent_dim": 8,
      "model.embedding_dim": 8,
      "model.generator.channels": 4,
      "model.discriminator.channels": 4,
    },
  )
