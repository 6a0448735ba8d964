import io
import os
import pathlib
import struct

import av
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_files, video_writers
from vidgan_jax.runtime.files.atomic_files import atomic_file
from vidgan_jax.runtime.files.video_files import VideoError, read_video
from vidgan_jax.runtime.files.video_writers import (
  contact_sheet,
  gif_bytes,
  grid,
  write_gif,
  write_mp4,
)

SHARED = pathlib.Path(__file__).resolve().parents[4] / "shared" / "data"
needs_footage = pytest.mark.skipif(
  not SHARED.is_dir(), reason="needs the real footage in ../shared/data, which is not distributed"
)


def smooth_clip(frames=6, height=32, width=48):
  """A clip of moving colour gradients, which compression changes little."""
  t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
  channels = [x * 255 / width, y * 255 / height, (20 * t + x + y) % 256]
  return np.stack(channels, axis=-1).astype(np.uint8)


@needs_footage
@pytest.mark.parametrize(
  ("name", "frames", "rate"),
  [
    ("c3d/v_ApplyEyeMakeup_g01_c01.avi", 164, 25),
    ("c3d/v_BaseballPitch_g01_c01.avi", 107, 29.97),
    ("torchvision_videos/v_SoccerJuggling_g23_c01.avi", 240, 29.97),
    ("torchvision_videos/v_SoccerJuggling_g24_c01.avi", 251, 29.97),
    ("torchvision_videos/RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, 30),
    ("torchvision_videos/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, 30),
    ("torchvision_videos/TrumanShow_wave_f_nm_np1_fr_med_26.avi", 48, 30),
    ("torchvision_videos/hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", 83, 30),
    ("torchvision_videos/R6llTwEh07w.mp4", 303, 30),
    ("torchvision_videos/SOX5yA1l24A.mp4", 332, 29.97),
    ("torchvision_videos/WUzgd7C1pWA.mp4", 327, 29.97),
  ],
)
def test_real_clips_are_read_completely(name, frames, rate):
  clip, frame_rate = read_video(SHARED / "clips" / name, short_side=16)
  assert len(clip) == frames and abs(frame_rate - rate) < 0.01
  assert clip.dtype == np.uint8 and min(clip.shape[1:3]) == 16


@needs_footage
@pytest.mark.parametrize(
  ("name", "shape"),
  [
    ("vfr.mp4", (66, 120, 160)),
    ("portrait_120x160.mp4", (60, 160, 120)),
    ("odd_dims_161x121_yuv444.mp4", (30, 121, 161)),
    ("gray.mp4", (30, 120, 160)),
    ("fps_5.mp4", (10, 120, 160)),
    ("fps_59_94.mp4", (119, 120, 160)),
    ("sar_4_3.mp4", (30, 120, 213)),
    ("vp9.webm", (30, 120, 160)),
    ("one_frame.mp4", (1, 120, 160)),
    ("three_frames.avi", (3, 120, 160)),
    ("name with space é.mp4", (30, 120, 160)),
    ("video_0.mov", (3, 320, 568)),
    ("video_90.mov", (3, 568, 320)),
    ("video_180.mov", (3, 320, 568)),
    ("video_270.mov", (3, 568, 320)),
    ("flipping_a_pancake.mkv", (310, 240, 426)),
    ("unordered.mov", (4, 50, 50)),
  ],
)
def test_unusual_files_are_read_as_players_show_them(name, shape):
  clip, _ = read_video(SHARED / "odd" / name)
  assert clip.shape == (*shape, 3)


@needs_footage
@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("truncated.avi", "cut off at frame 28"),
    ("bitflips.avi", "damaged at frame 7"),
    ("corrupted.mp4", "damaged at frame"),
    ("header_only.avi", "not readable as a video"),
    ("empty.avi", "not readable as a video"),
    ("no_moov_or_cut.mp4", "not readable as a video"),
    ("html_error_page.mp4", "not readable as a video"),
    ("audio_only.m4a", "holds no video"),
    ("nowhere.mp4", "no such file"),
  ],
)
def test_damaged_files_are_refused_in_one_line(name, words):
  with pytest.raises(VideoError, match=words) as caught:
    read_video(SHARED / "odd" / name, short_side=16)
  assert "\n" not in str(caught.value) and name in str(caught.value)
  assert name not in caught.value.reason


