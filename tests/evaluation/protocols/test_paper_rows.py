"""The rows of papers equal the lines of the papers' texts, which are copied here verbatim."""

import pathlib
import re

import pytest

from vidgan_jax.evaluation.protocols import registry as protocols

PAPERS = pathlib.Path(__file__).parents[4] / "shared" / "papers"

DVD_GAN_1 = """
| 12/ 64×64 | 0.91 | 61.10 | 129.9 |
| 48/ 64×64 | 12.92 | 97.62 | 219.05 |
| 12/ 128×128 | 2.16 | 55.09 | 80.32 |
| 48/ 128×128 | 31.50 | 111.19 | 222.07 |
| 12/ 256×256 | 3.35 | 59.74 | 64.05 |
"""
DVD_GAN_2 = r"""
| VGAN [59] | $8.31 \pm .09$ |
| TGAN [42] | $11.85 \pm .07$ |
| MoCoGAN [54] | $12.42 \pm .03$ |
| ProgressiveVGAN [3] | $14.56 \pm .05$ |
| TGANv2 [41] | $24.34 \pm .35$ |
| DVD-GAN (ours) | 32.97 ± 1.7 |
"""
DVD_GAN_3 = """
| Video Transformer [62] | - | 170 ± 5 |
| DVD-GAN-FP | 99.32 ± 0.55 | 103.78 ± 1.17 |
| DVD-GAN | 32.3 ± 0.82 | 31.1 ± 0.56 |
"""
DVD_GAN_4 = """
| SV2P [5] | 262.5 |
| SAVP [30] | 116.4 |
| Video Transformer [62] | 94 ± 2 |
| DVD-GAN-FP (ours) | 127.1 |
"""
TGANV2_2 = r"""
| VGAN [48] | $8.31 \pm .09$ | |
| TGAN [40] | $11.85 \pm .07$ | |
| MoCoGAN [47] | $12.42 \pm .03$ | |
| ProgressiveVGAN [1] | $13.59 \pm .07$ | |
| ProgressiveVGAN w/ SWL [1] | $14.56 \pm .05$ | |
| TGANv2(bs = 64) | $22.70 \pm .19$ | 3591 ± 24 |
| - frame subsampling only | $21.01 \pm .30$ | 3723 ± 20 |
| - adaptive batch reduction only | $14.30 \pm .22$ | 4525 ± 26 |
| - without subsampling layers | $12.10 \pm .10$ | 5222 ± 20 |
| TGANv2(bs = 256) | $24.34 \pm .35$ | 3620 ± 26 |
"""
LDVD_7 = """
70.01 $\\pm$ .08\t1765.86 $\\pm$ 2.66\t16 $\\times$ 64 $\\times$ 64 $\\times$ 3\t\t\tcenter
73.63 $\\pm$ .11\t1685.63 $\\pm$ 2.73\t16 $\\times$ 64 $\\times$ 64 $\\times$ 3\t✓\t\tcenter
73.46 $\\pm$ .17\t1686.85 $\\pm$ 1.71\t16 $\\times$ 64 $\\times$ 64 $\\times$ 3\t✓\t✓\tcenter
71.68 $\\pm$ .21\t1652.62 $\\pm$ 1.07\t16 $\\times$ 64 $\\times$ 64 $\\times$ 3\t✓\t✓\trandom
94.49 $\\pm$ .06\t728.63 $\\pm$ 1.79\t16 $\\times$ 128 $\\times$ 128 $\\times$ 3\t\t\tcenter
94.93 $\\pm$ .09\t804.19 $\\pm$ 0.91\t16 $\\times$ 128 $\\times$ 128 $\\times$ 3\t✓\t\tcenter
94.66 $\\pm$ .11\t804.40 $\\pm$ 0.67\t16 $\\times$ 128 $\\times$ 128 $\\times$ 3\t✓\t✓\tcenter
94.16 $\\pm$ .11\t718.91 $\\pm$ 1.54\t16 $\\times$ 128 $\\times$ 128 $\\times$ 3\t✓\t✓\trandom
"""
LDVD_8 = """
VGAN [37] (2016)\t8.18 $\\pm$ .05
TGAN [27] (2017)\t11.85 $\\pm$ .07
MoCoGAN [36] (2018)\t12.42 $\\pm$ .03
TGAN (our reproduction)\t11.93 $\\pm$ .08\t9127.80 $\\pm$ 13.77
TGAN-TSM\t12.32 $\\pm$ .07\t9796.68 $\\pm$ 2.29
TGAN-F\t<b>13.62 <math>\\pm</math> .06</b>\t<b>8942.63 <math>\\pm</math> 3.72</b>
MoCoGAN (our reproduction)\t11.58 $\\pm$ .04\t9485.34 $\\pm$ 14.61
MoCoGAN-TSM\t9.82 $\\pm$ .07\t10608.66 $\\pm$ 15.67
MoCoGAN-F\t11.60 $\\pm$ .05\t9424.01 $\\pm$ 12.16
MoCoGAN-F + SN\t12.33 $\\pm$ .09\t9069.11 $\\pm$ 3.97
MoCoGAN + TGAN-F Discriminator\t<b>12.53 <math>\\pm</math> .01</b>\t\
<b>9038.42 <math>\\pm</math> 9.21</b>
"""
LDVD_9 = """
TGAN-F\t16x128x128\t32\t1 GPU/12GB\t16.85 $\\pm$ .04\t16M
TGAN-F + 4xTemporalCh\t16x128x128\t32\t1 GPU/12GB\t17.72 $\\pm$ .20\t27M
TGAN-F + 2xImageCh\t16x128x128\t32\t1 GPU/12GB\t20.35 $\\pm$ .23\t25M
TGAN-F + 2xTime\t16x128x128\t32\t1 GPU/12GB\t17.23 $\\pm$ .15\t16M
TGAN-F + All\t16x128x128\t32\t1 GPU/12GB\t<b>22.91 <math>\\pm</math> .19</b>\t70M
"""
TEXTS = {"dvd-gan": DVD_GAN_1 + DVD_GAN_2 + DVD_GAN_3 + DVD_GAN_4, "tganv2": TGANV2_2}
TEXTS["ldvd-gan"] = LDVD_7 + LDVD_8 + LDVD_9


