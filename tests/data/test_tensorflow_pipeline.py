"""tf.data gives the same bytes as the reader without tensorflow."""

import contextlib
import io
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from vidgan_jax.data import tensorflow_import, tensorflow_pipeline
from vidgan_jax.data.build import build_batches
from vidgan_jax.data.formats import pictures
from vidgan_jax.data.pipeline import Batches, Prefetcher
from vidgan_jax.data.prepare.run import prepare
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.data.preprocessing import Crop, Resize, View
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.data.sources.prepared import Prepared
from vidgan_jax.data.tensorflow_pipeline import TensorFlowBatches, plan_fields, view_decoder
from vidgan_jax.runtime.errors import UserError

NAMES = ("a", "b", "c")
SIZES = [(16, 24), (16, 16), (40, 33), (64, 90), (33, 57), (20, 16), (16, 17)]


@pytest.fixture(scope="module")
def tf():
  return pytest.importorskip("tensorflow", reason="tensorflow is not installed")


def open_set(folder, **options):
  options = {"report": lambda line: None, **options}
  return Prepared(
    [folder],
    frames=3,
    stride=2,
    resolution=16,
    horizontal_flip=True,
    temporal_reversal=True,
    **options,
  )


@pytest.fixture(scope="module", params=["JPEG", "PNG"])
def folder(request, tmp_path_factory, write_prepared, textured):
  """Seven clips of different sizes: uncropped, cropped, reduced, resized."""
  clips = [textured(6 + i, *size, seed=i) for i, size in enumerate(SIZES)]
  labels = np.arange(7) % 3
  png = request.param == "PNG"
  return write_prepared(tmp_path_factory.mktemp("set"), clips, labels, NAMES, png=png)


def same(a, b):
  return all(a[name].dtype == b[name].dtype and (a[name] == b[name]).all() for name in a)


@pytest.mark.parametrize("hosts", [1, 2])
def test_both_readers_give_the_same_bytes(tf, folder, hosts):
  source = open_set(folder)
  expected = Batches(source, 4, 2, seed=3)
  lines = []
  parts = [
    TensorFlowBatches(source, 4, 2, 3, host, hosts, workers=3 - host, report=lines.append)
    for host in range(hosts)
  ]
  for iteration in (0, 1, 2, 10**6, 10**6 + 1, 1):
    batches = [part(iteration) for part in parts]
    joined = {name: np.concatenate([p[name] for p in batches], axis=1) for name in batches[0]}
    assert same(joined, expected(iteration))
  assert not lines


@pytest.mark.parametrize("quality", [None, 95])
def test_turned_and_transparent_pictures_are_the_same_in_both_readers(
  tf, tmp_path, textured, quality
):
  """They are stored upright and opaque, so no reader has to handle EXIF or transparency."""
  exif = Image.Exif()
  for orientation in range(1, 9):
    exif[0x0112] = orientation
    (tmp_path / "in" / str(orientation)).mkdir(parents=True)
    for number, image in enumerate(textured(6, 16, 24, seed=orientation)):
      alpha = np.arange(16 * 24).reshape(16, 24, 1) % 256
      pixels = np.concatenate([image, alpha.astype(np.uint8)], axis=-1)
      path = tmp_path / "in" / str(orientation) / f"{number}.png"
      Image.fromarray(pixels).save(path, exif=exif)
  request = Request("frames", str(tmp_path / "in"), str(tmp_path / "out"), quality=quality)
  prepare(request, report=lambda line: None)
  source = open_set(tmp_path / "out")
  assert {(height, width) for height, width, _ in source.sizes()} == {(16, 24), (24, 16)}
  batch = TensorFlowBatches(source, 4, 2, 3, 0, 1, workers=2, report=print)(0)
  assert same(batch, Batches(source, 4, 2, seed=3)(0))