@needs_footage
@pytest.mark.parametrize(
  "name", ["ucf_weizmann/WaveTwo/v_WaveTwo_g07_c01.avi", "odd/vp9.webm", "odd/portrait_120x160.mp4"]
)
def test_a_file_cut_anywhere_is_refused(tmp_path, name):
  content = (SHARED / name).read_bytes()
  cut = tmp_path / os.path.basename(name)
  for part in (0.3, 0.6, 0.8, 0.9):
    cut.write_bytes(content[: int(part * len(content))])
    with pytest.raises(VideoError):
      read_video(cut)


@needs_footage
def test_a_cut_between_two_frames_is_detected(tmp_path):
  """No frame is damaged; only their number is too small."""
  content = (SHARED / "ucf_weizmann/WaveTwo/v_WaveTwo_g07_c01.avi").read_bytes()
  position = content.index(b"movi") + 4
  for _ in range(50):
    position += 8 + struct.unpack("<I", content[position + 4 : position + 8])[0]
    position += position % 2
  (tmp_path / "cut.avi").write_bytes(content[:position])
  with pytest.raises(VideoError, match="cut off: 50 of 54 frames"):
    read_video(tmp_path / "cut.avi")


@needs_footage
def test_frames_marked_as_corrupt_are_refused_if_the_decoder_continues(monkeypatch):
  monkeypatch.setattr(video_files, "_DECODER_OPTIONS", {})  # some decoders ignore the options
  with pytest.raises(VideoError, match=r"damaged at frame 7$"):
    read_video(SHARED / "odd" / "bitflips.avi")


@needs_footage
@pytest.mark.parametrize("more", [1, 2])
def test_headers_may_state_one_frame_too_many(tmp_path, more):
  content = bytearray((SHARED / "ucf_weizmann/WaveTwo/v_WaveTwo_g07_c01.avi").read_bytes())
  for position in (content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32):
    content[position : position + 4] = struct.pack("<I", 54 + more)
  (tmp_path / "a.avi").write_bytes(content)
  if more == 1:
    assert len(read_video(tmp_path / "a.avi")[0]) == 54
  else:
    with pytest.raises(VideoError, match="54 of 56"):
      read_video(tmp_path / "a.avi")


def test_damage_that_a_decoder_conceals_is_refused(tmp_path):
  """The JPEG decoder shows the intact part of a damaged image, and does not mark it as corrupt."""
  with av.open(str(tmp_path / "a.avi"), "w") as container:
    stream = container.add_stream("mjpeg", rate=10)
    stream.height, stream.width, stream.pix_fmt = 128, 128, "yuvj420p"
    # Several threads would write slices, and a decoder would continue at the next slice.
    stream.codec_context.thread_count = 1
    noise = np.random.default_rng(0).integers(256, size=(8, 128, 128, 3), dtype=np.uint8)
    for image in noise:
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    container.mux(stream.encode())
  content = bytearray((tmp_path / "a.avi").read_bytes())
  assert len(read_video(tmp_path / "a.avi")[0]) == 8
  middle = len(content) // 2
  content[middle : middle + 300] = bytes(300)
  (tmp_path / "a.avi").write_bytes(content)
  with pytest.raises(VideoError, match="damaged at frame"):
    read_video(tmp_path / "a.avi")


def test_a_codec_without_a_decoder_is_refused(tmp_path):
  write_mp4(tmp_path / "a.mp4", smooth_clip(), 10)
  content = (tmp_path / "a.mp4").read_bytes()
  (tmp_path / "a.mp4").write_bytes(content.replace(b"avc1", b"zzz1"))
  with pytest.raises(VideoError, match="no decoder for its codec"):
    read_video(tmp_path / "a.mp4")


