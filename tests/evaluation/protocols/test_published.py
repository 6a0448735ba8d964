"""Every protocol fits the networks that it names; only shapes are computed."""

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation.evaluator import check_frames, load_extractors
from vidgan_jax.evaluation.features import extractor, preprocessing
from vidgan_jax.evaluation.features.extractor import NETWORKS, PACKAGED
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.runtime.errors import UserError

NAMES = (
  "fvd_unterthiner2018 dvd_gan_fid_is_k600 tgan_is_c3d tganv2_is_fid_c3d ldvd_is_fid_c3d "
  "du_r2plus1d ssw_gan stylegan_v_fvd2048_16f recommended moving_shapes bair_fvd_1_15 "
  "bair_fvd_1_15_mean100 bair_fvd_15 bair_fvd_1_15_debiased k600_fvd_5_11 moving_shapes_prediction"
).split()


@pytest.fixture(scope="module")
def networks():
  """{name: `Parts`}; those of the packaged network are built from its module."""
  from vidgan_jax.evaluation.features.architectures import moving_shapes

  packaged = extractor.Parts(
    moving_shapes.MovingShapesClassifier(), moving_shapes.OUTPUTS, moving_shapes.MIN_FRAMES, None
  )
  return {PACKAGED: packaged, **{name: network.build() for name, network in NETWORKS.items()}}


@pytest.fixture(scope="module")
def outputs_of(networks):
  """A function (network, operations, frames, side) -> shapes of (preprocessed clips, outputs)."""
  cache = {}

  def shapes(name, operations, frames, side):
    if (name, operations, frames, side) not in cache:
      parts = networks[name]
      constants = {n: np.zeros(shape, np.float32) for n, shape in parts.constants.items()}
      clips = jax.ShapeDtypeStruct((2, frames, side, side, 3), np.uint8)
      prepared = jax.eval_shape(lambda c: preprocessing.apply(c, operations, constants), clips)
      size = prepared.shape[:1] + (max(frames, parts.min_frames), *prepared.shape[2:])
      prepared = jax.ShapeDtypeStruct(size, prepared.dtype)
      variables = jax.eval_shape(parts.module.init, jax.random.key(0), prepared)
      outputs = jax.eval_shape(parts.module.apply, variables, prepared)
      cache[name, operations, frames, side] = prepared, outputs
    return cache[name, operations, frames, side]

  return shapes


@pytest.mark.parametrize("name", NAMES)
def test_networks_accept_the_preprocessed_clips_and_have_the_outputs(name, networks, outputs_of):
  protocol = protocols.get_protocol(name)
  side = protocol.resolutions[0] if protocol.resolutions else 32
  for metric in protocol.metrics:
    if metric.input == "pixels":
      continue
    parts = networks[metric.network]
    prepared, outputs = outputs_of(metric.network, metric.preprocess, protocol.frames or 16, side)
    assert prepared.dtype == np.float32
    assert parts.input_size in (None, prepared.shape[2:4])
    assert outputs[metric.output].shape == (2, parts.outputs[metric.output])
    if metric.name in ("is", "accuracy"):
      assert metric.output == "logits"


def test_the_given_frame_is_left_out_on_request():
  clips = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4, 3), np.uint8)
  prepared = preprocessing.apply(clips, (("drop_frames", 2),))
  np.testing.assert_array_equal(prepared, clips[:, 2:])
  (fvd,) = protocols.get_protocol("bair_fvd_15").metrics
  assert fvd.preprocess[0] == ("drop_frames", 1)


def test_every_protocol_has_a_description():
  by_name = protocols.all_protocols()
  assert {*NAMES} == {*by_name}
  for protocol in by_name.values():
    assert protocol.metrics and protocol.notes and protocol.source
    fingerprint.digest(protocol.describe())
  assert len({fingerprint.digest(p.describe()) for p in by_name.values()}) == len(by_name)
  words = r"unknown protocol 'fvd2'; did you mean fvd\?; known: moving_shapes, recommended.*, fvd$"
  with pytest.raises(UserError, match=words):
    protocols.get_protocol("fvd2")
  assert protocols.get_protocol("fvd") is protocols.get_protocol("fvd_unterthiner2018")