def cells(table):
  """Cells of each line, without marks of emphasis and formulas, and "a +- b" for deviations."""
  rows = []
  for line in table.strip().splitlines():
    plain = re.sub(r"</?(b|math)>|\$", "", line)
    plain = re.sub(r"\s*(\\pm|±)\s*", " +- ", plain)
    rows.append([cell.strip() for cell in plain.strip("| ").split("|" if "|" in line else "\t")])
  return rows


def numbers(name):
  """[(metric, value, source)] of a protocol's rows."""
  return [(row.metric, row.value, row.source) for row in protocols.get_protocol(name).paper]


def of(name, metric, table):
  """Values of a metric in the rows whose source is a table."""
  return [value for row, value, source in numbers(name) if row == metric and table in source]


def test_dvd_gan():
  table, name = cells(DVD_GAN_1), "dvd_gan_fid_is_k600"
  assert of(name, "fid", "DVD-GAN Table 1") == [row[1] for row in table]
  scores = [f"{row[2]} ({row[3]} truncated)" for row in table]
  assert of(name, "is", "DVD-GAN Table 1") == scores
  sizes = [f"{row[0].split('/')[0]} frames {row[0].split()[1].replace('×', 'x')}" for row in table]
  assert [source for metric, _, source in numbers(name) if metric == "fid"] == [
    f"DVD-GAN Table 1, {size}" for size in sizes
  ]
  assert len(numbers(name)) == 10


def test_ssw_gan():
  rows = {(metric, source): value for metric, value, source in numbers("ssw_gan")}
  assert rows == {
    ("fid", "DVD-GAN Table 1, 12 frames 128x128"): "2.16",
    ("is", "DVD-GAN Table 1, 12 frames 128x128"): "55.09 (80.32 truncated)",
    ("fid", "DVD-GAN Table 1, 48 frames 128x128"): "31.50",
    ("is", "DVD-GAN Table 1, 48 frames 128x128"): "111.19 (222.07 truncated)",
  }
  assert protocols.get_protocol("ssw_gan").per_class


def test_scores_of_ucf101():
  name = "tgan_is_c3d"
  assert of(name, "is", "DVD-GAN Table 2") == [row[1] for row in cells(DVD_GAN_2)]
  for (what, _), source in zip(
    cells(DVD_GAN_2), [s for _, _, s in numbers(name) if "DVD-GAN Table 2" in s], strict=True
  ):
    assert source.split(", ")[1] == what.split()[0]
  assert of(name, "is", "TGANv2 Table 2") == ["13.59 +- .07", "14.56 +- .05"]
  assert of(name, "is", "LDVD-GAN Table 9") == [row[4] for row in cells(LDVD_9)]
  at_128 = [value for _, value, source in numbers(name) if "128x128" in source]
  assert at_128 == ["32.97 +- 1.7", "13.59 +- .07", "14.56 +- .05"] + [r[4] for r in cells(LDVD_9)]
  assert len(numbers(name)) == 13 and protocols.get_protocol(name).resolutions == (64, 128)


