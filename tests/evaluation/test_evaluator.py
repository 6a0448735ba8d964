"""From clips to scores: batches and devices do not matter, and every clip counts once."""

import dataclasses
import functools
import subprocess
import sys

import jax
import numpy as np
import pytest

from vidgan_jax.evaluation.clips import ArrayClips, RealClips
from vidgan_jax.evaluation.evaluator import Evaluator
from vidgan_jax.evaluation.features import pipeline
from vidgan_jax.evaluation.metrics.accuracy import wilson
from vidgan_jax.evaluation.metrics.base import Computed, floor_halves
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.statistics.kernel_distance import kernel_distance
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError

SCALE = ("scale", 2 / 255, -1.0)


@pytest.fixture(scope="module")
def meshes_of():
  return {n: meshes.make_mesh(jax.devices()[:n]) for n in (1, 8)}


@pytest.fixture
def evaluator(protocol, stand_in, meshes_of):
  """A function (devices, batch size, **changes of the protocol)."""

  def build(devices=1, batch_size=16, extractor=None, report=print, **changes):
    changed = dataclasses.replace(protocol, **changes)
    networks = {"stand_in": extractor or stand_in()}
    return Evaluator(
      changed, networks, mesh=meshes_of[devices], batch_size=batch_size, report=report
    )

  return build


@pytest.fixture
def score_records(evaluator, source, protocol, some_clips):
  """A function (**arguments of `evaluator`) that scores clips and returns {metric: record}."""

  def score(clips=None, labelled=True, **options):
    score.evaluator = made = evaluator(**options)
    reference = made.reference(RealClips(source, made.protocol, made.protocol.real_count))
    clips = ArrayClips(*(clips or some_clips(30 * made.protocol.repeats, 5, bias=20)))
    score.reference, score.scores = reference, made.score(clips, reference, labelled=labelled)
    return {record["metric"]: record for record in score.scores.records}

  return score


def features_by_hand(stand_in, clips):
  """Logits and features in float64 NumPy, clip by clip."""
  variables = stand_in().variables
  outputs = []
  for clip in clips:
    flat = clip.astype(np.float64).reshape(-1) * 2 / 255 - 1
    hidden = np.tanh(flat @ variables["in"].astype(np.float64))
    outputs.append((hidden @ variables["out"].astype(np.float64), hidden))
  return [np.stack(each) for each in zip(*outputs, strict=True)]


def test_scores_by_hand(score_records, stand_in, some_clips, source, protocol):
  clips, labels = some_clips(30, 5, bias=20)
  records = score_records((clips, labels))
  real = RealClips(source, protocol, 60)(0, 60)[0]
  logits, hidden = features_by_hand(stand_in, clips)
  _, real_hidden = features_by_hand(stand_in, real)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  expected = np.exp(np.mean(np.sum(p * np.log(p / p.mean(0)), 1)))
  np.testing.assert_allclose(records["is"]["value"], expected, rtol=1e-5)
  np.testing.assert_allclose(
    records["accuracy"]["value"], np.mean(logits.argmax(1) == labels), rtol=1e-12
  )
  from scipy import linalg

  one, other = np.cov(real_hidden.T), np.cov(hidden.T)
  root = linalg.sqrtm(one @ other).real
  difference = real_hidden.mean(0) - hidden.mean(0)
  expected = difference @ difference + np.trace(one + other - 2 * root)
  np.testing.assert_allclose(records["fid"]["value"], expected, rtol=1e-5)
  assert records["fid"]["count_real"] == 60 and records["fid"]["count_generated"] == 30
  low, high = records["fid"]["interval"]
  assert low <= records["fid"]["value"] <= high
  assert records["fid"]["floor"]["value"] < records["fid"]["value"]
  assert "30 real clips" in records["fid"]["floor"]["what"]


