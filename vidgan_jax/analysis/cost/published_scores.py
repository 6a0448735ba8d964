"""The scores that papers report for the named configs, as text for docs/reproducing.md."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Section:
  """One config file.

  Attributes:
    file: its name without .py.
    title: heading of its section.
    text: paper, hardware, data and protocol.
    scores: {row: score with its table}; rows without a published score are missing.
  """

  file: str
  title: str
  text: str
  scores: Mapping[str, str]


_UCF = "`vidgan prepare --source=ucf101"
_K600 = "`vidgan prepare --source=kinetics"
_QUICKSTART = Section(
  "quickstart",
  "Quickstart",
  "No paper: a small DVD-GAN on generated moving shapes. Hardware: two CPU cores, 12 minutes. Its "
  "measured scores are in [training.md](training.md#what-the-quickstart-reaches).",
  {},
)
_WEIZMANN = Section(
  "weizmann",
  "Weizmann actions",
  "No paper: a small DVD-GAN on 56 clips, for two CPU cores. [small_data.md](small_data.md) has "
  "measured scores.",
  {},
)
_DVD_GAN = Section(
  "dvd_gan",
  "DVD-GAN",
  "Clark, Donahue and Simonyan 2019; the two `thesis` rows are Du 2020. Hardware there: 32 to 512 "
  "cores of TPUv3 for 12 to 96 hours (A.3); thesis: 8 V100, 4 to 5 days. Data: "
  f"{_K600} --resolution=64` (128, 256), thesis with `--resize=area`; {_UCF} --resolution=128`. "
  "Protocols: `dvd_gan_fid_is_k600`; UCF-101 `tgan_is_c3d`; stride 1 `k600_fvd_5_11`; thesis "
  "`du_r2plus1d`.",
  {
    "kinetics600_64x12": "FID 0.91, IS 61.10; Table 1",
    "kinetics600_64x48": "FID 12.92, IS 97.62; Table 1",
    "kinetics600_128x12": "FID 2.16, IS 55.09; Table 1",
    "kinetics600_128x48": "FID 31.50, IS 111.19; Table 1",
    "kinetics600_256x12": "FID 3.35, IS 59.74; Table 1",
    "kinetics600_64x16_stride1": "FVD 31.1 +- 0.56; Table 3",
    "ucf101_128x16": "IS 32.97 +- 1.7; Table 2",
    **{
      f"kinetics600_{row}": "curves; Figure 7"
      for row in (
        *("phi_identity", "phi_pool2", "phi_pool4", "phi_half_crop"),
        *("k_1", "k_2", "k_8", "k_10"),
      )
    },
    "thesis_kinetics400": "FID 11.92, IS 20.76; thesis, chapter 4",
    "thesis_kinetics400_code": "the same run",
  },
)
_DVD_GAN_FP = Section(
  "dvd_gan_fp",
  "DVD-GAN-FP (frame prediction)",
  "Clark, Donahue and Simonyan 2019, 4.2 and A.4; `_stacked` is the paper's second version. Batch "
  "size, learning rates and hardware of these experiments are not stated. Data: "
  f"{_K600} --resolution=64`, `--source=bair`. Protocols: `k600_fvd_5_11`, `bair_fvd_1_15`. "
  "[frame_prediction.md](frame_prediction.md) has measured scores of `shapes_fp`.",
  {
    "kinetics600_fp_5_11": "FVD 103.78 +- 1.17, test set; Table 3",
    "kinetics600_fp_5_11_stacked": "FVD 69.15 +- 0.78, test set; Table 3, second version",
    "bair_fp_1_15": "FVD 127.1; Table 4",
    "bair_fp_1_15_stacked": "FVD 109.8; Table 4, second version",
  },
)
_LDVD = (
  f"Data: {_UCF} --crop=240 --resolution=64`; MUG-FED with `--source=folder`. "
  "Protocol: `ldvd_is_fid_c3d`. [ldvd.md](ldvd.md) has numbers of parameters and results of the "
  "`shapes` rows."
)
_TGAN = Section(
  "tgan",
  "TGAN and its lower-dimensional discriminators",
  "Kahembwe and Ramamoorthy 2020. Hardware there: one 12 GB Titan-X, 1000 epochs. Rows "
  "`f_128` take `--resolution=128`. " + _LDVD,
  {
    "svc": "IS 11.93, FID 9128; Table 3a",
    "normal": "IS 8.98, FID 10093; Table 3a",
    "svc_2xtime": "IS 13.28, FID 8798; Table 3a",
    "f_c0": "IS 12.86, FID 9031; Table 5a",
    "f_c1": "IS 13.62, FID 8943; Table 5a (TGAN-F)",
    "f_c2": "IS 13.11, FID 8989; Table 5a",
    "f_c3": "IS 12.45, FID 9082; Table 5a",
    "tsm_c0": "IS 11.76; Table 6a",
    "tsm_c1": "IS 12.11; Table 6a",
    "tsm_c2": "IS 12.32, FID 9797; Table 6a (TGAN-TSM)",
    "f_c1_sum": "a bar; Figure 5a",
    "f_c1_max": "a bar; Figure 5a",
    "f_128": "IS 16.85; Table 9",
    "f_128_4xtemporal": "IS 17.72; Table 9",
    "f_128_2ximage": "IS 20.35; Table 9",
    "f_128_2xtime": "IS 17.23; Table 9",
    "f_128_all": "IS 22.91; Table 9",
    **{f"{row}": "samples; 3.1.2" for row in ("svc_mug_64", "f_mug_64", "f_mug_128")},
    **{f"{row}": "samples; 3.1.2" for row in ("f_mug_256", "f_mug_512")},
  },
)
_MOCOGAN = Section(
  "mocogan",
  "MoCoGAN and its lower-dimensional discriminators",
  "Kahembwe and Ramamoorthy 2020. Hardware there: one 12 GB Titan-X, 100,000 iterations. " + _LDVD,
  {
    "base": "IS 11.58, FID 9485; Table 2",
    "no_subsampling": "IS 10.35, FID 9657; Table 2",
    "video_only": "IS 11.09, FID 9566; Table 2",
    "image_only": "IS 8.26, FID 10494; Table 2",
    "double": "IS 12.61, FID 9167; Table 2",
    "double_video_only": "IS 11.73, FID 9461; Table 2",
    "video_only_k2": "IS 3.98, FID 13665; Table 2",
    "image_only_k8": "IS 7.62, FID 10338; Table 2",
    "f_c0": "IS 9.71, FID 9886; Table 5b",
    "f_c1": "IS 11.60, FID 9424; Table 5b (MoCoGAN-F)",
    "f_c2": "IS 10.56, FID 9518; Table 5b",
    "f_c3": "IS 10.20, FID 9694; Table 5b",
    "f_sn": "IS 12.33, FID 9069; Table 8",
    "tsm_c0": "IS 8.90; Table 6b",
    "tsm_c1": "IS 9.82, FID 10609; Table 6b (MoCoGAN-TSM)",
    "tsm_c2": "IS 9.60; Table 6b",
    "tgan_f": "IS 12.53, FID 9038; Table 8",
    **{f"mug_{size}": "samples; 3.1.2" for size in (64, 128, 256, 512)},
    **{f"mug_f_{size}": "samples; 3.1.2" for size in (64, 128, 256, 512)},
  },
)
_VGAN = Section(
  "vgan",
  "VGAN",
  "Vondrick et al. 2016; the score is that of Kahembwe and Ramamoorthy 2020. Hardware not stated "
  f"there. Data: {_UCF} --crop=240 --resolution=64`. Protocol: `ldvd_is_fid_c3d`.",
  {"ucf101_16": "IS 8.18; Table 8"},
)
_TGAN_V2 = Section(
  "tgan_v2",
  "TGANv2",
  "Saito and Saito 2018. Hardware there: 4 P100 of 12 GB, about three days for 100,000 iterations. "
  f"Data: {_UCF} --crop=240 --resolution=192` (`_readme`: without `--crop`), FaceForensics with "
  "`--source=folder --resolution=256`. Protocol: `tganv2_is_fid_c3d`, with "
  "`--standing_passes=0`. [tgan_v2.md](tgan_v2.md) has measured scores of `shapes`.",
  {
    "ucf101_192x16": "IS 22.70, FID 3591; Table 2",
    "ucf101_192x16_frames_only": "IS 21.01, FID 3723; Table 2",
    "ucf101_192x16_batch_only": "IS 14.30, FID 4525; Table 2",
    "ucf101_192x16_no_subsampling": "IS 12.10, FID 5222; Table 2",
    "ucf101_192x16_batch256": "IS 24.34, FID 3620; Table 2",
    "ucf101_192x16_readme": "IS 25.07, FID 3457; README of pfnet-research/tgan2",
    "faceforensics_256x16": "samples; Figure 3",
  },
)
_PROGRESSIVE = Section(
  "progressive_vgan",
  "ProgressiveVGAN",
  "Acharya et al. 2018. Batch and TFLOP are those of the last phase, hours those of the whole run; "
  f"GB too is of the last phase. Data: {_UCF} --crop=240 --resolution=128` (256). Protocol: "
  "`tgan_is_c3d`. [progressive_vgan.md](progressive_vgan.md) has measured scores of `shapes`.",
  {
    "ucf101_128x32_sw": "IS 14.56 +- .05; TGANv2's Table 2",
    "ucf101_128x32_wgan": "IS 13.59 +- .07; TGANv2's Table 2",
  },
)
_SSW_GAN = Section(
  "ssw_gan",
  "SSW-GAN",
  "Castrejon, Ballas and Courville 2021. Stages are trained in order, with `launch/cascade.sh`; "
  "hours are of one stage alone. Hardware there: up to 128 GPUs at batch 512. Data: "
  f"{_K600} --resolution=128`, BDD100K with `--source=folder`. Protocol: `ssw_gan` with "
  "`--standing_passes=200` and `--frames=12`, 48 or 50. The paper's figures are in its tables and "
  "not repeated here. [ssw_gan.md](ssw_gan.md) has measured scores of the `shapes` stages.",
  {
    "kinetics600_stage2_12": "IS and FID of 12 and 48 frames; Table 1",
    "kinetics600_stage2_6": "IS and FID; Tables 1 and 2",
    "kinetics600_stage2_6_no_matching": "IS and FID; Table 2",
    "kinetics600_stage2_12_gru": "curves; Figure 6",
    "bdd100k_stage3": "samples; Figure 5",
  },
)
SECTIONS = (
  *(_QUICKSTART, _DVD_GAN, _DVD_GAN_FP, _TGAN, _MOCOGAN, _VGAN),
  *(_TGAN_V2, _PROGRESSIVE, _SSW_GAN, _WEIZMANN),
)