def test_tganv2():
  table, name = cells(TGANV2_2), "tganv2_is_fid_c3d"
  assert of(name, "is", "TGANv2 Table 2") == [row[1] for row in table]
  assert of(name, "fid", "TGANv2 Table 2") == [row[2] for row in table if len(row) > 2 and row[2]]
  together = {source: {} for _, _, source in numbers(name)}
  for metric, value, source in numbers(name):
    together[source][metric] = value
  assert together["TGANv2 Table 2, TGANv2, batch 256"] == {
    "is": "24.34 +- .35",
    "fid": "3620 +- 26",
  }
  released = "README of pfnet-research/tgan2, TGANv2, 4 x 32 clips, without batch reduction"
  assert together[released] == {"is": "25.07 +- .47", "fid": "3457 +- 27"}
  assert len(numbers(name)) == 17


def test_ldvd_gan():
  name = "ldvd_is_fid_c3d"
  for column, metric in ((0, "is"), (1, "fid")):
    assert of(name, metric, "Table 7") == [row[column] for row in cells(LDVD_7)]
  assert of(name, "is", "Table 8") == [row[1] for row in cells(LDVD_8)]
  assert of(name, "fid", "Table 8") == [row[2] for row in cells(LDVD_8) if len(row) > 2]
  assert of(name, "is", "Table 9") == [row[4] for row in cells(LDVD_9)]
  for row, source in zip(
    cells(LDVD_7), [s for m, _, s in numbers(name) if m == "is" and "Table 7" in s], strict=True
  ):
    assert ("128x128" in source) == ("128" in row[2]) and ("stride 2" in source) == (row[3] == "✓")
    assert ("reversal" in source) == (row[4] == "✓") and ("random crop" in source) == (
      row[5] == "random"
    )
  assert len(numbers(name)) == 16 + 19 + 5


def test_distances_of_kinetics600_without_skipped_frames():
  _, prediction, synthesis = cells(DVD_GAN_3)
  assert of("fvd_unterthiner2018", "fvd", "DVD-GAN Table 3") == [
    cells(DVD_GAN_3)[0][2],
    *prediction[1:],
    *synthesis[1:],
  ]


def test_prediction_of_kinetics600():
  name = "k600_fvd_5_11"
  transformer, prediction, synthesis = cells(DVD_GAN_3)
  stacked = "69.15 +- 0.78"  # of the paper's second version
  in_table = [prediction[2], prediction[1], transformer[2], synthesis[2], synthesis[1], stacked]
  assert of(name, "fvd", "DVD-GAN Table 3") == in_table
  assert of(name, "fvd", "later") == ["25.74", "24.5", "9.9"]
  by_source = {source: value for _, value, source in numbers(name)}
  assert by_source["DVD-GAN Table 3, DVD-GAN-FP, single RNN, test set"] == prediction[2]
  assert stacked in [value for source, value in by_source.items() if "stacked RNNs" in source]


def test_prediction_of_bair():
  sv2p, savp, transformer, own = (row[1] for row in cells(DVD_GAN_4))
  expected = [own, "109.8", sv2p, savp, transformer]
  assert of("bair_fvd_1_15", "fvd", "DVD-GAN Table 4") == expected
  assert of("bair_fvd_1_15", "fvd", "later") == ["103.3", "76", "62"]
  assert of("bair_fvd_1_15_debiased", "fvd", "later") == ["48", "31"]


def test_the_thesis():
  assert numbers("du_r2plus1d") == [
    ("fid", "11.92", "thesis, 12 frames 64x64"),
    ("is", "20.76", "thesis, 12 frames 64x64"),
  ]


def test_no_other_protocol_has_rows():
  with_rows = {name for name, protocol in protocols.all_protocols().items() if protocol.paper}
  assert with_rows == {
    "dvd_gan_fid_is_k600", "ssw_gan", "tgan_is_c3d", "tganv2_is_fid_c3d", "ldvd_is_fid_c3d",
    "fvd_unterthiner2018", "du_r2plus1d", "bair_fvd_1_15", "bair_fvd_1_15_debiased",
    "k600_fvd_5_11",
  }  # fmt: skip


@pytest.mark.parametrize("paper", TEXTS)
def test_lines_are_those_of_the_papers(paper):
  path = PAPERS / f"{paper}.txt"
  if not path.exists():
    pytest.skip(f"the text of the paper, {path.name}, is not available")
  plain = lambda text: re.sub(r"[ \t]+", " ", text)
  in_paper = [plain(line).strip() for line in path.read_text().splitlines()]
  for line in TEXTS[paper].strip().splitlines():
    assert not line or any(other.startswith(plain(line).strip()) for other in in_paper), line
