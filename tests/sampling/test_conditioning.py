"""Runs that continue given frames: every path that draws clips gets the data to continue."""

import types

import jax
import numpy as np
import pytest

import vidgan_jax
import vidgan_jax.training.state as states
from vidgan_jax.data.build import build_source
from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_writers
from vidgan_jax.sampling import cli, conditioning, files, generation
from vidgan_jax.sampling.preview import PreviewHook
from vidgan_jax.sampling.stream import Stream, from_hook_context, of_conditioned

write_mp4 = video_writers.write_mp4  # tests replace the attribute


def pixels(count, frames=5, size=8, seed=0):
  shape = (count, frames, size, size, 3)
  return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def opened(predicting):
  """The run, opened once; tests copy what they change."""
  return vidgan_jax.load(predicting)


@pytest.fixture
def fresh(predicting):
  return vidgan_jax.load(predicting)


def test_numbers_begin_again_after_the_last_clip():
  clips = pixels(5)
  of_array = conditioning.of_array(clips)
  np.testing.assert_array_equal(of_array(3, 12), clips[[3, 4, 0, 1, 2, 3, 4, 0, 1]])
  assert of_array.about != conditioning.of_array(pixels(5, seed=1)).about
  assert of_array.about.startswith("5 clips ")


def test_several_futures_of_each_clip(opened):
  given = pixels(3, frames=2)
  clips = opened.predict(given, futures=4, key=5)
  assert clips.shape == (3, 4, 5, 8, 8, 3) and clips.dtype == np.uint8
  np.testing.assert_array_equal(clips[:, :, :2], np.repeat(given[:, None], 4, axis=1))
  assert len({clip.tobytes() for clip in clips[0]}) == 4
  np.testing.assert_array_equal(opened.predict(given, futures=4, key=5), clips)
  # A prediction depends on its own given frames alone.
  alone = opened.predict(given[:1], futures=4, key=5)
  assert np.max(np.abs(alone[0].astype(int) - clips[0])) <= 1


@pytest.mark.parametrize(
  ("frames", "options", "message"),
  [
    (pixels(2, frames=1), {}, r"continues 2 given frame\(s\) of 8x8"),
    (pixels(2, size=4), {}, r"\[N, 2 or more, 8, 8, 3\], found \[2, 5, 4, 4, 3\]"),
    (pixels(2) / 255, {}, "must be uint8"),
    (pixels(2)[0], {}, r"found \[5, 8, 8, 3\]"),
    (pixels(2), {"futures": 0}, "futures is 0"),
    (pixels(2), {"length": 2}, "clips of 2 frames leave none to generate: 2 are given"),
    (pixels(2), {"length": 9}, "9 frames need .*; --conditioning=SPLIT, or `run"),
  ],
)
def test_bad_given_frames_are_refused(opened, frames, options, message):
  with pytest.raises(UserError, match=message):
    opened.predict(frames, **options)


def test_other_runs_continue_nothing(run):
  with pytest.raises(UserError, match="continues no given frames"):
    run.predict(pixels(1))


def test_without_data_a_run_that_needs_it_says_so(opened):
  with pytest.raises(UserError, match="give clips to continue"):
    opened.sample(0, count=2)
  with pytest.raises(UserError, match="but has no clips"):
    Stream(opened)


def test_standing_statistics_are_of_the_given_clips(fresh, monkeypatch):
  assert fresh.variables() is fresh._variables, "without clips, those of training"
  seen = []
  moments = generation._moments
  monkeypatch.setattr(
    generation, "_moments", lambda *a: (seen.append(a[-1]["clip"].copy()), moments(*a))[1]
  )
  fresh.conditioning, fresh.standing_passes = conditioning.of_array(pixels(24)), 2
  fresh.variables()
  np.testing.assert_array_equal(np.concatenate(seen), pixels(24)[np.arange(32) % 24])
  longer = fresh.predict(pixels(1), futures=1, length=7)
  assert longer.shape == (1, 1, 7, 8, 8, 3)