def test_too_few_frames_are_refused_before_weights_are_needed():
  with pytest.raises(UserError, match="i3d_kinetics400 needs clips of at least 9 frames"):
    check_frames(protocols.get_protocol("ssw_gan"), 6)
  check_frames(protocols.get_protocol("ssw_gan"), 9)
  check_frames(protocols.get_protocol("moving_shapes"), 4)


# A second copy of metrics and counts: a mistake in a published protocol would report a different
# number under its name.
METRICS = """
  moving_shapes            is       moving_shapes_classifier  logits    1 split
  moving_shapes            fid      moving_shapes_classifier  features  ddof 1
  moving_shapes            accuracy moving_shapes_classifier  logits
  moving_shapes            kvd      moving_shapes_classifier  features  all classes
  moving_shapes            prdc     moving_shapes_classifier  features
  moving_shapes            diversity moving_shapes_classifier features
  recommended              fvd      i3d_kinetics400           logits    ddof 1
  recommended              kvd      i3d_kinetics400           logits    100 subsets of 1000 classes
  recommended              prdc     i3d_kinetics400           avgpool
  recommended              is       i3d_kinetics400           logits    1 split
  recommended              fvd_infinity i3d_kinetics400       logits    ddof 1
  fvd_unterthiner2018      fvd      i3d_kinetics400           logits    ddof 1
  dvd_gan_fid_is_k600      fid      i3d_kinetics600           avgpool   ddof 1
  dvd_gan_fid_is_k600      is       i3d_kinetics600           logits    10 split
  tgan_is_c3d              is       c3d_ucf101                logits    1 split
  tganv2_is_fid_c3d        is       c3d_ucf101                logits    1 split
  tganv2_is_fid_c3d        fid      c3d_ucf101                fc7       ddof 1
  ldvd_is_fid_c3d          is       c3d_ucf101                logits    1 split
  ldvd_is_fid_c3d          fid      c3d_ucf101                fc7       ddof 1
  du_r2plus1d              is       r2plus1d_kinetics400      logits    1 split
  du_r2plus1d              fid      r2plus1d_kinetics400      avgpool   ddof 1
  ssw_gan                  is       i3d_kinetics400           logits    10 split
  ssw_gan                  fid      i3d_kinetics600           avgpool   ddof 1
  ssw_gan                  fvd      i3d_kinetics400           logits    ddof 1
  stylegan_v_fvd2048_16f   fvd      i3d_kinetics400           logits    ddof 0
  bair_fvd_1_15            fvd      i3d_kinetics400           logits    ddof 1
  bair_fvd_1_15            prediction pixels                  frames
  bair_fvd_1_15_mean100    fvd      i3d_kinetics400           logits    ddof 1
  bair_fvd_15              fvd      i3d_kinetics400           logits    ddof 1
  bair_fvd_1_15_debiased   fvd      i3d_kinetics400           logits    ddof 1
  k600_fvd_5_11            fvd      i3d_kinetics400           logits    ddof 1
  k600_fvd_5_11            prediction pixels                  frames
  moving_shapes_prediction fid      moving_shapes_classifier  features  ddof 1
  moving_shapes_prediction prediction pixels                  frames
"""
# frames, stride, windows per video, crop, real and generated clips, repeats, bootstrap resamples
COUNTS = {
  "moving_shapes": (None, None, 1, "center", 2000, 1000, 1, 40),
  "recommended": (16, 1, 1, "center", 10_000, 10_000, 1, 40),
  "fvd_unterthiner2018": (16, 1, 1, "center", 2048, 2048, 1, 40),
  "dvd_gan_fid_is_k600": (None, 2, 1, "random", None, 50_000, 1, 40),
  "tgan_is_c3d": (16, None, 1, "center", None, 9984, 4, 0),
  "tganv2_is_fid_c3d": (16, 1, 10, "random", None, 2048, 10, 0),
  "ldvd_is_fid_c3d": (16, 1, 10, "center", None, 10_000, 4, 0),
  "du_r2plus1d": (None, 2, 1, "center", 10_000, 10_000, 1, 40),
  "ssw_gan": (None, None, 1, "random", 10_000, 10_000, 1, 40),
  "stylegan_v_fvd2048_16f": (16, 1, 1, "center", 2048, 2048, 1, 40),
  "bair_fvd_1_15": (16, 1, 1, "center", 256, 25_600, 1, 40),
  "bair_fvd_1_15_mean100": (16, 1, 1, "center", 256, 256, 100, 0),
  "bair_fvd_15": (16, 1, 1, "center", 256, 25_600, 1, 40),
  "bair_fvd_1_15_debiased": (16, 1, 15, "center", 3840, 25_600, 1, 40),
  "k600_fvd_5_11": (16, 1, 2, "center", 50_000, 50_000, 1, 40),
  "moving_shapes_prediction": (None, None, 1, "center", 200, 2000, 1, 40),
}
# windows of real clips, and split, where they are not random ones of the training set
WINDOWS = {
  "bair_fvd_1_15": ("first", "test"),
  "bair_fvd_1_15_mean100": ("first", "test"),
  "bair_fvd_15": ("first", "test"),
  "bair_fvd_1_15_debiased": ("each", "test"),
  "k600_fvd_5_11": ("random", "test"),
  "moving_shapes_prediction": ("first", "test"),
}


