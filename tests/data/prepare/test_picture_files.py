"""Picture files are read upright, in RGB, without transparency."""

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data.prepare import picture_files

STORED = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(6, 4, 3) * 3
# EXIF orientations: the sides at which the first stored row and column are displayed.
SEEN = {
  1: STORED,  # top, left
  2: STORED[:, ::-1],  # top, right
  3: STORED[::-1, ::-1],  # bottom, right
  4: STORED[::-1],  # bottom, left
  5: STORED.swapaxes(0, 1),  # left, top
  6: STORED.swapaxes(0, 1)[:, ::-1],  # right, top
  7: STORED.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
  8: STORED.swapaxes(0, 1)[::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", SEEN)
@pytest.mark.parametrize(
  ("ending", "options"),
  [
    ("jpg", {"quality": 100, "subsampling": 0}),
    ("png", {}),
    ("tif", {}),
    ("tiff", {"compression": "tiff_lzw"}),
    ("webp", {"lossless": True}),
  ],
)
def test_the_orientation_of_exif_is_applied(tmp_path, orientation, ending, options):
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = tmp_path / f"a.{ending}"
  Image.fromarray(STORED).save(path, exif=exif, **options)
  shown = picture_files.read(path)
  assert shown.shape == SEEN[orientation].shape
  assert np.abs(shown.astype(int) - SEEN[orientation]).max() <= (8 if ending == "jpg" else 0)


def test_damaged_exif_data_turns_nothing(tmp_path):
  Image.fromarray(STORED).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
  assert (picture_files.read(tmp_path / "a.png") == STORED).all()


def with_alpha(mode):
  """A picture of value 200 whose rows are opaque, half transparent and transparent."""
  pixels = np.full((3, 4, 4), 200, np.uint8)
  pixels[..., 3] = np.array([255, 128, 0])[:, None]
  image = Image.fromarray(pixels)
  return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize(
  ("mode", "ending"), [("RGBA", "png"), ("RGBA", "webp"), ("RGBA", "tif"), ("LA", "png"),
  ("LA", "tif"), ("PA", "tif"), ("P", "png")],
)  # fmt: skip
def test_what_is_transparent_is_laid_over_black(tmp_path, mode, ending):
  path = tmp_path / f"a.{ending}"
  options = {"lossless": True} if ending == "webp" else {}
  with_alpha(mode).save(path, **options)
  with Image.open(path) as image:
    assert image.mode == mode
  shown = picture_files.read(path)
  assert shown.shape == (3, 4, 3) and shown.dtype == np.uint8
  assert (shown == np.array([200, 100, 0])[:, None, None]).all()


@pytest.mark.parametrize(
  ("mode", "color", "seen"),
  [("1", 1, 255), ("L", 200, 200), ("RGB", (200, 1, 3), (200, 1, 3)), ("I;16", 51300, 200)],
)
def test_a_transparent_color_is_black(tmp_path, mode, color, seen):
  image = Image.new(mode, (4, 3), color)
  image.save(tmp_path / "opaque.png")
  assert (picture_files.read(tmp_path / "opaque.png") == seen).all()
  image.save(tmp_path / "hidden.png", transparency=color)
  assert not picture_files.read(tmp_path / "hidden.png").any()


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
  gray = np.array([[0, 255, 256], [32768, 65279, 65535]], np.uint16)
  for ending in ("png", "tif", "ppm"):
    Image.fromarray(gray).save(tmp_path / f"a.{ending}")
    shown = picture_files.read(tmp_path / f"a.{ending}")
    assert (shown == (gray >> 8)[..., None]).all(), ending


def test_colors_of_print_are_shown(tmp_path):
  Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(tmp_path / "a.jpg", quality=100)
  assert np.abs(picture_files.read(tmp_path / "a.jpg").astype(int) - (0, 255, 255)).max() < 4


def test_pixels_of_other_kinds_are_refused(tmp_path):
  Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tif")
  with pytest.raises(ValueError, match="pixels of mode F, which is not an 8-bit mode"):
    picture_files.read(tmp_path / "a.tif")
  with pytest.raises(OSError, match="cannot identify"):
    (tmp_path / "b.png").write_bytes(b"no picture")
    picture_files.read(tmp_path / "b.png")