@pytest.mark.parametrize("devices", [1, 8])
def test_a_stream_continues_its_clips_in_turn(fresh, devices):
  fresh.standing_passes = 2
  clips = pixels(6)
  labelled = lambda begin, end: (clips[begin:end], np.zeros(end - begin, np.int32))
  mesh = meshes.make_mesh(jax.devices()[:devices])
  stream = of_conditioned(fresh, 3, clips=labelled, count=6, mesh=mesh)
  drawn = np.asarray(stream(0, 16)[0])
  np.testing.assert_array_equal(drawn[:, :2], clips[np.arange(16) % 6, :2])
  np.testing.assert_array_equal(stream.given(4, 9), clips[[4, 5, 0, 1, 2]])
  assert stream.given_count == 6 and stream.about["conditioning"].startswith("6 clips ")
  expected = fresh.sample(3, count=16, conditioning={"clip": clips[np.arange(16) % 6]})
  assert np.max(np.abs(drawn.astype(int) - expected)) <= 1
  part = np.asarray(stream(8, 16)[0]).astype(int)
  assert np.max(np.abs(part - drawn[8:])) <= 1


def hook_context(workdir, tmp_path, **fields):
  config, gan, state = states.load(workdir)
  source = build_source(
    config.data, frames=gan.frames, resolution=gan.resolution, num_classes=0, report=print
  )
  return types.SimpleNamespace(
    config=config,
    gan=gan,
    state=state,
    frozen={},
    mesh=meshes.make_mesh(jax.devices()[:1]),
    source=source,
    workdir=tmp_path,
    step=4,
    start_step=0,
    log=types.SimpleNamespace(clip=lambda *a: None),
    **fields,
  )


def test_a_run_in_training_streams_and_previews(predicting, tmp_path, monkeypatch):
  context = hook_context(predicting, tmp_path)
  clips = pixels(4)
  labelled = lambda begin, end: (clips[begin:end], np.zeros(end - begin, np.int32))
  stream = from_hook_context(context, seed=0, standing_passes=1, clips=labelled, count=4)
  np.testing.assert_array_equal(np.asarray(stream(0, 4)[0])[:, :2], clips[:, :2])
  sheets = []
  monkeypatch.setattr(video_writers, "write_mp4", lambda *a, **k: None)
  monkeypatch.setattr(video_writers, "contact_sheet", lambda clips, path: sheets.append(clips))
  PreviewHook(2, clips=4, standing_passes=1).before_save(context)
  (shown,) = sheets
  assert shown.shape == (4, 5, 12, 12, 3)
  given = conditioning.of_source(context.source)(0, 2)
  np.testing.assert_array_equal(shown[::2, :2, 2:-2, 2:-2], given[:, :2])
  np.testing.assert_array_equal(shown[1::2, :2, 2:-2, 2:-2], given[:, :2])


def test_only_given_frames_have_a_coloured_border():
  clips = pixels(2)
  shown = files.marked(clips, 2)
  np.testing.assert_array_equal(shown[:, :, 2:-2, 2:-2], clips)
  assert np.all(shown[:, :2, 0] == files._MARK) and np.all(shown[:, 2:, :, -1] == 127)
  assert files.marked(clips, 0) is clips


@pytest.fixture
def ask(predicting, tmp_path, monkeypatch):
  """Returns a function (**fields of `Request`) -> the arrays of samples.npz."""
  monkeypatch.setattr(cli.files.video_writers, "write_mp4", lambda *a, **k: None)  # slow

  def fulfil(**fields):
    fields = {"output": tmp_path / "out", "standing_passes": 1, "overwrite": True, **fields}
    cli.fulfil(cli.Request(workdir=predicting, **fields), report=lambda line: None)
    with np.load(tmp_path / "out" / "samples.npz") as archive:
      return dict(archive)

  return fulfil


def test_sampling_continues_a_split_of_the_data(ask, opened):
  clips = ask(conditioning="test", futures=3, given=2)["clips"]
  assert clips.shape == (6, 5, 8, 8, 3)
  given = conditioning.of_split(opened.config, opened.gan, "test")(0, 2)
  np.testing.assert_array_equal(clips[:, :2], np.repeat(given[:, :2], 3, axis=0))
  assert len(ask(conditioning="train")["clips"]) == 8 * 4
  # The clips of a split give the standing statistics that other lengths need.
  assert ask(conditioning="test", futures=1, given=2, frames=7)["clips"].shape == (2, 7, 8, 8, 3)


def test_a_folder_with_the_name_of_a_split_changes_nothing(ask, tmp_path, monkeypatch):
  (tmp_path / "test").mkdir()
  monkeypatch.chdir(tmp_path)
  assert len(ask(conditioning="test", futures=1, given=2)["clips"]) == 2


