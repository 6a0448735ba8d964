"""Every protocol fits the networks it names; nothing is computed."""

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
  "du_r2plus1d ssw_gan stylegan_v_fvd2048_16f recommended moving_shapes"
).split()


@pytest.fixture(scope="module")
def networks():
  """{name: (`Parts`, its variables as shapes)}; the packaged one's through its own module."""
  from vidgan_jax.evaluation.features.architectures import moving_shapes

  found = {
    PACKAGED: extractor.Parts(
      moving_shapes.MovingShapesClassifier(), moving_shapes.OUTPUTS, moving_shapes.MIN_FRAMES, None
    )
  }
  found |= {name: network.build() for name, network in NETWORKS.items()}
  return found


@pytest.fixture(scope="module")
def outputs_of(networks):
  """A function (network, operations, frames, side) that returns (prepared, outputs) as shapes."""
  known = {}

  def shapes(name, operations, frames, side):
    if (name, operations, frames, side) not in known:
      parts = networks[name]
      constants = {n: np.zeros(shape, np.float32) for n, shape in parts.constants.items()}
      clips = jax.ShapeDtypeStruct((2, frames, side, side, 3), np.uint8)
      prepared = jax.eval_shape(lambda c: preprocessing.apply(c, operations, constants), clips)
      size = prepared.shape[:1] + (max(frames, parts.min_frames), *prepared.shape[2:])
      prepared = jax.ShapeDtypeStruct(size, prepared.dtype)
      variables = jax.eval_shape(parts.module.init, jax.random.key(0), prepared)
      found = jax.eval_shape(parts.module.apply, variables, prepared)
      known[name, operations, frames, side] = prepared, found
    return known[name, operations, frames, side]

  return shapes


@pytest.mark.parametrize("name", NAMES)
def test_its_networks_take_what_it_prepares_and_have_its_outputs(name, networks, outputs_of):
  protocol = protocols.get_protocol(name)
  side = protocol.resolutions[0] if protocol.resolutions else 32
  for measure in protocol.metrics:
    parts = networks[measure.network]
    prepared, found = outputs_of(measure.network, measure.preprocess, protocol.frames or 16, side)
    assert prepared.dtype == np.float32
    assert parts.input_size in (None, prepared.shape[2:4])
    assert found[measure.output].shape == (2, parts.outputs[measure.output])
    if measure.name in ("is", "accuracy"):
      assert measure.output == "logits"


def test_every_protocol_can_be_told_and_found():
  known = protocols.known()
  assert {*NAMES} == {*known}
  for protocol in known.values():
    assert protocol.metrics and protocol.notes and protocol.source
    fingerprint.digest(protocol.describe())
  assert len({fingerprint.digest(p.describe()) for p in known.values()}) == len(known)
  with pytest.raises(UserError, match=r"unknown protocol 'fvd'; known: moving_shapes, recommended"):
    protocols.get_protocol("fvd")


def test_too_few_frames_are_told_before_weights_are_asked_for():
  with pytest.raises(UserError, match="i3d_kinetics400 needs clips of at least 9 frames"):
    check_frames(protocols.get_protocol("ssw_gan"), 6)
  check_frames(protocols.get_protocol("ssw_gan"), 9)
  check_frames(protocols.get_protocol("moving_shapes"), 4)


# All that names of measures and counts are, written down once more: a slip in a published
# protocol would give a number of something else under its name.
MEASURES = """
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
"""
# frames, stride, windows of a video, crop, real and generated clips, repeats, resamplings
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
}


def _told(measure):
  told = [measure.name, measure.network, measure.output]
  if measure.name == "is":
    told.append(f"{measure.splits} split")
  if measure.name.startswith(("fid", "fvd")):
    told.append(f"ddof {measure.ddof}")
  if measure.name == "kvd":
    subsets = f"{measure.subsets} subsets of {measure.subset_size}"
    told += [subsets if measure.subsets else "all", measure.estimator]
  return " ".join(told)


def test_the_list_of_all_measures_and_counts():
  lines = [" ".join(line.split()) for line in MEASURES.strip().splitlines()]
  found = [f"{p.name} {_told(m)}" for p in protocols.known().values() for m in p.metrics]
  assert found == lines
  for name, counts in COUNTS.items():
    p = protocols.get_protocol(name)
    taken = (p.frames, p.stride, p.windows_per_video, p.crop, p.real_count, p.generated_count)
    assert (*taken, p.repeats, p.bootstrap) == counts, name
    assert (p.windows, p.flip, p.split) == ("random", False, "train")
    assert not (p.repeats > 1 and p.bootstrap), "the spread of repeats is told instead"


def test_what_the_sources_fix():
  """Numbers of the papers' code, written down once more."""
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


def test_weights_that_no_network_reads_are_refused(tmp_path):
  embedded = protocols.get_protocol("moving_shapes")
  with pytest.raises(UserError, match="--weights: protocol moving_shapes needs no file of weights"):
    load_extractors(embedded, str(tmp_path))
  assert set(load_extractors(embedded)) == {PACKAGED}