@needs_footage
def test_rotation_metadata_turns_the_picture_upright():
  """The four recordings show a keyboard lit from the same side in each upright picture."""
  for name, turn in (("video_90.mov", -90), ("video_180.mov", -180), ("video_270.mov", 90)):
    with av.open(str(SHARED / "odd" / name)) as container:
      frame = next(container.decode(video=0))
      raw = frame.to_ndarray(format="rgb24").astype(int)
      assert frame.rotation == turn
    clip, _ = read_video(SHARED / "odd" / name)
    upright = np.rot90(raw, turn // 90)
    assert np.abs(clip[0] - upright).mean() < 3


@pytest.mark.parametrize("scale", [1, 3])
def test_mp4_round_trip(tmp_path, scale):
  clip = smooth_clip()
  write_mp4(tmp_path / "new" / "a.mp4", clip, 12, scale=scale)
  read, rate = read_video(tmp_path / "new" / "a.mp4")
  assert rate == 12 and read.shape == (6, 32 * scale, 48 * scale, 3)
  difference = read[:, ::scale, ::scale].astype(int) - clip
  assert np.abs(difference).mean() < 4
  assert os.listdir(tmp_path / "new") == ["a.mp4"]


def test_colours_are_read_as_written(tmp_path):
  for color in ((200, 50, 90), (0, 0, 0), (255, 255, 255), (10, 120, 240)):
    write_mp4(tmp_path / "a.mp4", np.full((3, 64, 64, 3), color, np.uint8), 10)
    read, _ = read_video(tmp_path / "a.mp4")
    assert np.abs(read.astype(int) - color).max() <= 2


def test_mp4_pads_odd_sizes_and_keeps_uneven_rates(tmp_path):
  write_mp4(tmp_path / "a.mp4", smooth_clip(height=33, width=31), 30000 / 1001)
  read, rate = read_video(tmp_path / "a.mp4")
  assert read.shape == (6, 34, 32, 3) and rate == 30000 / 1001
  assert np.abs(read[:, -1].astype(int) - read[:, -2]).mean() < 6


def test_the_same_clip_gives_the_same_bytes(tmp_path):
  """Encoders may read uninitialised memory at sizes that are not multiples of 16."""
  sizes = [(262, 262), (100, 90), (64, 64), (100, 90), (262, 262), (100, 96), (256, 256), (34, 34)]
  contents = {}
  for height, width in (sizes + sizes[::-1]) * 2:
    clip = smooth_clip(frames=8, height=height, width=width)
    write_mp4(tmp_path / "a.mp4", clip, 10)
    contents.setdefault((height, width), set()).add((tmp_path / "a.mp4").read_bytes())
  assert [len(same) for same in contents.values()] == [1] * 6
  sheets = []
  for name in ("a.png", "b.png"):
    contact_sheet(clip[None], tmp_path / name)
    sheets.append((tmp_path / name).read_bytes())
  assert sheets[0] == sheets[1] and gif_bytes(clip, 10) == gif_bytes(clip, 10)


def test_resizing_averages_over_the_area(tmp_path):
  checkers = np.indices((64, 64)).sum(0) % 2 * 255
  clip = np.broadcast_to(checkers[None, ..., None], (2, 64, 64, 3)).astype(np.uint8)
  write_mp4(tmp_path / "a.mp4", clip, 10)
  small, _ = read_video(tmp_path / "a.mp4", short_side=8)
  assert small.shape == (2, 8, 8, 3) and np.abs(small.astype(int) - 127).max() < 10
  large, _ = read_video(tmp_path / "a.mp4", short_side=100)
  assert large.shape == (2, 100, 100, 3)


def test_memory_is_bounded(tmp_path):
  write_mp4(tmp_path / "a.mp4", smooth_clip(), 10)
  size = 6 * 32 * 48 * 3
  assert read_video(tmp_path / "a.mp4", max_bytes=size)[0].nbytes == size
  with pytest.raises(VideoError, match="limit"):
    read_video(tmp_path / "a.mp4", max_bytes=size - 1)


def read_gif(content):
  image = Image.open(io.BytesIO(content))
  durations, frames = [], []
  for index in range(image.n_frames):
    image.seek(index)
    durations.append(image.info["duration"])
    frames.append(np.asarray(image.convert("RGB")))
  return image.info, durations, np.stack(frames)


def test_gif_shows_every_frame_at_its_time(tmp_path):
  clip = smooth_clip(frames=12)
  write_gif(tmp_path / "a.gif", clip, 12)
  info, durations, frames = read_gif((tmp_path / "a.gif").read_bytes())
  assert info["loop"] == 0 and frames.shape == clip.shape
  assert sum(durations) == 1000 and set(durations) == {80, 90}
  assert gif_bytes(clip, 12) == (tmp_path / "a.gif").read_bytes()
  assert sum(read_gif(gif_bytes(clip, 1000))[1]) == 240  # 50 frames a second are the most


def test_gif_colours_are_good_in_every_frame():
  """The palette fits the last frame as well as the first, and dithering keeps local averages."""
  clip = smooth_clip(frames=8) // 2
  clip[4:] += 127
  shown = read_gif(gif_bytes(clip, 10))[2]
  local = lambda x: x.astype(float).reshape(8, 4, 8, 6, 8, 3).mean((2, 4))
  assert np.abs(local(shown) - local(clip)).mean((1, 2, 3)).max() < 8


def test_grid_places_clips_row_by_row():
  clips = np.arange(5, dtype=np.uint8)[:, None, None, None, None] * np.ones(
    (5, 2, 4, 6, 3), np.uint8
  )
  tiles = grid(clips, columns=3, padding=1)
  assert tiles.shape == (2, 9, 20, 3)
  for index in range(5):
    row, column = divmod(index, 3)
    tile = tiles[:, row * 5 : row * 5 + 4, column * 7 : column * 7 + 6]
    assert (tile == index).all()
  assert (tiles[:, 4] == 127).all() and (tiles[:, 5:, 14:] == 127).all()
  assert grid(clips).shape == (2, 2 * 6 - 2, 3 * 8 - 2, 3)
  assert grid(clips, padding=0).shape == (2, 8, 18, 3)


def test_a_contact_sheet_has_a_row_per_clip_and_a_column_per_frame(tmp_path):
  clips = np.zeros((2, 3, 4, 5, 3), np.uint8)
  clips += (10 * np.arange(2)[:, None] + np.arange(3)).astype(np.uint8)[..., None, None, None]
  sheet = contact_sheet(clips, tmp_path / "s.png", padding=1)
  assert sheet.shape == (9, 17, 3)
  assert sheet[0, ::6, 0].tolist() == [0, 1, 2] and sheet[5, ::6, 0].tolist() == [10, 11, 12]
  assert (np.asarray(Image.open(tmp_path / "s.png")) == sheet).all()


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
  path = tmp_path / "a.mp4"
  path.write_bytes(b"the file before")

  def fail(image):
    raise RuntimeError("in the middle")

  monkeypatch.setattr(video_writers, "_to_yuv420", fail)
  with pytest.raises(RuntimeError, match="in the middle"):
    write_mp4(path, smooth_clip(), 10)
  assert os.listdir(tmp_path) == ["a.mp4"] and path.read_bytes() == b"the file before"
  with pytest.raises(RuntimeError, match="half"), atomic_file(path) as temporary:
    pathlib.Path(temporary).write_bytes(b"half")
    raise RuntimeError("half")
  assert os.listdir(tmp_path) == ["a.mp4"] and path.read_bytes() == b"the file before"
  with atomic_file(path) as temporary:
    assert os.path.dirname(temporary) == str(tmp_path)
    pathlib.Path(temporary).write_bytes(b"new")
    assert path.read_bytes() == b"the file before"
  assert os.listdir(tmp_path) == ["a.mp4"] and path.read_bytes() == b"new"


def test_unwritable_places_are_refused(tmp_path):
  (tmp_path / "file").write_text("")
  for write in (write_mp4, write_gif):
    with pytest.raises(UserError, match="cannot be written"):
      write(tmp_path / "file" / "a", smooth_clip(), 10)
  with pytest.raises(UserError, match="cannot be written"):
    contact_sheet(smooth_clip()[None], tmp_path / "file" / "a.png")


def test_arrays_that_are_no_clips_are_refused(tmp_path):
  clip = smooth_clip()
  for bad in (clip.astype(np.float32), clip[0], clip[..., :2], clip[:0]):
    with pytest.raises(ValueError, match="expected uint8"):
      gif_bytes(bad, 10)
    with pytest.raises(ValueError, match="expected uint8"):
      write_mp4(tmp_path / "a.mp4", bad, 10)
  with pytest.raises(ValueError, match="not positive"):
    gif_bytes(clip, 0)
  with pytest.raises(ValueError, match="expected uint8"):
    grid(clip)
