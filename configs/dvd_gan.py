"""DVD-GAN (Clark, Donahue, Simonyan 2019, arXiv 1907.06571) and the variant of Du's thesis (2020).

  vidgan train --config=configs/dvd_gan.py:NAME --workdir=DIR \
      --config.data.directory=PREPARED

PREPARED is a folder made by `vidgan prepare`, or a folder of videos.

NAME,runlocal shrinks any of these experiments to seconds per iteration on a CPU. It keeps the
structure of the networks and trains on moving shapes, which the package generates. The table lists
results and sizes of the DVD-GAN paper (its Tables 1 and 2) and of the thesis. The paper trains on
32 to 512 cores of TPUv3 for 12 to 96 hours (A.3), the thesis on 8 V100 for 110,000 iterations,
which take 4 to 5 days. None of the scores has been reproduced with this code yet. The paper
computes FID and IS with I3D on Kinetics-600, and IS with C3D on UCF-101; `vidgan
evaluate` has protocols for both.

| NAME                    | paper          | FID / IS       | G, D_S, D_T params |
|-------------------------|----------------|----------------|--------------------|
| kinetics600_64x12       | Table 1, row 1 | 0.91 / 61.10   | 182, 154, 163 M    |
| kinetics600_64x48       | Table 1, row 2 | 12.92 / 97.62  | 48, 154, 163 M     |
| kinetics600_128x12      | Table 1, row 3 | 2.16 / 55.09   | 143, 155, 157 M    |
| kinetics600_128x48      | Table 1, row 4 | 31.50 / 111.19 | 141, 155, 157 M    |
| kinetics600_256x12      | Table 1, row 5 | 3.35 / 59.74   | see `summarize`    |
| ucf101_128x16           | Table 2        | IS 32.97       | see `summarize`    |
| kinetics600_64x16_stride1 | Table 3, row 3 | FVD 31.1     | 182, 154, 163 M    |
| kinetics600_phi_*, _k_* | Figure 7       | curves         | as row 1           |
| thesis_kinetics400      | thesis, text   | 11.92 / 20.76  | 31, 39, 6 M        |
| thesis_kinetics400_code | its code       | the same run   | 30, 39, 6 M        |

The thesis resizes frames by area, the paper bilinearly; see `--resize` in `prepare --help`.

Time: one iteration of kinetics600_64x12 at batch 512 takes 4,517 TFLOP as the paper writes it and
3,005 TFLOP as executed, so at least 3.8 s at 790 TFLOP/s.
`vidgan summarize` prints the shortest possible time for any device.
"""

import ml_collections

from vidgan_jax.models import dvd_gan_config
from vidgan_jax.runtime.config import configuration, schema

_NARROW = {"model.generator.channels": 64}
_LONG = {**_NARROW, "model.frames": 48, "model.generator.rnn": "standard"}
_SHORT = {"num_iterations": 100_000}  # as in Figure 7
_ROWS: dict[str, dict] = {
  "kinetics600_64x12": {},
  "kinetics600_64x48": _LONG,
  "kinetics600_128x12": {**_NARROW, "model.resolution": 128},
  "kinetics600_128x48": {**_LONG, "model.resolution": 128},
  "kinetics600_256x12": {**_NARROW, "model.resolution": 256},
  # Table 3, last row: 16 frames without frame skipping.
  "kinetics600_64x16_stride1": {"model.frames": 16, "data.stride": 1},
  "ucf101_128x16": {
    **_NARROW,
    "model.resolution": 128,
    "model.frames": 16,
    "model.num_classes": 101,
    "data.prepare": "--source=ucf101",
    "data.stride": 1,
  },
  # Section 4.3 and Figure 7: phi of the temporal and k of the spatial discriminator.
  **{
    f"kinetics600_phi_{phi}": {**_SHORT, "model.discriminator.downsampling": phi}
    for phi in ("identity", "pool2", "pool4", "half_crop")
  },
  **{
    f"kinetics600_k_{k}": {**_SHORT, "model.discriminator.sampled_frames": k} for k in (1, 2, 8, 10)
  },
  # The paper's second version, as SSW-GAN describes it: a ConvGRU at each resolution, and 5e-4 as
  # the discriminators' learning rate.
  "kinetics600_64x12_stacked": {
    "model.generator.variant": "stacked_rnn",
    "model.generator.rnn": "standard",
    "optimizer.discriminator_lr": 5e-4,
  },
}

# Du's thesis, tables 3.1 to 3.3 and 4.1.
_THESIS = {
  "data.prepare": "--source=kinetics --resize=area",
  "batch_size": 108,
  "num_iterations": 110_000,
  "optimizer.generator_lr": 5e-4,  # the thesis exchanges the two rates of the paper on purpose
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
  "model.generator.attention_order": "thw",  # thesis, Figure 3.1
  "model.discriminator.channels": 64,
  "model.discriminator.temporal_multipliers": (1, 2, 4, 8),
  "model.discriminator.temporal_min_size": 4,
}
_ROWS |= {
  "thesis_kinetics400": _THESIS,
  # The final training script of the thesis' author differs from the text in these fields.
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
  """Returns the experiment called `argument`; UserError lists the known names."""
  name, runlocal = configuration.parse_argument(argument, _ROWS)
  config = configuration.base_config()
  config.model = dvd_gan_config.default()
  common = {"data.name": "video_folder", "data.prepare": "--source=kinetics", "data.stride": 2}
  schema.set_fields(config, common | _ROWS[name])
  if runlocal:
    run_local(config)
  return config.lock()


def run_local(config) -> None:
  """Reduces widths, batch size and intervals in place; keeps depth, resolution and frames."""
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