def test_kernel_distances_have_intervals_unless_they_use_subsets(score_records):
  record = score_records()["kvd"]
  for one in (record, record["floor"]):
    low, high = one["interval"]
    assert low < one["value"] < high
  some = score_records(metrics=(METRICS["kvd"]("stand_in", "features", (SCALE,), subsets=5),))[
    "kvd"
  ]
  assert some["interval"] is None and some["floor"]["interval"] is None and some["std"] > 0
  several = score_records(repeats=2)["kvd"]
  assert several["interval"] is None and several["std"] > 0
  assert score_records(bootstrap=0)["kvd"]["interval"] is None


def test_kernel_distances_use_classes_and_the_number_of_real_clips(
  score_records, stand_in, some_clips, source, protocol
):
  """60 of 70 real clips of three classes, 30 generated ones, ten of each class."""
  clips, labels = some_clips(30, 5, bias=20)
  real, real_labels = RealClips(source, protocol, 60)(0, 60)
  sets = [features_by_hand(stand_in, each)[1] for each in (real, clips)]
  options = dict(labels=(real_labels, labels), populations=(70, None))
  expected, _ = kernel_distance(*sets, estimator="classes", **options)
  record = score_records((clips, labels))["kvd"]
  np.testing.assert_allclose(record["value"], expected, rtol=1e-4)
  assert record["fields"]["estimator"] == "classes"
  published = METRICS["kvd"]("stand_in", "features", (SCALE,), estimator="unbiased")
  other = score_records((clips, labels), metrics=(published,))["kvd"]
  expected, _ = kernel_distance(*sets, estimator="unbiased")
  np.testing.assert_allclose(other["value"], expected, rtol=1e-4)
  assert abs(other["value"] - record["value"]) > 1e-3 * abs(record["value"])
  assert other["fingerprint"] != record["fingerprint"]
  # Classes of unequal sizes, here 12, 10 and 8 clips, are taken to be independent draws.
  labels = np.repeat([0, 1, 2], [12, 10, 8])
  options = dict(labels=(real_labels, labels), populations=(70, np.inf))
  expected, _ = kernel_distance(*sets, estimator="classes", **options)
  np.testing.assert_allclose(score_records((clips, labels))["kvd"]["value"], expected, rtol=1e-4)


@pytest.mark.parametrize(
  ("requested", "real_count", "generated", "used"),
  [(25, 60, 30, 25), (40, 60, 30, 30), (40, 40, 30, 20), (1000, 70, 50, 35)],
)
def test_kernel_distances_record_the_size_of_their_subsets(
  score_records, some_clips, stand_in, source, protocol, requested, real_count, generated, used
):
  """Subsets are at most as large as the generated set, and as half of the real set (floor)."""
  options = dict(subsets=3, subset_size=requested, estimator="unbiased")
  metric = METRICS["kvd"]("stand_in", "features", (SCALE,), **options)
  clips = some_clips(generated, 5, bias=20)
  counts = dict(real_count=real_count, generated_count=generated)
  record = score_records(clips, metrics=(metric,), **counts)["kvd"]
  assert (
    record["fields"]["subset_size_used"] == used and record["fields"]["subset_size"] == requested
  )
  expected_warning = f"3 subsets of {used} clips: the protocol specifies subsets of {requested}"
  assert (expected_warning in record["warnings"]) == (used < requested)
  real = RealClips(source, protocol, real_count)(0, real_count)[0]
  sets = [features_by_hand(stand_in, each)[1] for each in (real, clips[0])]
  expected, _ = kernel_distance(*sets, subsets=3, subset_size=used, estimator="unbiased")
  np.testing.assert_allclose(record["value"], expected, rtol=1e-3)


def test_the_floor_is_of_disjoint_clips(score_records, protocol):
  """The distance of clips to themselves would be 0."""
  records = score_records()
  assert records["fid"]["floor"]["value"] > 0.1 and records["precision"]["floor"]["value"] < 1
  real = score_records.reference.gathered["stand_in", (SCALE,)]["features"]
  halved = [
    r for r in records.values() if r["floor"] and "disjoint sets of 30" in r["floor"]["what"]
  ]
  assert {r["metric"] for r in halved} >= {"fid", "kvd", "precision", "coverage"}
  one, other = floor_halves(real, real, 0)
  assert not {*one.tolist()} & {*other.tolist()} and len(one) == len(other) == 30


