"""Protocol and flags decide which frames, columns, mirroring and split the real clips have.

Each pixel of the stored clips is (number of the clip, column, frame). The data settings of the run
differ from those of the protocol in every respect, so that a setting that is not passed on shows.
"""

import dataclasses
import types

import jax
import numpy as np
import pytest

from vidgan_jax import evaluation
from vidgan_jax.data.formats import index
from vidgan_jax.evaluation import cli, evaluator, hook
from vidgan_jax.evaluation import clips as evaluation_clips
from vidgan_jax.evaluation.evaluator import Evaluator
from vidgan_jax.evaluation.features import references
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError

SIDE, WIDE, STORED, FRAMES, CLIPS = 8, 14, 40, 4, 12
TEST = 100  # added to the clips of the test split
OPPOSITE = {  # settings of the run for each setting of a protocol
  "crop": {"center": "random", "random": "center"},
  "flip": {True: False, False: True},
  "split": {"train": "test", "test": "train"},
}


def stored(split):
  """Clips uint8 [40, 8, 14, 3] of (clip, column, frame)."""
  first = TEST if split == "test" else 0
  frame, _, column = np.mgrid[:STORED, :SIDE, :WIDE]
  return [
    np.stack([np.full_like(frame, first + clip), column, frame], -1).astype(np.uint8)
    for clip in range(CLIPS)
  ]


@pytest.fixture(scope="module")
def folder(write_prepared, tmp_path_factory):
  """A prepared set with two splits."""
  prepared, parts = tmp_path_factory.mktemp("prepared"), {}
  for split in ("train", "test"):
    labels = np.arange(CLIPS) % 2
    write_prepared(prepared, stored(split), labels, ("a", "b"), png=True, split=split)
    parts |= index.read_prepared(prepared).splits
  combined = dataclasses.replace(index.read_prepared(prepared), splits=parts)
  index.write_prepared(prepared, combined)
  return prepared


@pytest.fixture
def taken(folder, lean_config, stand_in, monkeypatch, tmp_path):
  """A function (door or hook, protocol, trained stride, **flags) that captures the real clips.

  It returns what the evaluator receives: clips uint8 [N, 4, 8, 8, 3], the reference, and the lines
  that were reported.
  """
  monkeypatch.setattr(references, "default_folder", lambda: None)
  monkeypatch.setattr(evaluator, "load_extractor", lambda name, path=None: stand_in())

  def take(through, protocol, trained=3, **flags):
    config = lean_config()
    with config.unlocked():
      config.model.num_classes = 2
      config.data.update(name="prepared", directory=str(folder), stride=trained)
      config.data.update(temporal_reversal=True, crop=OPPOSITE["crop"][protocol.crop])
      config.data.update(horizontal_flip=OPPOSITE["flip"][protocol.flip])
      config.data.update(split=OPPOSITE["split"][protocol.split])
      config.evaluation.update(every=1, protocol="tiny", count=4)
    monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol})
    seen, reported, reference = [], [], Evaluator.reference

    def watched(self, real, **options):
      seen.append((real(0, real.count)[0], reference(self, real, **options)))
      raise InterruptedError

    monkeypatch.setattr(Evaluator, "reference", watched)
    with pytest.raises(InterruptedError):
      if through == "hook":
        _hook(config, stand_in, reported, tmp_path)
      else:
        _door(config, reported, tmp_path, flags)
    monkeypatch.setattr(Evaluator, "reference", reference)
    return *seen[0], reported

  return take


def _gan():
  return types.SimpleNamespace(frames=FRAMES, resolution=SIDE, num_classes=2)


def _hook(config, stand_in, reported, workdir):
  load = lambda protocol: {"stand_in": stand_in()}
  evaluation_hook = hook.EvaluationHook(config.evaluation, None, reported.append, load)
  mesh = meshes.make_mesh(jax.devices()[:1])
  context = types.SimpleNamespace(step=1, last=False, gan=_gan(), config=config, mesh=mesh)
  context.workdir, context.start_step, context.stop_requested = workdir, 0, lambda: False
  assert evaluation_hook.due(0, False)
  evaluation_hook.before_save(context)