def test_it_streams_in_order_and_may_be_stopped(tf, folder):
  source = open_set(folder)
  batches = TensorFlowBatches(source, 4, 1, seed=3)
  with Prefetcher(batches, 5, depth=2) as stream:
    fetched = [next(stream) for _ in range(6)]
  assert [iteration for iteration, _ in fetched] == list(range(5, 11))
  expected = Batches(source, 4, 1, seed=3)
  assert all(same(batch, expected(iteration)) for iteration, batch in fetched)
  with pytest.raises(ValueError, match="iteration -1 is negative"):
    batches(-1)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_every_view_eagerly_and_inside_map(tf, textured, kind, size, flip):
  encoded = []
  for frame in textured(2, *size):
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, kind)
    encoded.append(buffer.getvalue())
  view = Resize(16, kind == "JPEG")(View(range(2), *size))
  view = Crop(16)(view, np.random.default_rng(0))._replace(flip=flip)
  expected = np.empty((2, 16, 16, 3), np.uint8)
  pictures.decode_view(encoded, *size, view, expected)
  plan = np.array(plan_fields(view, 5), np.int32)
  decode = view_decoder([(*size, kind == "PNG"), (16, 16, kind == "PNG")], 16, 2)
  assert (decode(np.array(encoded, object), plan).numpy() == expected).all()
  dataset = tf.data.Dataset.from_tensors((encoded, plan)).map(decode)
  assert (next(dataset.as_numpy_iterator()) == expected).all()