def test_epsilon_and_where_it_is_added_are_settings_of_the_protocol(
  score_records, stand_in, some_clips
):
  clips, labels = some_clips(30, 5)
  logits, _ = features_by_hand(stand_in, clips)
  p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
  eps, q = 1e-2, p.mean(0)
  expected = {
    "logs": np.mean(np.sum(p * (np.log(p + eps) - np.log(q + eps)), 1)),
    "probabilities": np.mean(np.sum((p + eps) * (np.log(p + eps) - np.log(q + eps)), 1)),
  }
  for place, value in expected.items():
    metric = METRICS["is"]("stand_in", "logits", (SCALE,), eps=eps, eps_place=place)
    record = score_records((clips, labels), metrics=(metric,))["is"]
    np.testing.assert_allclose(record["value"], np.exp(value), rtol=1e-5)
  assert abs(expected["logs"] - expected["probabilities"]) > 1e-3


def test_ddof_is_a_setting_of_the_protocol(score_records, protocol):
  fid = next(m for m in protocol.metrics if m.name == "fid")
  by_one, by_none = (
    score_records(metrics=(dataclasses.replace(fid, ddof=ddof),))["fid"] for ddof in (1, 0)
  )
  # Covariances of 60 and 30 clips are 60/59 and 30/29 larger: more than a percent of their trace.
  assert abs(by_one["value"] / by_none["value"] - 1) > 1e-3
  assert by_one["fingerprint"] != by_none["fingerprint"]


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_do_not_depend_on_batch_size_and_devices(score_records, devices, batch_size):
  expected = score_records(devices=1, batch_size=30)
  records = score_records(devices=devices, batch_size=batch_size)
  assert {*records} == {*expected}
  for metric, record in records.items():
    np.testing.assert_allclose(
      record["value"], expected[metric]["value"], rtol=1e-6, atol=1e-7, err_msg=metric
    )
    assert record["fingerprint"] == expected[metric]["fingerprint"]


def test_the_last_batch_counts_without_its_padding(evaluator, some_clips, stand_in):
  """13 clips in batches of 8 on 8 devices: the last batch has 5 clips and 3 of padding."""
  clips, labels = some_clips(13)
  clips[-1] = 255  # differs, so that a test without it fails
  made = evaluator(devices=8, batch_size=8)
  given = ArrayClips(clips, labels)
  gathered, gathered_labels = pipeline.gather(
    made.feature_paths, given, 0, 13, mesh=made.mesh, batch_size=8
  )
  (outputs,) = gathered.values()
  logits, hidden = features_by_hand(stand_in, clips)
  np.testing.assert_allclose(outputs["features"].features, hidden, atol=1e-5)
  np.testing.assert_allclose(outputs["logits"].features, logits, atol=1e-4)
  np.testing.assert_array_equal(gathered_labels, labels)
  assert outputs["features"].moments.count == 13
  np.testing.assert_allclose(outputs["features"].moments.mean, hidden.mean(0), atol=1e-6)


def test_of_too_many_features_only_the_moments_are_stored(evaluator, some_clips):
  clips, labels = some_clips(40)
  made = evaluator()
  options = dict(mesh=made.mesh, batch_size=16)
  given = ArrayClips(clips, labels)
  all_stored, _ = pipeline.gather(made.feature_paths, given, 0, 40, **options)
  few, _ = pipeline.gather(made.feature_paths, given, 0, 40, stored_bytes=40, **options)
  for key, outputs in few.items():
    for name, feature_set in outputs.items():
      assert feature_set.features is None and all_stored[key][name].features is not None
      expected = all_stored[key][name].moments.m2
      np.testing.assert_allclose(feature_set.moments.m2, expected, rtol=1e-12)


