"""The lengths that containers state: complete files are read, incomplete ones are refused."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidgan_jax.runtime.files.containers import missing_bytes
from vidgan_jax.runtime.files.video_files import VideoError, read_video

FRAMES = 20
CODECS = {
  "mkv": "libx264", "webm": "libvpx-vp9", "mp4": "libx264", "mov": "libx264", "3gp": "libx264",
  "ts": "libx264", "mpg": "libx264", "flv": "libx264", "ogv": "libvpx", "wmv": "libx264",
  "avi": "libx264",
}  # fmt: skip


def write(path, start=0, slow_from=FRAMES, options=None, **container):
  """Writes noise: a frame every 40 ms from `start` ms, and every 800 ms from frame `slow_from`."""
  pixels = np.random.default_rng(0).integers(256, size=(FRAMES, 8, 8, 3), dtype=np.uint8)
  clip = pixels.repeat(8, axis=1).repeat(8, axis=2)
  with av.open(str(path), "w", options=container) as file:
    stream = file.add_stream(
      CODECS[path.suffix[1:]], rate=25, options={"threads": "1"} | (options or {})
    )
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
    stream.codec_context.time_base = Fraction(1, 1000)
    for number, image in enumerate(clip):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts = start + 40 * number + 760 * max(0, number - slow_from)
      frame.time_base = Fraction(1, 1000)
      file.mux(stream.encode(frame))
    file.mux(stream.encode())
  return path


@pytest.mark.parametrize("ending", CODECS)
@pytest.mark.parametrize("timing", [{}, {"start": 120}, {"start": 3000}, {"slow_from": 15}])
def test_complete_files_are_read_whenever_they_begin(tmp_path, ending, timing):
  path = write(tmp_path / f"a.{ending}", **timing)
  assert len(read_video(path)[0]) == FRAMES


@pytest.mark.parametrize("ending", CODECS)
@pytest.mark.parametrize("timing", [{}, {"start": 3000}, {"slow_from": 15}])
def test_files_without_their_end_are_refused(tmp_path, ending, timing):
  path = write(tmp_path / f"a.{ending}", **timing)
  content = path.read_bytes()
  # In AVI the frames end where the index begins. A file without its index is complete.
  end = content.index(b"idx1") if ending == "avi" else len(content)
  for part in (0.02, 0.2, 0.6):
    path.write_bytes(content[: end - int(part * end) - 1])
    with pytest.raises(VideoError):
      read_video(path)


def test_a_flash_file_cut_between_two_tags_is_refused(tmp_path):
  path = write(tmp_path / "a.flv")
  content, ends = path.read_bytes(), [13]  # a header of 9 bytes, and 4 bytes before the first tag
  while ends[-1] < len(content):
    ends.append(ends[-1] + 15 + int.from_bytes(content[ends[-1] + 1 : ends[-1] + 4]))
  assert ends[-1] == len(content)
  path.write_bytes(content[: ends[len(ends) // 2]])
  with pytest.raises(VideoError, match=r"cut off: ends at 0\.\d\d s of 0\.\d\d s"):
    read_video(path)


def test_a_flash_file_cut_within_a_tag_lacks_bytes(tmp_path):
  path = write(tmp_path / "a.flv")
  content = path.read_bytes()
  assert missing_bytes(str(path), "flv") == 0
  for missing in (5, 100):
    path.write_bytes(content[:-missing])
    assert missing_bytes(str(path), "flv") > 0


def test_a_fragmented_file_without_its_end_is_refused(tmp_path):
  path = write(tmp_path / "a.mp4", options={"g": "5"}, movflags="frag_keyframe+empty_moov")
  assert len(read_video(path)[0]) == FRAMES
  content = path.read_bytes()
  ends = [int(part * len(content)) for part in (0.4, 0.8, 0.98)]
  for end in (*ends, content.rindex(b"moof") + 30):
    path.write_bytes(content[:end])
    with pytest.raises(VideoError):
      read_video(path)


def test_a_live_recording_without_a_stated_length_is_read(tmp_path):
  """Browsers record WebM with segments of unknown length and without a duration."""
  path = write(tmp_path / "a.webm", live="1")
  assert len(read_video(path)[0]) == FRAMES


def test_a_file_whose_end_is_zeros_is_refused(tmp_path):
  """Some downloads allocate the whole file first, and leave zeros if they stop."""
  path = write(tmp_path / "a.mkv", options={"qp": "0"})
  content = path.read_bytes()
  kept = len(content) - 2**17
  path.write_bytes(content[:kept] + b"\0" * 2**17)
  with pytest.raises(VideoError):
    read_video(path)


def test_a_gif_without_its_end_is_refused(tmp_path):
  from vidgan_jax.runtime.files.video_writers import write_gif

  clip = np.random.default_rng(0).integers(256, size=(6, 16, 16, 3), dtype=np.uint8)
  write_gif(tmp_path / "a.gif", clip, 10)
  assert len(read_video(tmp_path / "a.gif")[0]) == 6
  content = (tmp_path / "a.gif").read_bytes()
  (tmp_path / "a.gif").write_bytes(content[: len(content) // 2])
  with pytest.raises(VideoError, match="cut off"):
    read_video(tmp_path / "a.gif")


@pytest.mark.parametrize(
  ("start", "length", "seen"), [(0, 400, 10), (200, 400, 10), (200, 600, 15)]
)
def test_an_edit_list_may_leave_out_a_part(tmp_path, start, length, seen):
  """Phones cut videos by an edit list, without rewriting them."""
  path = write(tmp_path / "a.mp4", options={"g": "5", "bf": "0"})
  content = bytearray(path.read_bytes())
  at = content.index(b"elst") + 12  # behind version, flags and the number of entries
  scale = int.from_bytes(content[content.index(b"mdhd") + 16 :][:4])
  media = int.from_bytes(content[at + 4 : at + 8]) + start * scale // 1000
  content[at : at + 8] = length.to_bytes(4) + media.to_bytes(4)
  path.write_bytes(content)
  assert len(read_video(path)[0]) == seen


# {display matrix (a, b, c, d): how the stored image is shown}; pixel (x, y) at (ax + cy, bx + dy).
SHOWN = {
  (1, 0, 0, 1): lambda image: image,
  (-1, 0, 0, 1): lambda image: image[:, ::-1],
  (1, 0, 0, -1): lambda image: image[::-1],
  (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
  (0, 1, 1, 0): lambda image: image.swapaxes(0, 1),
  (0, 1, -1, 0): lambda image: image.swapaxes(0, 1)[:, ::-1],  # 90 degrees clockwise
  (0, -1, 1, 0): lambda image: image.swapaxes(0, 1)[::-1],
  (0, -1, -1, 0): lambda image: image.swapaxes(0, 1)[::-1, ::-1],
}


@pytest.mark.parametrize("matrix", SHOWN)
def test_display_matrices_turn_and_mirror(tmp_path, matrix):
  path = write(tmp_path / "a.mp4")
  stored, content = read_video(path)[0], bytearray(path.read_bytes())
  at = content.index(b"tkhd") + 44  # a, b, u, c, d of the matrix, 16.16 fixed point
  a, b, c, d = (value * 2**16 for value in matrix)
  content[at : at + 20] = b"".join(int.to_bytes(v, 4, signed=True) for v in (a, b, 0, c, d))
  path.write_bytes(content)
  shown, _ = read_video(path)
  assert all(
    (seen == SHOWN[matrix](image)).all() for seen, image in zip(shown, stored, strict=True)
  )


def write_with_cover(path, moving, first):
  """Writes a file with a cover picture and another stream.

  Args:
    path: the file.
    moving: codec of the other stream, a video or "aac".
    first: whether the cover is the first stream.
  """
  blocks = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
  with av.open(str(path), "w") as file:
    streams = {}
    for name in ("cover", "moving") if first else ("moving", "cover"):
      if name == "cover":
        stream = file.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        stream.disposition = av.stream.Disposition.attached_pic
      elif moving == "aac":
        stream = file.add_stream("aac", rate=16000, layout="mono")
      else:
        stream = file.add_stream(moving, rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
      streams[name] = stream
    picture = av.VideoFrame.from_ndarray(blocks, format="rgb24")
    file.mux(streams["cover"].encode(picture))
    file.mux(streams["cover"].encode())
    if moving == "aac":
      sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
      sound.sample_rate = 16000
      file.mux(streams["moving"].encode(sound))
    else:
      for number in range(5):
        image = np.full((32, 32, 3), 40 * number, np.uint8)
        file.mux(streams["moving"].encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    file.mux(streams["moving"].encode())


@pytest.mark.parametrize("first", [True, False])
def test_covers_are_no_videos(tmp_path, first):
  write_with_cover(tmp_path / "film.mp4", "libx264", first)
  assert read_video(tmp_path / "film.mp4")[0].shape == (5, 32, 32, 3)
  write_with_cover(tmp_path / "music.mp4", "aac", first)
  with pytest.raises(VideoError, match="holds no video stream"):
    read_video(tmp_path / "music.mp4")


@pytest.mark.parametrize(("codec", "ending"), [("png", "mov"), ("qtrle", "mov"), ("ffv1", "mkv")])
def test_transparent_pixels_of_videos_are_laid_over_black(tmp_path, codec, ending):
  path = tmp_path / f"a.{ending}"
  pixels = np.full((6, 8, 4), 200, np.uint8)
  pixels[..., 3] = np.array([255, 128, 0]).repeat(2)[:, None]
  with av.open(str(path), "w") as file:
    stream = file.add_stream(codec, rate=25)
    stream.width, stream.height = 8, 6
    stream.pix_fmt = {"png": "rgba", "qtrle": "argb", "ffv1": "bgra"}[codec]
    for _ in range(3):
      frame = av.VideoFrame.from_ndarray(pixels, format="rgba")
      file.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
    file.mux(stream.encode())
  clip, _ = read_video(path)
  assert clip.shape == (3, 6, 8, 3)
  assert (clip == np.array([200, 100, 0]).repeat(2)[:, None, None]).all()


def test_transparent_pixels_of_gifs_are_black(tmp_path):
  from PIL import Image

  pixels = np.full((8, 8, 4), 255, np.uint8)
  pixels[4:, :, 3] = 0
  images = [Image.fromarray(pixels // np.array([1, 1, n, 1], np.uint8)) for n in (1, 2)]
  images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], disposal=2)
  clip, _ = read_video(tmp_path / "a.gif")
  assert clip[0, :4].min() > 250 and not clip[:, 4:].any()
