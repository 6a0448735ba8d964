"""Numbers that papers report, as printed, for comparison with computed ones.

Each table is a tuple of rows (what, Inception Score, distance), with "" for a missing number.
"""

from vidgan_jax.evaluation.protocols.base import PaperRow


def _rows(table: str, lines, distance: str = "fid") -> tuple[PaperRow, ...]:
  """Rows of a table; `distance` is the name of the metric in the third column."""
  rows = []
  for what, score, distance_value in lines:
    for metric, value in ((distance, distance_value), ("is", score)):
      if value:
        rows.append(PaperRow(metric, value, f"{table}, {what}"))
  return tuple(rows)


# Clark, Donahue, Simonyan 2019.
DVD_GAN_TABLE_1 = _rows(
  "DVD-GAN Table 1",
  (
    ("12 frames 64x64", "61.10 (129.9 truncated)", "0.91"),
    ("48 frames 64x64", "97.62 (219.05 truncated)", "12.92"),
    ("12 frames 128x128", "55.09 (80.32 truncated)", "2.16"),
    ("48 frames 128x128", "111.19 (222.07 truncated)", "31.50"),
    ("12 frames 256x256", "59.74 (64.05 truncated)", "3.35"),
  ),
)
DVD_GAN_TABLE_2 = _rows(
  "DVD-GAN Table 2",
  (
    ("VGAN", "8.31 +- .09", ""),
    ("TGAN", "11.85 +- .07", ""),
    ("MoCoGAN", "12.42 +- .03", ""),
    ("ProgressiveVGAN", "14.56 +- .05", ""),
    ("TGANv2", "24.34 +- .35", ""),
    ("DVD-GAN, 128x128", "32.97 +- 1.7", ""),
  ),
)
DVD_GAN_TABLE_3 = _rows(
  "DVD-GAN Table 3",
  (
    ("Video Transformer, prediction, test set", "", "170 +- 5"),
    ("DVD-GAN-FP, prediction, training set", "", "99.32 +- 0.55"),
    ("DVD-GAN-FP, prediction, test set", "", "103.78 +- 1.17"),
    ("DVD-GAN, 16 frames of Kinetics-600 64x64, training set", "", "32.3 +- 0.82"),
    ("DVD-GAN, 16 frames of Kinetics-600 64x64, test set", "", "31.1 +- 0.56"),
  ),
  "fvd",
)

# Clark, Donahue, Simonyan 2019, Tables 3 and 4, and later papers. "single RNN" is the first version
# of the paper (arXiv 1907.06571v1), "stacked RNNs" the second one, which later papers quote.
_SECOND = "second version, stacked RNNs"
PREDICTION_KINETICS = _rows(
  "DVD-GAN Table 3",
  (
    ("DVD-GAN-FP, single RNN, test set", "", "103.78 +- 1.17"),
    ("DVD-GAN-FP, single RNN, training set", "", "99.32 +- 0.55"),
    ("Video Transformer, test set", "", "170 +- 5"),
    ("DVD-GAN, synthesis, test set", "", "31.1 +- 0.56"),
    ("DVD-GAN, synthesis, training set", "", "32.3 +- 0.82"),
    (f"DVD-GAN-FP, {_SECOND}, test set", "", "69.15 +- 0.78"),
  ),
  "fvd",
) + _rows(
  "later",
  (
    ("TrIVD-GAN-FP (Luc et al. 2020)", "", "25.74"),
    ("MAGVIT-B (Yu et al. 2023)", "", "24.5"),
    ("MAGVIT-L (Yu et al. 2023)", "", "9.9"),
  ),
  "fvd",
)
PREDICTION_BAIR = _rows(
  "DVD-GAN Table 4",
  (
    ("DVD-GAN-FP, single RNN", "", "127.1"),
    (f"DVD-GAN-FP, {_SECOND}", "", "109.8"),
    ("SV2P", "", "262.5"),
    ("SAVP", "", "116.4"),
    ("Video Transformer", "", "94 +- 2"),
  ),
  "fvd",
) + _rows(
  "later",
  (
    ("TrIVD-GAN-FP (Luc et al. 2020)", "", "103.3"),
    ("MAGVIT-B (Yu et al. 2023)", "", "76"),
    ("MAGVIT-L (Yu et al. 2023)", "", "62"),
  ),
  "fvd",
)
PREDICTION_BAIR_DEBIASED = _rows(
  "later",
  (
    ("MAGVIT-B (Yu et al. 2023), debiased", "", "48"),
    ("MAGVIT-L (Yu et al. 2023), debiased", "", "31"),
  ),
  "fvd",
)