def test_a_reference_without_features_gives_the_same_distance(
  evaluator, source, protocol, some_clips
):
  fid = tuple(m for m in protocol.metrics if m.name == "fid")
  made = evaluator(metrics=fid)
  reference = made.reference(RealClips(source, protocol, 60))
  ((key, outputs),) = reference.gathered.items()
  lean = {key: {n: dataclasses.replace(each, features=None) for n, each in outputs.items()}}
  clips = ArrayClips(*some_clips(30, 5, bias=20))
  whole, moments = (
    made.score(clips, r).records[0]
    for r in (reference, dataclasses.replace(reference, gathered=lean))
  )
  np.testing.assert_allclose(whole["value"], moments["value"], rtol=1e-12)
  low, high = moments["interval"]
  assert moments["floor"] is None and low < moments["value"] < high


def test_swapped_channels_change_the_scores(score_records, some_clips):
  clips, labels = some_clips(30, 5)
  one, other = score_records((clips, labels)), score_records((clips[..., ::-1], labels))
  assert one["fid"]["value"] != pytest.approx(other["fid"]["value"], rel=1e-3)
  bgr = tuple(
    dataclasses.replace(m, preprocess=(SCALE, ("bgr",)))
    for m in score_records.evaluator.protocol.metrics
  )
  both = score_records((clips, labels), metrics=bgr)  # real and generated alike
  assert both["is"]["value"] == pytest.approx(other["is"]["value"], rel=1e-6)
  assert both["is"]["fingerprint"] != one["is"]["fingerprint"]


def test_clips_of_the_reference_itself_have_distance_0(score_records, source, protocol):
  clips, labels = RealClips(source, protocol, 60)(0, 60)
  records = score_records((clips, labels), generated_count=60)
  assert records["fid"]["value"] < 1e-9 and records["precision"]["value"] == 1


def test_repeats_use_different_clips_and_their_mean_is_the_value(score_records, some_clips):
  clips, labels = some_clips(60, 5)
  both = score_records((clips, labels), repeats=2)["is"]
  halves = [
    score_records((clips[part], labels[part]))["is"]["value"]
    for part in (slice(0, 30), slice(30, 60))
  ]
  np.testing.assert_allclose(both["values"], halves, rtol=1e-6)
  np.testing.assert_allclose((both["value"], both["std"]), (np.mean(halves), np.std(halves)))
  # An interval around the value of the first set would not fit the mean.
  assert both["interval"] is None and score_records()["is"]["interval"] is not None


def test_by_class(score_records):
  score_records()
  entries = score_records.scores.per_class
  assert {(e["metric"], e["name"]) for e in entries} == {
    (metric, name) for metric in ("fid", "accuracy", "is") for name in "abc"
  }
  assert all(e["count_generated"] == 10 for e in entries)