def _described(metric):
  words = [metric.name, metric.network, metric.output]
  if metric.name == "is":
    words.append(f"{metric.splits} split")
  if metric.name.startswith(("fid", "fvd")):
    words.append(f"ddof {metric.ddof}")
  if metric.name == "kvd":
    subsets = f"{metric.subsets} subsets of {metric.subset_size}"
    words += [subsets if metric.subsets else "all", metric.estimator]
  return " ".join(words)


def test_metrics_and_counts():
  lines = [" ".join(line.split()) for line in METRICS.strip().splitlines()]
  described = [
    f"{p.name} {_described(m)}" for p in protocols.all_protocols().values() for m in p.metrics
  ]
  assert described == lines
  for name, counts in COUNTS.items():
    p = protocols.get_protocol(name)
    clips = (p.frames, p.stride, p.windows_per_video, p.crop, p.real_count, p.generated_count)
    assert (*clips, p.repeats, p.bootstrap) == counts, name
    assert (p.windows, p.split) == WINDOWS.get(name, ("random", "train")) and not p.flip
    assert not (p.repeats > 1 and p.bootstrap), "repeats have a standard deviation instead"


def test_numbers_from_the_sources():
  """A second copy of numbers in the papers' code."""
  get = protocols.get_protocol
  tgan, tganv2 = get("tgan_is_c3d"), get("tganv2_is_fid_c3d")
  assert (tgan.generated_count, tgan.repeats, tgan.metrics[0].eps) == (9984, 4, 1e-7)
  assert (tganv2.generated_count, tganv2.repeats, tganv2.windows_per_video) == (2048, 10, 10)
  assert (tganv2.metrics[0].eps, tganv2.metrics[0].eps_place) == (1e-20, "probabilities")
  assert tganv2.metrics[1].output == "fc7"
  assert get("ldvd_is_fid_c3d").generated_count == 10_000
  fvd, stylegan = get("fvd_unterthiner2018").metrics[0], get("stylegan_v_fvd2048_16f")
  assert (fvd.output, fvd.ddof, fvd.network) == ("logits", 1, "i3d_kinetics400")
  assert (stylegan.metrics[0].ddof, stylegan.generated_count, stylegan.frames) == (0, 2048, 16)
  fid, score = get("dvd_gan_fid_is_k600").metrics
  assert (fid.output, fid.network, score.splits) == ("avgpool", "i3d_kinetics600", 10)
  assert get("dvd_gan_fid_is_k600").real_count is None and get("dvd_gan_fid_is_k600").stride == 2


def test_weights_that_no_network_needs_are_refused(tmp_path):
  embedded = protocols.get_protocol("moving_shapes")
  with pytest.raises(UserError, match="--weights: protocol moving_shapes needs no file of weights"):
    load_extractors(embedded, str(tmp_path))
  assert set(load_extractors(embedded)) == {PACKAGED}
