import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.formats import pictures
from vidgan_jax.data.preprocessing import View


def encode(frame, kind, **options):
  buffer = io.BytesIO()
  Image.fromarray(frame).save(buffer, kind, **options)
  return buffer.getvalue()


def shown_by(encoded, height, width, view):
  clip = np.empty((len(encoded), view.side, view.side, 3), np.uint8)
  pictures.decode_view(encoded, height, width, view, clip)
  return clip


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("ratio", [1, 2, 4, 8])
def test_the_short_way_decodes_as_pillow_does(textured, subsampling, ratio):
  picture = encode(textured(1, 45, 70)[0], "JPEG", quality=85, subsampling=subsampling)
  expected = Image.open(io.BytesIO(picture))
  expected.draft("RGB", (70 // ratio, 45 // ratio))
  pictures.check(picture, 45, 70, png=False)
  decoded = pictures.decode(picture, 45, 70, ratio)
  assert decoded.size == (-(-70 // ratio), -(-45 // ratio))
  assert (np.asarray(decoded) == np.asarray(expected)).all()


@pytest.fixture
def alone(monkeypatch):
  """A context in which Pillow does not replace simplejpeg."""

  @contextlib.contextmanager
  def context():
    with monkeypatch.context() as patch:
      patch.setattr(pictures, "_numbered_decode", None)
      yield

  return context


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", [(16, 16), (17, 23), (45, 70), (64, 64), (128, 170), (90, 64)])
def test_both_decoders_give_the_same_pixels(textured, alone, size, flip):
  """Bit for bit, for any quality, subsampling, ratio and crop."""
  generator = np.random.default_rng(0)
  for subsampling, quality in ((0, 100), (1, 60), (2, 90), (2, 95)):
    options = dict(subsampling=subsampling, quality=quality, progressive=quality == 60)
    encoded = [encode(frame, "JPEG", **options) for frame in textured(3, *size)]
    for ratio in (1, 2, 4, 8):
      rows, columns = (-(-side // ratio) for side in size)
      side = min(rows, columns)
      top, left = generator.integers(rows - side + 1), generator.integers(columns - side + 1)
      view = View(range(3), rows, columns, ratio, False, int(top), int(left), side, flip)
      expected = np.empty((3, side, side, 3), np.uint8)
      pictures._decode_with_pillow(encoded, *size, view, expected)
      shown = np.empty((3, side, side, 3), np.uint8)
      with alone():
        pictures._decode_with_simplejpeg(encoded, *size, view, shown)
      assert (shown == expected).all(), (subsampling, quality, ratio)
      reference = Image.open(io.BytesIO(encoded[2]))
      reference.draft("RGB", (size[1] // ratio, size[0] // ratio))
      reference = np.asarray(reference)[top : top + side, left : left + side]
      assert (shown[2] == (reference[:, ::-1] if flip else reference)).all()


@pytest.mark.parametrize("side", [16, 12])
def test_pillow_decodes_what_simplejpeg_rejects(textured, alone, side):
  """Stray bytes between two headers, which tensorflow accepts too."""
  picture = encode(textured(1, 16, 16)[0], "JPEG")
  position = picture.index(b"\xff\xda")
  stray = picture[:position] + bytes(5) + picture[position:]
  view = View(range(2), 16, 16, top=1 - side // 16, side=side)
  with alone(), pytest.raises(TypeError):
    shown_by([stray], 16, 16, view)
  expected = np.asarray(pictures.decode(picture, 16, 16))[view.top :][:side, :side]
  assert (shown_by([picture, stray], 16, 16, view) == expected).all()


def test_pillow_decodes_tiny_pictures(textured, monkeypatch):
  """Three pixels become two at a scale of 1/2 and at 3/8, so the size does not give the scale."""
  monkeypatch.setattr(pictures, "_decode_with_simplejpeg", None)
  frame = textured(1, 3, 3)
  view = View(range(1), 2, 2, 2, side=2)
  expected = pictures.decode(encode(frame[0], "JPEG"), 3, 3, 2)
  assert (shown_by([encode(frame[0], "JPEG")], 3, 3, view)[0] == np.asarray(expected)).all()


def test_a_place_that_is_not_in_one_piece_is_written_too(textured, alone):
  encoded = [encode(frame, "JPEG") for frame in textured(2, 16, 16)]
  view = View(range(2), 16, 16, side=16)
  memory = np.zeros((2, 16, 18, 3), np.uint8)
  with alone():
    pictures.decode_view(encoded, 16, 16, view, memory[:, :, 1:17])
  assert (memory[:, :, 1:17] == shown_by(encoded, 16, 16, view)).all()
  assert not memory[:, :, [0, 17]].any()


def test_progressive_and_lossless_pictures_decode(textured):
  frame = textured(1, 20, 30)[0]
  progressive, plain = (encode(frame, "JPEG", progressive=p) for p in (True, False))
  pictures.check(progressive, 20, 30, png=False)
  assert pictures.decode(progressive, 20, 30) == pictures.decode(plain, 20, 30)
  lossless = encode(frame, "PNG")
  pictures.check(lossless, 20, 30, png=True)
  assert (np.asarray(pictures.decode(lossless, 20, 30)) == frame).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 5)])
def test_a_view_is_shown(ramp, flip, top, left):
  clip = ramp(5, 12, 16)
  encoded = [encode(frame, "PNG") for frame in clip[3:0:-2]]
  view = View(range(3, 0, -2), 12, 16, top=top, left=left, side=8, flip=flip)
  shown = shown_by(encoded, 12, 16, view)
  expected = clip[3:0:-2, top : top + 8, left : left + 8]
  assert (shown == (expected[:, :, ::-1] if flip else expected)).all()


def test_a_resized_view_is_pillows(textured):
  clip = textured(2, 30, 45)
  view = View(range(2), 20, 30, resized=True, left=4, side=20)
  shown = shown_by([encode(frame, "PNG") for frame in clip], 30, 45, view)
  for frame, picture in zip(clip, shown, strict=True):
    whole = Image.fromarray(frame).resize((30, 20), Image.Resampling.BILINEAR)
    assert (np.asarray(whole)[:, 4:24] == picture).all()
  assert (pictures.resize_frames(clip, 20, 30)[:, :, 4:24] == shown).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_is_not_as_expected_is_refused_before_it_is_decoded(textured, kind):
  frame, png = textured(1, 20, 30)[0], kind == "PNG"
  picture = encode(frame, kind)
  other = encode(frame, "JPEG" if png else "PNG")
  gray = encode(frame[..., 0], kind)
  for wrong in (b"", picture[:-1], picture[1:], picture[: len(picture) // 2], other, gray):
    with pytest.raises(pictures.PictureError):
      pictures.check(wrong, 20, 30, png)
  for height, width in ((30, 20), (20, 31), (19, 30)):
    with pytest.raises(pictures.PictureError, match=f"{height}x{width}"):
      pictures.check(picture, height, width, png)


def test_a_damaged_frame_is_named_by_its_place(textured):
  encoded = [encode(frame, "JPEG") for frame in textured(3, 16, 16)]
  encoded[2] = encoded[2][:100] + b"\xff\xd9"
  view = View(range(3), 16, 16, side=16)
  with pytest.raises(pictures.PictureError) as caught:
    shown_by(encoded, 16, 16, view)
  assert caught.value.frame == 2