def test_diversity_and_values_extrapolated_to_unlimited_clips(score_records, stand_in, some_clips):
  metrics = {"diversity": "features", "fid_infinity": "features", "is_infinity": "logits"}
  chosen = tuple(
    METRICS[metric]("stand_in", output, (SCALE,)) for metric, output in metrics.items()
  )
  clips, labels = some_clips(30, 5, bias=20)
  records = score_records((clips, labels), metrics=chosen)
  _, hidden = features_by_hand(stand_in, clips)
  pairs = [
    np.mean([np.linalg.norm(a - b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    for x in (hidden[labels == label] for label in range(3))
  ]
  np.testing.assert_allclose(records["diversity"]["value"], np.mean(pairs), rtol=1e-5)
  usual = score_records((clips, labels))
  # Extrapolation removes the bias: finite sets have larger distances and smaller scores.
  assert records["fid_infinity"]["value"] < usual["fid"]["value"]
  assert records["is_infinity"]["value"] > usual["is"]["value"]
  assert records["fid_infinity"]["std"] > 0


def test_without_labels_metrics_that_need_them_are_left_out(score_records):
  reported = []
  records = score_records(labelled=False, report=reported.append)
  assert "accuracy" not in records and "is" in records and not score_records.scores.per_class
  assert any("accuracy is left out: " in line for line in reported)


@pytest.mark.parametrize(
  ("class_names", "reason"),
  [
    ((), "the names of the classes of stand_in are not known"),
    (("a", "b"), "the data does not have the classes of stand_in"),
    (("b", "a", "c"), "the data does not have the classes of stand_in"),
  ],
)
def test_accuracy_is_left_out_if_the_network_has_other_classes(
  score_records, stand_in, class_names, reason
):
  reported = []
  records = score_records(extractor=stand_in(class_names=class_names), report=reported.append)
  assert [*records] == ["is", "fid", "kvd", "precision", "recall", "density", "coverage"]
  assert f"accuracy is left out: {reason}" in reported
  assert {entry["metric"] for entry in score_records.scores.per_class} == {"is", "fid"}


def test_features_too_large_to_store_leave_out_only_the_metrics_that_need_them(
  evaluator, source, some_clips, monkeypatch
):
  reported = []
  made = evaluator(report=reported.append)
  reference = made.reference(RealClips(source, made.protocol, 60))
  ((key, outputs),) = reference.gathered.items()
  lean = {key: {n: dataclasses.replace(each, features=None) for n, each in outputs.items()}}
  clips = ArrayClips(*some_clips(30, 5, bias=20))
  scores = made.score(clips, dataclasses.replace(reference, gathered=lean))
  assert [record["metric"] for record in scores.records] == ["is", "fid", "accuracy"]
  of_real = "the features of 60 clips are too large to store; --real_count=N takes fewer clips"
  assert reported == [
    f"kvd is left out: {of_real}",
    f"precision, recall, density, coverage are left out: {of_real}",
  ]
  reported.clear()
  monkeypatch.setattr(pipeline, "gather", functools.partial(pipeline.gather, stored_bytes=40))
  scores = made.score(clips, reference)
  assert [record["metric"] for record in scores.records] == ["fid"]
  of_generated = "the logits of 30 clips are too large to store; --count=N takes fewer clips"
  assert reported[:2] == [f"{name} is left out: {of_generated}" for name in ("is", "accuracy")]


def test_too_few_clips_for_a_metric_leave_out_only_this_metric(score_records, some_clips):
  reported = []
  prdc, distance = METRICS["prdc"]("stand_in", "features", (SCALE,)), "features"
  metrics = ("diversity", "fid", "fid_infinity")
  own = [METRICS[metric]("stand_in", distance, (SCALE,)) for metric in metrics]
  options = dict(metrics=(prdc, *own), report=reported.append)
  clips, _ = some_clips(5, 5)
  records = score_records((clips, np.arange(5)), generated_count=5, **options)
  assert set(records) == {"fid", "fid_infinity"}
  assert reported == [
    "precision, recall, density, coverage are left out: distances to 5 nearest neighbours need "
    "more than 5 clips, got 5 generated and 60 real clips (--count, --real_count)",
    "diversity is left out: no class has two clips (--count, --real_count)",
  ]
  clips, labels = some_clips(30, 5)
  records = score_records((clips, labels), real_count=2, **options)
  assert set(records) == {"fid", "diversity"}
  assert "got 30 generated and 2 real clips" in reported[2]
  assert reported[3:] == [
    "fid_infinity is left out: it needs at least 4 clips, got 2 (--count, --real_count)"
  ]
  assert records["diversity"]["floor"] is None
  assert any("no class has two real clips" in line for line in records["diversity"]["warnings"])


def test_ten_splits_are_lower_than_one(score_records, protocol):
  metric = METRICS["is"]("stand_in", "logits", (SCALE,), splits=10)
  ten, one = score_records(metrics=(metric,))["is"], score_records()["is"]
  assert ten["value"] < one["value"] and ten["std"] > 0 and ten["interval"] is None
  assert ten["fingerprint"] != one["fingerprint"]


def test_fingerprints_depend_on_their_fields(score_records):
  record = score_records()["fid"]
  fields = record["fields"]
  for name in ("protocol", "weights", "preprocess", "ddof", "frames", "resolution", "reference"):
    assert name in fields
  assert fingerprint.of_column(fields) == record["fingerprint"]
  assert fingerprint.of_column({**fields, "step": 7, "truncation": 0.5}) == record["fingerprint"]
  assert fingerprint.ROWS == ("step", "truncation", "checkpoint")
  for name in ("weights", "reference", "count_generated", "quantisation", "resolution", "ema"):
    assert fingerprint.of_column({**fields, name: "other"}) != record["fingerprint"]
  assert fingerprint.of_number({**fields, "step": 7}) != record["number"]


def test_the_names_of_all_fields(score_records):
  common = {
    "format", "protocol", "metric", "network", "output", "preprocess", "weights", "constants",
    "frames", "resolution", "quantisation", "count_generated", "repeats", "trial", "seed",
    "checkpoint",
  }  # fmt: skip
  real = {"reference", "count_real"}
  per_metric = {
    "fid": real | {"ddof"},
    "is": {"splits", "eps", "eps_place"},
    "accuracy": set(),
    "kvd": real | {"subsets", "subset_size", "estimator"},
    "recall": real | {"neighbours"},
  }
  records = score_records()
  for metric, fields in per_metric.items():
    assert {*records[metric]["fields"]} == common | fields, metric


def test_every_setting_of_a_metric_is_in_its_fields():
  changes = {
    "ddof": ("fid", 0), "splits": ("is", 10), "eps": ("is", 1e-7), "subsets": ("kvd", 100),
    "eps_place": ("is", "probabilities"), "subset_size": ("kvd", 500),
    "estimator": ("kvd", "unbiased"), "neighbours": ("prdc", (5, 5)),
    "network": ("is", "b"), "output": ("is", "b"),
    "preprocess": ("is", (SCALE,)), "order": ("vendi", 2.0),
  }  # fmt: skip
  every = {field.name for cls in METRICS.values() for field in dataclasses.fields(cls)}
  assert {*changes} == every
  for name, (kind, value) in changes.items():
    metric = METRICS[kind]("a", "a")
    assert dataclasses.replace(metric, **{name: value}).fields() != metric.fields(), name


def test_references_differ_by_the_way_clips_are_chosen(evaluator, source, stand_in):
  options = dict(windows="first", windows_per_video=2, crop="random", flip=True, split="test")
  made = [evaluator(**{name: value}) for name, value in options.items()]
  made += [evaluator(), evaluator(extractor=stand_in(constants={"mean": np.zeros(3)}))]
  made += [evaluator(extractor=stand_in(constants={"mean": np.ones(3)}))]
  hashes = set()
  for each in made:
    (digest,) = each.reference(RealClips(source, each.protocol, 20)).hashes.values()
    hashes.add(digest)
  assert len(hashes) == len(made)


def test_other_weights_and_other_data_have_other_fingerprints(score_records, stand_in):
  one, other = score_records()["fid"], score_records(extractor=stand_in(seed=1))["fid"]
  assert one["fingerprint"] != other["fingerprint"]
  fewer = score_records(real_count=40)
  assert fewer["fid"]["fingerprint"] != one["fingerprint"]
  assert (
    fewer["is"]["fingerprint"] == score_records()["is"]["fingerprint"]
  )  # does not use real clips


@pytest.mark.parametrize(
  ("clips", "changes", "words"),
  [
    (29, {}, "29 clips are too few for protocol tiny: it takes 30"),
    (59, {"repeats": 2}, "it takes 30 x 2"),
    (30, {"real_count": 71}, "71 real clips are requested, the train split has 70"),
    (30, {"metrics": (METRICS["is"]("other", "logits"),)}, "needs the network other"),
    (30, {"metrics": (METRICS["is"]("stand_in", "fc7"),)}, "has no output 'fc7'"),
    (
      30,
      {"metrics": (METRICS["is"]("stand_in", "logits", (("subtract_mean", 0, 0),)),)},
      "has no mean clip",
    ),
  ],
)
def test_refusals(score_records, some_clips, clips, changes, words):
  with pytest.raises(UserError, match=words):
    score_records(some_clips(clips), **changes)


def test_networks_need_enough_frames_and_clips_of_equal_shape(score_records, stand_in, some_clips):
  with pytest.raises(UserError, match="at least 9 frames, these have 4"):
    score_records(extractor=stand_in(min_frames=9))
  clips, labels = some_clips(30)
  with pytest.raises(
    UserError, match="reference has 4 frames of 8x8, the generated clips 3 frames"
  ):
    score_records((clips[:, :3], labels))


@pytest.mark.parametrize(
  ("clips", "words"),
  [
    (np.zeros((2, 4, 8, 8, 3), np.float32), "uint8 in 0..255, found float32 in 0..0"),
    (np.ones((2, 4, 8, 8, 3), np.uint8), "not in 0..1"),
    (np.ones((2, 8, 8, 3), np.uint8), r"expected uint8 clips \[N, T, H, W, 3\]"),
  ],
)
def test_clips_out_of_range(clips, words):
  with pytest.raises(UserError, match=words):
    ArrayClips(clips)


def test_windows(source, protocol):
  """Random windows of a video differ and are reproducible; first windows begin at frame 0."""
  from vidgan_jax.data.sources.base import InMemorySource

  clips = np.zeros((5, 20, 8, 8, 3), np.uint8)
  clips += np.arange(20, dtype=np.uint8)[:, None, None, None]
  long = InMemorySource(clips, None, None, 4, horizontal_flip=True)
  several = dataclasses.replace(protocol, windows_per_video=6)
  starts = RealClips(long, several)(0, 30)[0][:, 0, 0, 0, 0]
  assert len({*starts.tolist()}) > 5
  np.testing.assert_array_equal(starts, RealClips(long, several)(0, 30)[0][:, 0, 0, 0, 0])
  # The first five clips are of five different videos.
  pictured = InMemorySource(
    clips + 20 * np.arange(5, dtype=np.uint8)[:, None, None, None, None], None, None, 4
  )
  assert len({*(RealClips(pictured, several, 5)(0, 5)[0][:, 0, 0, 0, 0] // 20).tolist()}) >= 4
  first = RealClips(long, dataclasses.replace(protocol, windows="first"))(0, 5)[0]
  assert not first[:, 0].any()
  each = RealClips(long, dataclasses.replace(several, windows="each"))
  of_round = each(0, 30)[0][:, :, 0, 0, 0].reshape(6, 5, 4)
  assert np.all(of_round == np.arange(6)[:, None, None] + np.arange(4)), "window by window"
  # A run that continues given frames gets all random windows, otherwise one window of each video.
  assert (RealClips(long, several).to_continue, each.to_continue) == (30, 5)


def test_copies_among_the_clips_give_a_warning(score_records, some_clips):
  clips, labels = some_clips(30, 5)
  clips[20:24] = clips[3]
  expected_warning = "4 of the 30 generated clips are copies of others"
  assert expected_warning in score_records((clips, labels))["fid"]["warnings"]
  assert expected_warning not in score_records(some_clips(30, 5))["fid"]["warnings"]


def test_other_warnings(score_records, stand_in, some_clips):
  metrics = ("fid", "fid_infinity")
  own = tuple(METRICS[metric]("stand_in", "features", (SCALE,)) for metric in metrics)
  records = score_records(some_clips(50, 5), metrics=own, generated_count=50)
  assert any(
    "real against real uses 30 clips on each side, the value 50" in w
    for w in records["fid"]["warnings"]
  )
  assert not records["fid_infinity"]["warnings"]
  records = score_records(metrics=own)
  assert not any("real against real uses" in w for w in records["fid"]["warnings"])
  few = score_records(metrics=own[:1], real_count=7)["fid"]
  assert few["floor"] is None and not any("real against real uses" in w for w in few["warnings"])
  assert records["fid_infinity"]["warnings"] == [
    "30 clips for 10 dimensions: too few to extrapolate from"
  ]
  for about, warned in (({"verified": None}, True), ({"verified": "by its hash"}, False)):
    warnings = score_records(extractor=stand_in(about=about))["is"]["warnings"]
    assert any("weights of stand_in are not verified" in w for w in warnings) is warned


def test_lossy_pictures_are_named_in_the_description(evaluator, source, protocol):
  for png, lossy in ((True, False), (False, True)):
    source.sizes = lambda png=png: {(8, 8, png)}
    reference = evaluator().reference(RealClips(source, protocol, 10))
    assert ("stored as JPEG" in reference.description) is lossy


def test_neighbours_of_few_real_clips_leave_out_the_floor(score_records):
  prdc = (METRICS["prdc"]("stand_in", "features", (SCALE,)),)
  few, more = score_records(metrics=prdc, real_count=10), score_records(metrics=prdc, real_count=12)
  assert few["density"]["floor"] is None and few["density"]["value"] >= 0
  assert more["density"]["floor"]["value"] >= 0


def test_a_trial_has_another_count_of_real_or_generated_clips(
  score_records, evaluator, source, protocol, some_clips
):
  assert not score_records()["fid"]["fields"]["trial"]
  made = evaluator()
  reference = made.reference(RealClips(source, protocol, 50))
  records = made.score(ArrayClips(*some_clips(30, 5)), reference).records
  trials = {r["metric"]: r["fields"]["trial"] for r in records}
  assert trials["fid"] and not trials["is"]  # it does not use real clips


def test_seeds_are_in_fingerprints(score_records, some_clips):
  """Random subsets and splits change the score of given clips."""
  ten = (METRICS["is"]("stand_in", "logits", (SCALE,), splits=10),)
  one = score_records(metrics=ten)["is"]
  clips = ArrayClips(*some_clips(30, 5, bias=20))
  (other,) = score_records.evaluator.score(clips, score_records.reference, seed=1).records
  assert one["value"] != other["value"]
  assert one["fingerprint"] != other["fingerprint"]
  clips.about = {**clips.about, "seed": 0}
  (drawn,) = score_records.evaluator.score(clips, score_records.reference, seed=1).records
  assert drawn["fields"]["seed"] == 0 and drawn["fields"]["seed_of_draws"] == 1


def test_scenes_drawn_with_other_settings_are_other_data(protocol):
  """The checksum of the moving shapes depends only on size and classes; the probe differs."""
  from vidgan_jax.data.sources.moving_shapes import MovingShapes

  draw = lambda **options: MovingShapes(12, 4, 8, 4, **{"seed": 0, **options})
  sets = [draw(), draw(seed=1), draw(variety=0.5), draw(split="test")]
  assert len({source.description()["checksum"] for source in sets}) == 1
  assert len({RealClips(source, protocol).about["probe"] for source in sets}) == len(sets)


def test_sizes_that_the_source_does_not_use_give_a_warning(score_records):
  usual, other = score_records(resolutions=(8, 16)), score_records(resolutions=(16, 64))
  assert not any("clips of 8x8" in w for r in usual.values() for w in r["warnings"])
  expected_warning = "clips of 8x8; the protocol's source scored 16x16 and 64x64"
  assert all(expected_warning in record["warnings"] for record in other.values())


def test_wilsons_interval():
  low, high = wilson(1.0, 1000)
  assert high == 1.0 and low == pytest.approx(0.99617, abs=1e-5)


def test_evaluation_needs_neither_training_nor_models():
  program = """
import sys, time
from vidgan_jax import evaluation
assert "jax" not in sys.modules and "numpy" not in sys.modules
for name in evaluation._PUBLIC:
  assert getattr(evaluation, name) is not None, name
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("vidgan_jax.")}
print(sorted(rooms))
for name in ("tensorflow", "torch", "matplotlib"):
  print(name, name in sys.modules)
"""

  done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  rooms, *heavy = done.stdout.splitlines()
  assert rooms == "['data', 'evaluation', 'runtime']"
  assert heavy == ["tensorflow False", "torch False", "matplotlib False"]


def test_a_value_out_of_range_is_left_out_and_the_others_are_kept(score_records, monkeypatch):
  lines = []
  monkeypatch.setattr(METRICS["kvd"], "compute", lambda *_: Computed({"kvd": [float("nan")]}))
  records = score_records(report=lines.append)
  assert "kvd" not in records and "fid" in records
  assert [line for line in lines if "kvd is left out" in line and "stand_in" in line]