def _door(config, reported, workdir, flags):
  (workdir / "config.json").write_text(configuration.to_json(config))
  run = types.SimpleNamespace(gan=_gan(), step=1, use_ema=True)
  opener = cli.Opener(lambda *arguments, **options: run, None)
  request = cli.Request(protocol="tiny", workdir=str(workdir), **flags)
  cli.fulfil(request, opener, report=reported.append)


def protocol_of(**changes):
  measures = (METRICS["fid"]("stand_in", "features", (("scale", 2 / 255, -1.0),)),)
  return Protocol("tiny", "a test", measures, generated_count=4, **changes)


DOORS = pytest.mark.parametrize("through", ["door", "hook"])


def strides(clips):
  return {*np.diff(clips[:, :, 0, 0, 2].astype(int)).ravel().tolist()}


@DOORS
@pytest.mark.parametrize("stride", [None, 1, 2, 4])
def test_stride(taken, through, stride):
  clips, reference, reported = taken(through, protocol_of(stride=stride))
  expected = stride or 3  # as trained
  assert strides(clips) == {expected}
  assert (reference.stride, reference.trained_stride) == (expected, 3)
  warned = [line for line in reported if "real motion" in line]
  if expected == 3:
    assert not warned
  else:
    assert warned == [
      f"note: real clips are at stride {expected}, the run was trained at stride 3: real motion is "
      f"{expected / 3:.3g} times as fast as in training; evaluate --stride=3 takes them as trained"
    ]


@DOORS
@pytest.mark.parametrize("crop", ["center", "random"])
def test_crop(taken, through, crop):
  clips, _, _ = taken(through, protocol_of(crop=crop))
  corners = {*clips[:, 0, 0, :, 1].min(axis=1).tolist()}
  assert corners == {(WIDE - SIDE) // 2} if crop == "center" else len(corners) > 2
  assert np.all(clips[:, :, :, :, 1] == clips[:, :1, :1, :, 1])  # one corner for a clip


@DOORS
@pytest.mark.parametrize("flip", [False, True])
def test_flip(taken, through, flip):
  clips, _, _ = taken(through, protocol_of(flip=flip))
  falling = np.diff(clips[:, 0, 0, :, 1].astype(int))[:, 0] < 0
  assert 0 < falling.sum() < CLIPS if flip else not falling.any()


@DOORS
@pytest.mark.parametrize("split", ["train", "test"])
def test_split(taken, through, split):
  clips, reference, _ = taken(through, protocol_of(split=split))
  first = TEST if split == "test" else 0
  assert {*clips[:, 0, 0, 0, 0].tolist()} == {*range(first, first + CLIPS)}
  assert reference.split == split


@DOORS
def test_windows_and_counts(taken, through):
  first, reference, _ = taken(through, protocol_of(windows="first"))
  assert not first[:, 0, 0, 0, 2].any() and len(first) == reference.count == CLIPS
  several, reference, _ = taken(through, protocol_of(windows_per_video=3, real_count=30))
  assert len({*several[:, 0, 0, 0, 2].tolist()}) > 5 and len(several) == 30
  assert np.bincount(several[:, 0, 0, 0, 0]).max() == 3 and reference.population == 3 * CLIPS


def test_flags(taken):
  clips, reference, reported = taken("door", protocol_of(stride=1), stride=3, split="test")
  assert strides(clips) == {3} and clips[:, 0, 0, 0, 0].min() >= TEST
  assert (reference.stride, reference.split) == (3, "test")
  assert not [line for line in reported if "real motion" in line]


def test_records_contain_stride_and_split(taken, stand_in):
  """Their fields do; a warning does if the stride is not that of the training."""
  records = {}
  for stride, split in ((1, "train"), (3, "train"), (3, "test")):
    protocol = protocol_of(stride=stride, split=split)
    _, reference, _ = taken("door", protocol)
    made = Evaluator(protocol, {"stand_in": stand_in()}, mesh=meshes.make_mesh(jax.devices()[:1]))
    clips = np.random.default_rng(0).integers(0, 256, (4, FRAMES, SIDE, SIDE, 3), np.uint8)
    (records[stride, split],) = made.score(evaluation.ArrayClips(clips), reference).records
    fields = records[stride, split]["fields"]
    assert (fields["stride"], fields.get("split", "train")) == (stride, split)
  assert len({record["fingerprint"] for record in records.values()}) == 3
  warned = {key: any("motion" in w for w in r["warnings"]) for key, r in records.items()}
  assert warned == {(1, "train"): True, (3, "train"): False, (3, "test"): False}


@pytest.mark.parametrize(
  ("data", "flags", "words"),
  [
    ({"name": "moving_shapes"}, {"stride": 2}, "--stride needs stored videos; moving_shapes"),
    ({"name": "npz"}, {"split": "test"}, "--split: the data is one .npz, which has no splits"),
    ({"name": "prepared"}, {"split": "validation"}, "no split.*'validation'"),
    ({"name": "prepared"}, {"real": "x.npz", "stride": 2}, "--stride chooses frames of videos"),
    ({"name": "prepared"}, {"real": "x.npz", "split": "test"}, "--split chooses from a run"),
    ({"name": "prepared"}, {"stride": 10_000}, "frames"),
    ({"name": "prepared"}, {"stride": 2**70}, "--stride is 1180591620717411303424, must be"),
  ],
)
def test_refusals(data, flags, words, folder, lean_config, monkeypatch, stand_in, tmp_path):
  config = lean_config()
  with config.unlocked():
    config.data.update(directory=str(folder), **data)
    config.model.num_classes = 2 if data["name"] == "prepared" else 8
  monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol_of()})
  monkeypatch.setattr(evaluator, "load_extractor", lambda name, path=None: stand_in())
  with pytest.raises(UserError, match=words) as error:
    _door(config, [], tmp_path, flags)
  assert "\n" not in str(error.value)