def test_what_tensorflow_accepts_the_others_accept_with_the_same_pixels(tf, textured):
  """So a batch that tensorflow decodes is right; for others, `Batches` decides what is damaged."""
  generator = np.random.default_rng(0)
  outcomes = {True: 0, False: 0}
  for trial in range(300):
    buffer = io.BytesIO()
    kind = "PNG" if trial % 5 == 0 else "JPEG"
    Image.fromarray(textured(1, 32, 48, seed=trial)[0]).save(buffer, kind)
    damaged = bytearray(buffer.getvalue())
    for position in generator.integers(30, len(damaged) - 2, size=3):
      damaged[position] = generator.integers(256)
    damaged = bytes(damaged)
    try:
      pictures.check(damaged, 32, 48, kind == "PNG")
      decoded = tf.io.decode_jpeg(damaged, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    except (pictures.PictureError, tf.errors.OpError):
      outcomes[False] += 1
      continue
    outcomes[True] += 1
    assert (np.asarray(pictures.decode(damaged, 32, 48)) == decoded).all()
    shown = np.empty((1, 32, 32, 3), np.uint8)
    pictures.decode_view([damaged], 32, 48, View(range(1), 32, 48, left=9, side=32), shown)
    assert (shown[0] == decoded[:, 9:41]).all()
  assert min(outcomes.values()) > 30, outcomes


def test_a_damaged_clip_stops_or_is_skipped_as_without_tensorflow(tf, folder):
  """The second shard of the set is truncated."""
  path = next(folder.glob("*00001-of-00002"))
  whole = path.read_bytes()
  try:
    path.write_bytes(whole[: len(whole) // 2])
    source = open_set(folder, damaged="skip")
    lines = []
    batches = TensorFlowBatches(source, 2, 1, seed=3, report=lines.append)
    expected = Batches(open_set(folder, damaged="skip"), 2, 1, seed=3)
    for iteration in range(8):
      assert same(batches(iteration), expected(iteration))
    assert 0 < len(lines) < 8 and "was read without tensorflow" in lines[0]
    source._skip = False
    with pytest.raises(UserError, match=r"00001-of-00002: clip \d+ .* is damaged"):
      for iteration in range(8):
        TensorFlowBatches(source, 2, 1, seed=3)(iteration)
  finally:
    path.write_bytes(whole)


def config_of(**changes):
  return types.SimpleNamespace(**({"reader": "tensorflow", "workers": 2} | changes))


def test_the_reader_is_chosen_by_the_configuration(tf, folder):
  source = open_set(folder)
  build = lambda config, source: build_batches(config, source, batch_size=4, steps=1, seed=0)
  assert type(build(config_of(), source)) is TensorFlowBatches
  assert type(build(config_of(reader="python"), source)) is Batches
  assert type(build(config_of(), MovingShapes(8, 4, 8, 8, 0))) is Batches
  with pytest.raises(
    UserError, match=r"unknown data\.reader 'grain', known are: python, tensorflow"
  ):
    build(config_of(reader="grain"), source)


def test_without_tensorflow_one_line_says_what_to_install(monkeypatch, tmp_path, write_prepared):
  folder = write_prepared(tmp_path, [np.zeros((6, 16, 16, 3), np.uint8)] * 2)
  monkeypatch.setitem(sys.modules, "tensorflow", None)
  tensorflow_pipeline.import_tensorflow.cache_clear()
  try:
    with pytest.raises(UserError, match=r"needs tensorflow: pip install -r requirements-data\.txt"):
      TensorFlowBatches(open_set(folder), 2, 1, seed=0)
  finally:
    tensorflow_pipeline.import_tensorflow.cache_clear()


@pytest.mark.parametrize("level", [None, "0"])
def test_tensorflow_greets_only_who_wants_to_be_greeted(tf, level):
  program = (
    "import os, sys, jax\n"
    "from vidgan_jax.data.tensorflow_pipeline import import_tensorflow\n"
    "tf = import_tensorflow()\n"
    "list(tf.data.Dataset.range(2).map(lambda x: x + 1).as_numpy_iterator())\n"
    "assert 'TF_ENABLE_ONEDNN_OPTS' not in os.environ\n"
    f"assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == {level or '2'!r}\n"
    "print('still here', file=sys.stderr)\n"
  )
  names = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
  environment = {name: value for name, value in os.environ.items() if name not in names}
  environment |= {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
  done = subprocess.run(
    [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
  )
  assert done.returncode == 0, done.stderr
  if level is None:
    assert done.stderr == "still here\n"
  else:
    assert len(done.stderr.splitlines()) > 3


@pytest.mark.parametrize(("fails", "expected"), [(False, b"mine\n"), (True, None)])
def test_other_messages_than_the_greeting_are_written(monkeypatch, capfd, fails, expected):
  """All messages if the import fails."""
  written = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795774141.028589   19852 port.cc:153] oneDNN custom operations are on.\n"
    b"mine\n"
    b"2024-01-01 10:00:00.123456: E external/xla/cuda_fft.cc:485] Unable to register cuFFT\n"
  )
  monkeypatch.setenv(tensorflow_import.LEVEL, "1")  # as jax sets it
  with contextlib.suppress(ImportError), tensorflow_import.quietly():
    os.write(2, written)
    if fails:
      raise ImportError
  assert capfd.readouterr().err.encode() == (expected or written)


def test_a_process_that_leaves_in_the_middle_ends(tf, folder):
  """A stream that outlived Python would wait for it for ever."""
  program = (
    "import sys; from vidgan_jax.data.sources.prepared import Prepared\n"
    "from vidgan_jax.data.tensorflow_pipeline import TensorFlowBatches\n"
    "source = Prepared([sys.argv[1]], frames=3, resolution=16, num_classes=0)\n"
    "batches = TensorFlowBatches(source, 512, 1, 0, workers=1)\n"
    "stream = (batches(iteration) for iteration in range(9))\n"
    "next(stream)"
  )
  done = subprocess.run([sys.executable, "-c", program, str(folder)], timeout=120)
  assert done.returncode == 0


def test_nothing_else_imports_tensorflow():
  program = (
    "import sys; import vidgan_jax.train, vidgan_jax.training.loop; "
    "import vidgan_jax.data.sources.prepared, vidgan_jax.data.tensorflow_pipeline; "
    "assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, "-c", program], check=True)