# Saito et al. 2020.
TGANV2_TABLE_2 = _rows(
  "TGANv2 Table 2",
  (
    ("VGAN", "8.31 +- .09", ""),
    ("TGAN", "11.85 +- .07", ""),
    ("MoCoGAN", "12.42 +- .03", ""),
    ("ProgressiveVGAN, 128x128", "13.59 +- .07", ""),
    ("ProgressiveVGAN with sliced Wasserstein loss, 128x128", "14.56 +- .05", ""),
    ("TGANv2, batch 64", "22.70 +- .19", "3591 +- 24"),
    ("TGANv2, batch 64, frame subsampling only", "21.01 +- .30", "3723 +- 20"),
    ("TGANv2, batch 64, adaptive batch reduction only", "14.30 +- .22", "4525 +- 26"),
    ("TGANv2, batch 64, without subsampling layers", "12.10 +- .10", "5222 +- 20"),
    ("TGANv2, batch 256", "24.34 +- .35", "3620 +- 26"),
  ),
) + _rows(
  "README of pfnet-research/tgan2",
  (("TGANv2, 4 x 32 clips, without batch reduction", "25.07 +- .47", "3457 +- 27"),),
)

# Kahembwe and Ramamoorthy 2020.
_REAL_64, _REAL_128 = (f"real clips of trainlist01, {s}x{s}" for s in (64, 128))
LDVD_TABLE_7 = _rows(
  "LDVD-GAN Table 7",
  (
    (f"{_REAL_64}, centre crop", "70.01 +- .08", "1765.86 +- 2.66"),
    (f"{_REAL_64}, stride 2, centre crop", "73.63 +- .11", "1685.63 +- 2.73"),
    (f"{_REAL_64}, stride 2, reversal, centre crop", "73.46 +- .17", "1686.85 +- 1.71"),
    (f"{_REAL_64}, stride 2, reversal, random crop", "71.68 +- .21", "1652.62 +- 1.07"),
    (f"{_REAL_128}, centre crop", "94.49 +- .06", "728.63 +- 1.79"),
    (f"{_REAL_128}, stride 2, centre crop", "94.93 +- .09", "804.19 +- 0.91"),
    (f"{_REAL_128}, stride 2, reversal, centre crop", "94.66 +- .11", "804.40 +- 0.67"),
    (f"{_REAL_128}, stride 2, reversal, random crop", "94.16 +- .11", "718.91 +- 1.54"),
  ),
)
LDVD_TABLE_8 = _rows(
  "LDVD-GAN Table 8, 64x64",
  (
    ("VGAN", "8.18 +- .05", ""),
    ("TGAN", "11.85 +- .07", ""),
    ("MoCoGAN", "12.42 +- .03", ""),
    ("TGAN, its reproduction", "11.93 +- .08", "9127.80 +- 13.77"),
    ("TGAN-TSM", "12.32 +- .07", "9796.68 +- 2.29"),
    ("TGAN-F", "13.62 +- .06", "8942.63 +- 3.72"),
    ("MoCoGAN, its reproduction", "11.58 +- .04", "9485.34 +- 14.61"),
    ("MoCoGAN-TSM", "9.82 +- .07", "10608.66 +- 15.67"),
    ("MoCoGAN-F", "11.60 +- .05", "9424.01 +- 12.16"),
    ("MoCoGAN-F + SN", "12.33 +- .09", "9069.11 +- 3.97"),
    ("MoCoGAN + TGAN-F discriminator", "12.53 +- .01", "9038.42 +- 9.21"),
  ),
)
LDVD_TABLE_9 = _rows(
  "LDVD-GAN Table 9, 128x128",
  (
    ("TGAN-F", "16.85 +- .04", ""),
    ("TGAN-F + 4xTemporalCh", "17.72 +- .20", ""),
    ("TGAN-F + 2xImageCh", "20.35 +- .23", ""),
    ("TGAN-F + 2xTime", "17.23 +- .15", ""),
    ("TGAN-F + All", "22.91 +- .19", ""),
  ),
)

# Castrejon, Ballas, Courville 2021 compare with these rows in their Table 1. The Inception Scores
# of SSW-GAN itself use another classifier.
SSW_GAN_TABLE_1 = tuple(row for row in DVD_GAN_TABLE_1 if "128x128" in row.source)

# Du 2020 (thesis).
DU_CHAPTER_4 = _rows("thesis", (("12 frames 64x64", "20.76", "11.92"),))