def test_files_of_features_without_the_field_stride_are_still_read(
  taken, folder, lean_config, stand_in, tmp_path
):
  """By name and from the folder. The hash of some clips distinguishes the strides."""
  protocol = protocol_of(stride=2)
  network = stand_in()
  made = Evaluator(protocol, {"stand_in": network}, mesh=meshes.make_mesh(jax.devices()[:1]))
  (path,) = made.feature_paths
  config = lean_config()
  with config.unlocked():
    config.data.update(name="prepared", directory=str(folder))

  def real(stride):
    return evaluation_clips.of_run(
      config.data.copy_and_resolve_references(),
      protocol,
      frames=FRAMES,
      resolution=SIDE,
      num_classes=2,
      stride=stride,
      seed=0,
      count=None,
      report=lambda line: None,
    )

  clips = real(2)
  about = references.about(path, protocol, clips.shape, clips.about, clips.count)
  assert about.pop("stride") == 2
  older = references.path_for(tmp_path, protocol.name, about)
  fresh = made.reference(clips)
  gathered = fresh.gathered[path.key]
  references.save(older, gathered, fresh.labels, about, references.code.version(network.code))
  reported = []
  made._report = reported.append
  again = made.reference(real(2), folder=tmp_path)
  named = made.reference(real(2), file=older)
  assert reported == [f"features of {CLIPS} real clips: {older}"] * 2
  assert again.hashes == named.hashes == fresh.hashes
  assert [path.name for path in tmp_path.iterdir()] == [older.name]
  other = made.reference(real(1), folder=tmp_path)
  assert other.hashes != fresh.hashes and len([*tmp_path.iterdir()]) == 2
  with pytest.raises(UserError, match="does not fit: probe"):
    made.reference(real(1), file=older)