def test_a_small_split_gives_each_clip_once(ask, monkeypatch):
  of_split = conditioning.of_array(pixels(3))
  monkeypatch.setattr(conditioning, "of_split", lambda *a, **k: of_split)
  assert len(ask(conditioning="test", futures=2)["clips"]) == 3 * 2
  with pytest.raises(UserError, match=r"--given=4, but --conditioning has 3 clip\(s\)"):
    ask(conditioning="test", given=4)


def test_sampling_continues_files(ask, tmp_path):
  clips = pixels(3)
  np.savez(tmp_path / "given.npz", clips=clips)
  np.savez(tmp_path / "given,2.npz", clips=clips[1:])
  assert len(ask(conditioning=str(tmp_path / "given,2.npz"), futures=1)["clips"]) == 2
  result = ask(conditioning=str(tmp_path / "given.npz"))["clips"]
  np.testing.assert_array_equal(result[:, :2], np.repeat(clips[:, :2], 4, axis=0))
  walk = ask(conditioning=str(tmp_path / "given.npz"), interpolate="latent", interpolation_steps=3)
  np.testing.assert_array_equal(walk["clips"][:, :2], np.repeat(clips[:, :2], 3, axis=0))


def test_sampling_continues_videos(ask, opened, tmp_path):
  paths = [tmp_path / f"{name}.mp4" for name in "ab"]
  for value, path in zip((60, 200), paths, strict=True):
    write_mp4(path, np.full((4, 16, 24, 3), value, np.uint8), 8)
  result = ask(conditioning=",".join(map(str, paths)), futures=1)["clips"]
  for clip, value in zip(result, (60, 200), strict=True):
    assert np.max(np.abs(clip[:2].astype(int) - value)) <= 3


@pytest.mark.parametrize(
  ("fields", "message"),
  [
    ({}, "--conditioning names a split of its data"),
    ({"conditioning": "no/file.npz"}, "neither a split of the data nor a file"),
    ({"conditioning": "nonsense"}, "nonsense"),
    ({"conditioning": "test", "interpolate": "latent", "futures": 2}, "--futures cannot be"),
    ({"conditioning": "test", "frames": 2}, "clips of 2 frames leave none to generate"),
    ({"conditioning": "GIVEN", "frames": 9}, "need standing statistics.*; --conditioning=SPLIT"),
    (
      {"conditioning": "test", "frames": 9, "standing_passes": 0},
      "9 frames need standing .*had 5$",
    ),
    ({"conditioning": "GIVEN", "given": 9}, r"--given=9, but --conditioning has 3 clip\(s\)"),
    ({"conditioning": "GIVEN", "data_directory": "x"}, "--data_directory needs --conditioning"),
    ({"conditioning": "SMALL"}, r"found \[3, 5, 4, 4, 3\]"),
    ({"conditioning": "SHORT"}, r"found \[3, 1, 8, 8, 3\]"),
    ({"conditioning": "VIDEO"}, r"has 1 frame\(s\) at stride 1, 2 are needed"),
  ],
)
def test_bad_requests_are_refused_in_one_line(ask, tmp_path, fields, message):
  np.savez(tmp_path / "given.npz", clips=pixels(3))
  np.savez(tmp_path / "small.npz", clips=pixels(3, size=4))
  np.savez(tmp_path / "short.npz", clips=pixels(3, frames=1))
  if fields.get("conditioning") == "VIDEO":
    write_mp4(tmp_path / "video.mp4", np.full((1, 8, 8, 3), 90, np.uint8), 8)
  names = {"GIVEN": "given.npz", "SMALL": "small.npz", "SHORT": "short.npz", "VIDEO": "video.mp4"}
  if fields.get("conditioning") in names:
    fields = {**fields, "conditioning": str(tmp_path / names[fields["conditioning"]])}
  with pytest.raises(UserError, match=message) as error:
    ask(**fields)
  assert "\n" not in str(error.value)


def test_other_runs_take_no_conditioning(workdir, tmp_path):
  for fields in ({"conditioning": "test"}, {"futures": 2}):
    request = cli.Request(workdir=workdir, output=tmp_path / "out", **fields)
    with pytest.raises(UserError, match=f"--{next(iter(fields))}: this run continues no given"):
      cli.fulfil(request, report=lambda line: None)
