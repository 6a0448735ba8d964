"""Conversion of published weights: recognised, unknown and refused sources."""

import dataclasses
import pathlib
import re
import tarfile
import zlib

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from vidgan_jax.evaluation.features import convert, extractor
from vidgan_jax.evaluation.features.architectures import c3d, i3d, r2plus1d
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.weights import i3d_for_torch, known
from vidgan_jax.weights.readers import tensor_bundle


@pytest.fixture(scope="module")
def deepmind():
  """Random variables with the names and shapes of DeepMind's checkpoints of Kinetics-400."""
  generator = np.random.default_rng(0)
  shapes = extractor.variable_shapes(extractor.NETWORKS["i3d_kinetics400"].build())
  arrays = {}
  for name in known.i3d_checksums()["rgb_scratch"]:
    shape = shapes[i3d.path_of(name)]
    shape = (1,) * (5 - len(shape)) + shape if name.endswith("/w") else shape
    arrays[name] = generator.standard_normal(shape, np.float32)
  return arrays


@pytest.fixture
def checksums(deepmind, monkeypatch):
  """Makes the variables of `deepmind` the published ones of rgb_scratch.

  The fixture is a function that does the same for another checkpoint.
  """
  crcs = {name: known.masked_crc(array.tobytes()) for name, array in deepmind.items()}

  def publish_as(checkpoint):
    table = {name: dict.fromkeys(crcs, 0) for name in known.I3D_CHECKPOINTS}
    monkeypatch.setattr(known, "i3d_checksums", lambda: table | {checkpoint: crcs})

  publish_as("rgb_scratch")
  return publish_as


@pytest.fixture(scope="module")
def module(deepmind, tmp_path_factory):
  """The folder of a TF-Hub module."""
  folder = tmp_path_factory.mktemp("i3d-kinetics-400")
  written = {
    f"RGB/inception_i3d/{n}": a.reshape(1, 1, 1, 1, -1) if "batch_norm" in n else a
    for n, a in deepmind.items()
  }
  written["RGB/inception_i3d/Conv3d_1a_7x7/conv_3d/w/Momentum"] = np.zeros(5, np.float32)
  tensor_bundle.write(folder / "variables" / "variables", written)
  (folder / "saved_model.pb").write_bytes(b"")
  return folder


def convert_quietly(*arguments, **options):
  lines = []
  path = convert.convert(*arguments, report=lines.append, **options)
  return path, "\n".join(lines)


def test_the_tf_hub_module_becomes_the_network_of_fvd(tmp_path, deepmind, module, checksums):
  path, lines = convert_quietly("i3d_kinetics400", module, tmp_path / "sub" / "a.npz")
  assert "verified: 230 of 230 variables have the checksums of rgb_scratch" in lines
  loaded = extractor.load_extractor("i3d_kinetics400", path)
  assert loaded.about["verified"] and loaded.about["origin"]["form"] == "tensorflow"
  variables = flatten_dict(loaded.variables, sep="/")
  assert len(variables) == 230
  for name, array in deepmind.items():
    np.testing.assert_array_equal(variables[i3d.path_of(name)].ravel(), array.ravel())
  with pytest.raises(UserError, match=r"a\.npz is no folder"):  # before the source is read
    convert_quietly("i3d_kinetics400", module, path / "in.npz", overwrite=True)
  with pytest.raises(UserError, match=r"a\.npz exists; nothing is overwritten without --ov"):
    convert_quietly("i3d_kinetics400", module, path)
  before = path.stat().st_mtime_ns
  convert_quietly("i3d_kinetics400", module, path, overwrite=True)
  assert path.stat().st_mtime_ns > before


# {unit in DeepMind's checkpoints: unit in a port to PyTorch}, copied from the code of the ports.
PIERGIAJ = {
  "Branch_0/Conv3d_0a_1x1": "b0",
  "Branch_1/Conv3d_0a_1x1": "b1a",
  "Branch_1/Conv3d_0b_3x3": "b1b",
  "Branch_2/Conv3d_0a_1x1": "b2a",
  "Branch_2/Conv3d_0b_3x3": "b2b",
  "Branch_2/Conv3d_0a_3x3": "b2b",
  "Branch_3/Conv3d_0b_1x1": "b3b",
}
HASSONY = {
  "Branch_0/Conv3d_0a_1x1": "branch_0",
  "Branch_1/Conv3d_0a_1x1": "branch_1.0",
  "Branch_1/Conv3d_0b_3x3": "branch_1.1",
  "Branch_2/Conv3d_0a_1x1": "branch_2.0",
  "Branch_2/Conv3d_0b_3x3": "branch_2.1",
  "Branch_2/Conv3d_0a_3x3": "branch_2.1",
  "Branch_3/Conv3d_0b_1x1": "branch_3.1",
}
LEAVES = {
  "conv_3d/w": "conv3d.weight",
  "conv_3d/b": "conv3d.bias",
  "batch_norm/beta": "{}.bias",
  "batch_norm/moving_mean": "{}.running_mean",
  "batch_norm/moving_variance": "{}.running_var",
}


def state_dict(deepmind, port):
  """The state dict of a port with these variables, with gains of 1 and step counters."""
  state = {}
  for name, array in deepmind.items():
    *unit, kind, leaf = name.split("/")
    if unit[0] == "Logits":
      unit = "logits" if port is PIERGIAJ else "conv3d_0c_1x1"
    else:
      block = unit[0] if port is PIERGIAJ else unit[0].lower()
      unit = ".".join([block, *([port["/".join(unit[1:])]] if unit[1:] else [])])
    norm = "bn" if port is PIERGIAJ else "batch3d"
    array = array.transpose(4, 3, 0, 1, 2) if leaf == "w" else array
    state[f"{unit}.{LEAVES[f'{kind}/{leaf}'].format(norm)}"] = array
    if leaf == "beta":
      state[f"{unit}.{norm}.weight"] = np.ones_like(array)
      state[f"{unit}.{norm}.num_batches_tracked"] = np.array(0)
  return state


@pytest.mark.parametrize(
  ("port", "legacy", "prefix"), [(PIERGIAJ, False, ""), (HASSONY, True, "module.")]
)
def test_ports_to_pytorch_give_the_same_weights(
  tmp_path, deepmind, checksums, write_torch, port, legacy, prefix
):
  state = state_dict(deepmind, port)
  tensors = {f"{prefix}{name}": write_torch.Tensor.of(array) for name, array in state.items()}
  source = write_torch(tmp_path / "rgb.pt", tensors, legacy=legacy)
  path, lines = convert_quietly("i3d_kinetics400", source, tmp_path / "a.npz")
  assert "230 of 230" in lines
  loaded = flatten_dict(extractor.load_extractor("i3d_kinetics400", path).variables, sep="/")
  expected = flatten_dict(i3d.from_tensorflow(deepmind), sep="/")
  assert extractor.weights_hash(loaded) == extractor.weights_hash(expected)


def script_of(write_torch, arrays):
  """A program whose attributes say nothing about its numbers."""
  tensors = [write_torch.Tensor.of(np.ascontiguousarray(array)) for array in arrays]
  return write_torch.Script(net=write_torch.Script(numbers=tensors[1:]), first=tensors[0])


@pytest.mark.parametrize("axes", [(4, 3, 0, 1, 2), (0, 1, 2, 3, 4)])  # PyTorch's, TensorFlow's
def test_torchscript_is_recognised_by_its_numbers(tmp_path, deepmind, checksums, write_torch, axes):
  arrays = [a.transpose(axes) if a.ndim == 5 else a for a in deepmind.values()]
  extra = np.array(7, np.int64), np.float32(0.5).reshape(())
  source = write_torch.script(
    tmp_path / "i3d_torchscript.pt",
    script_of(write_torch, [*arrays[9:], *extra]),
    map(write_torch.Tensor.of, arrays[:9]),
  )
  path, lines = convert_quietly("i3d_kinetics400", source, tmp_path / "a.npz")
  assert "230 of 230 variables have the checksums of rgb_scratch" in lines
  loaded = flatten_dict(extractor.load_extractor("i3d_kinetics400", path).variables, sep="/")
  expected = flatten_dict(i3d.from_tensorflow(deepmind), sep="/")
  assert extractor.weights_hash(loaded) == extractor.weights_hash(expected)
  with pytest.raises(UserError, match="is DeepMind's rgb_scratch"):
    convert_quietly("i3d_kinetics600", source, tmp_path / "b.npz")


def test_torchscript_with_folded_batch_norm_is_refused(tmp_path, deepmind, checksums, write_torch):
  """Freezing multiplies the kernels, and leaves one vector per layer."""
  folded = [1.5 * a.transpose(4, 3, 0, 1, 2) for a in deepmind.values() if a.ndim == 5]
  source = write_torch.script(tmp_path / "a.pt", script_of(write_torch, folded))
  for options in ({}, {"allow_unknown": True}):
    with pytest.raises(UserError, match=r"cannot be recognised: none of its \d+ arrays.*folded"):
      convert_quietly("i3d_kinetics400", source, tmp_path / "a.npz", **options)
  kept = [*folded[1:], deepmind["Conv3d_1a_7x7/batch_norm/beta"]]
  source = write_torch.script(tmp_path / "b.pt", script_of(write_torch, kept))
  with pytest.raises(UserError, match="recognised: 1 of 230 variables have the checksums of rgb"):
    convert_quietly("i3d_kinetics400", source, tmp_path / "a.npz")
  assert not (tmp_path / "a.npz").exists()


def test_rgb_imagenet_is_converted_only_under_its_own_name(tmp_path, module, checksums):
  checksums("rgb_imagenet")
  with pytest.raises(UserError) as error:
    convert_quietly("i3d_kinetics400", module, tmp_path / "a.npz", allow_unknown=True)
  line = str(error.value)
  assert "is DeepMind's rgb_imagenet" in line and "--convert=i3d_kinetics400_imagenet" in line
  assert "TF-Hub's deepmind/i3d-kinetics-400/1" in line
  assert not any(tmp_path.iterdir())
  path, _ = convert_quietly("i3d_kinetics400_imagenet", module, tmp_path / "a.npz")
  with pytest.raises(UserError, match="holds i3d_kinetics400_imagenet"):
    extractor.load_extractor("i3d_kinetics400", path)
  with pytest.raises(
    UserError, match="already converted: it has weights of i3d_kinetics400_imagenet"
  ):
    convert_quietly("i3d_kinetics400", path, tmp_path / "b.npz")
  words = r"rgb_imagenet/model\.ckpt.*; c3d_ucf101 is converted from Chainer"
  with pytest.raises(UserError, match=words):
    convert_quietly("c3d_ucf101", module, tmp_path / "b.npz")


def test_unknown_weights_are_converted_only_with_a_flag_and_marked(tmp_path, module):
  with pytest.raises(UserError, match=r"no variable has the checksum of a .*--allow_unknown"):
    convert_quietly("i3d_kinetics400", module, tmp_path / "a.npz")
  assert not any(tmp_path.iterdir())
  path, lines = convert_quietly("i3d_kinetics400", module, tmp_path / "a.npz", allow_unknown=True)
  assert "is unknown" in lines and "verified" not in lines
  about = extractor.read_about(path)
  assert about["verified"] is None and "no variable" in about["unknown"]


def test_other_sizes_and_damage_are_refused(tmp_path, deepmind, checksums, monkeypatch):
  bundle = tensor_bundle.write(tmp_path / "model.ckpt", deepmind)
  with pytest.raises(UserError, match="not I3D trained on Kinetics-600"):
    convert_quietly("i3d_kinetics600", bundle, tmp_path / "a.npz", allow_unknown=True)
  with monkeypatch.context() as patch:
    patch.setattr(known, "i3d_checksums", lambda: {"rgb_scratch": {"a": 0}})
    with pytest.raises(UserError, match="600 classes"):
      convert_quietly("i3d_kinetics600", bundle, tmp_path / "a.npz", allow_unknown=True)
  data = tmp_path / "model.ckpt.data-00000-of-00001"
  with open(data, "r+b") as file:
    file.seek(1000)
    byte = file.read(1)[0] ^ 1
    file.seek(1000)
    file.write(bytes([byte]))
  for source in (data, tmp_path / "model.ckpt"):
    with pytest.raises(UserError, match="checksum differs"):
      convert_quietly("i3d_kinetics400", source, tmp_path / "a.npz", allow_unknown=True)
  assert not (tmp_path / "a.npz").exists()


def test_gains_of_batch_norm_are_folded_into_the_convolution():
  generator = np.random.default_rng(0)
  shapes = {"conv3d.weight": (4, 3, 1, 2, 2), **{f"bn.{n}": (4,) for n in ("weight", "bias")}}
  shapes |= {f"bn.{n}": (4,) for n in ("running_mean", "running_var")}
  state = {n: generator.uniform(0.5, 2, s).astype(np.float32) for n, s in shapes.items()}
  converted = i3d_for_torch.to_deepmind({f"Conv3d_2b_1x1.{n}": a for n, a in state.items()})
  x = generator.standard_normal((1, 2, 2, 3))
  product = lambda w: np.einsum("thwi,thwio->o", x, w)
  norm = lambda y, mean, var, bias, gain: gain * (y - mean) / np.sqrt(var + 1e-3) + bias
  original = norm(
    product(state["conv3d.weight"].transpose(2, 3, 4, 1, 0)),
    *(state[f"bn.{n}"] for n in ("running_mean", "running_var", "bias", "weight")),
  )
  part = lambda name: converted[f"Conv3d_2b_1x1/{name}"]
  bn = lambda name: part(f"batch_norm/{name}")
  folded = norm(product(part("conv_3d/w")), bn("moving_mean"), bn("moving_variance"), bn("beta"), 1)
  np.testing.assert_allclose(folded, original, rtol=1e-5)


@pytest.mark.parametrize(
  "name", ["Mixed_3b.b0.conv3d.bias", "Mixed_6a.b0.bn.bias", "Mixed_3b.b4.bn.bias", "fc.weight"]
)
def test_unknown_names_of_i3d_are_refused(name):
  with pytest.raises(UserError, match=re.escape(name)):
    i3d_for_torch.to_deepmind({name: np.zeros(3, np.float32)})


# --- C3D and R(2+1)D.


@pytest.fixture(scope="module")
def chainer(tmp_path_factory):
  """Chainer's files of C3D (with narrow dense layers) and the mean clip: (folder, arrays, mean)."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(c3d, "_DENSE", {"fc6": 96, "fc7": 64, "fc8": 101})
    yield _write_chainer(tmp_path_factory)


def _write_chainer(tmp_path_factory):
  folder = tmp_path_factory.mktemp("chainer")
  shapes = extractor.variable_shapes(extractor.NETWORKS["c3d_ucf101"].build())
  arrays = {}
  for path, shape in shapes.items():
    _, layer, kind = path.split("/")
    back = {5: (4, 3, 0, 1, 2), 2: (1, 0), 1: (0,)}[len(shape)]
    array = np.zeros([shape[axis] for axis in back], np.float32)
    # Few different numbers keep the file small; all axes can still be distinguished.
    array[(slice(0, 7), *[slice(0, 3)] * (array.ndim - 1))] = zlib.crc32(path.encode()) % 97
    sparse = array.reshape(-1)[:: max(array.size // 1001, 1)]
    sparse += np.arange(sparse.size)
    arrays[f"{layer}/{'W' if kind == 'kernel' else 'b'}"] = array
  np.savez(folder / "conv3d_deepnetA_ucf.npz", **arrays)
  mean = np.random.default_rng(0).uniform(0, 255, (1, 3, 16, 128, 171)).astype(np.float32)
  np.savez(folder / "mean2.npz", mean=mean)
  return folder, arrays, mean


def test_c3d_and_mean_clip_of_chainer(tmp_path, chainer):
  folder, arrays, mean = chainer
  source = folder / "conv3d_deepnetA_ucf.npz"
  path, lines = convert_quietly(
    "c3d_ucf101", source, tmp_path / "a.npz", folder / "mean2.npz", allow_unknown=True
  )
  assert "unknown" in lines
  loaded = extractor.load_extractor("c3d_ucf101", path)
  for name, array in arrays.items():
    layer, kind = name.split("/")
    converted = loaded.variables["params"][layer]["kernel" if kind == "W" else "bias"]
    transposed = np.moveaxis(array, [0, 1], [-1, -2]) if array.ndim > 1 else array
    np.testing.assert_array_equal(converted, transposed)
  # The window of the mean in TGAN's code, [channel, frame, row, column], channels BGR.
  clip = loaded.constants["mean"]
  assert clip.shape == (16, 128, 171, 3)
  reference = mean.reshape(3, 1, 16, 128, 171)[:, 0, :, 8:120, 29:141]
  np.testing.assert_array_equal(clip[:, 8:120, 29:141], reference.transpose(1, 2, 3, 0))
  assert loaded.about["mean"]["sha256"] == known.digests(folder / "mean2.npz").sha256
  assert loaded.about["parameters"] == sum(array.size for array in arrays.values())


@pytest.mark.parametrize(
  ("arrays", "message"),
  [
    ({"mean": np.zeros((16, 128, 171, 3))}, r"expected \[3, 16, 128, 171\]"),
    ({"mean": np.zeros((3, 16, 128, 128))}, "expected"),
    ({"mean": np.full((3, 16, 128, 171), 300.0)}, r"must be in 0\.\.255"),
    ({"std": np.zeros(3)}, "no array 'mean'"),
  ],
)
def test_other_mean_clips_are_refused(tmp_path, arrays, message):
  np.savez(tmp_path / "mean.npz", **arrays)
  with pytest.raises(UserError, match=message):
    convert.read_mean(tmp_path / "mean.npz")


@pytest.mark.parametrize("shape", [(3, 1, 16, 128, 171), (3 * 16 * 128 * 171,)])
def test_a_mean_clip_may_have_another_shape(tmp_path, shape):
  mean = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
  np.savez(tmp_path / "mean.npz", mean=mean)
  expected = mean.reshape(3, 16, 128, 171)
  clip = convert.read_mean(tmp_path / "mean.npz")
  np.testing.assert_array_equal(clip.transpose(3, 0, 1, 2), expected)


def test_unknown_arrays_of_c3d_are_refused(tmp_path):
  np.savez(tmp_path / "a.npz", **{"conv1a/W": np.zeros(3), "fc9/b": np.zeros(3)})
  with pytest.raises(UserError, match="conv1a/W"):
    convert_quietly("c3d_ucf101", tmp_path / "a.npz", tmp_path / "b.npz", allow_unknown=True)
  np.savez(tmp_path / "c.npz", **{"fc9/b": np.zeros(3)})
  with pytest.raises(UserError, match="'fc9/b' is not a variable of C3D"):
    convert_quietly("c3d_ucf101", tmp_path / "c.npz", tmp_path / "b.npz", allow_unknown=True)


def test_r2plus1d_of_torchvision(tmp_path, write_torch, torchvision_shapes, monkeypatch):
  generator = np.random.default_rng(0)
  state = {n: generator.standard_normal(s, np.float32) for n, s in torchvision_shapes.items()}
  tensors = {name: write_torch.Tensor.of(array) for name, array in state.items()}
  tensors["stem.1.num_batches_tracked"] = write_torch.Tensor.of(np.array(3))
  source = write_torch(tmp_path / "r2plus1d_18-91a641e6.pth", tensors, legacy=True)
  name, output = "r2plus1d_kinetics400", tmp_path / "a.npz"
  with pytest.raises(UserError, match="cannot be verified as"):
    convert_quietly(name, source, output)
  published = dataclasses.replace(known.FILES[-1], sha256=known.digests(source).sha256)
  monkeypatch.setattr(known, "FILES", (*known.FILES[:-1], published))
  path, lines = convert_quietly(name, source, output)
  assert "verified: torchvision's r2plus1d_18" in lines
  variables = extractor.load_extractor(name, path).variables
  kernel = variables["params"]["layer2_0"]["conv1"]["time"]["kernel"]
  expected = state["layer2.0.conv1.0.3.weight"][:, :, :, 0, 0].transpose(2, 1, 0)
  np.testing.assert_array_equal(kernel, expected)
  variance = variables["batch_stats"]["layer3_0"]["downsample"]["var"]
  np.testing.assert_array_equal(variance, state["layer3.0.downsample.1.running_var"])
  assert len(flatten_dict(variables, sep="/")) == len(r2plus1d.from_torchvision())
  # A conversion to another network is refused; the message names the network of the source.
  with pytest.raises(UserError, match=r"is torchvision's r2plus1d_18.*, not I3D"):
    convert_quietly("i3d_kinetics400", source, tmp_path / "b.npz", allow_unknown=True)


# --- Refused sources.


def test_invalid_requests_are_refused(tmp_path, write_torch, monkeypatch):
  run = lambda network, source, **options: convert_quietly(network, source, **options)
  small = write_torch(tmp_path / "a.pt", {"fc.weight": write_torch.Tensor.of(np.zeros(3))})
  np.savez(tmp_path / "a.npz", a=np.zeros(2))
  monkeypatch.setenv("VIDGAN_JAX_WEIGHTS", str(tmp_path / "weights"))
  for message, network, source, options in [
    ("unknown network", "i3d", small, {}),
    ("are part of the package", "moving_shapes_classifier", small, {}),
    ("no such file or folder", "i3d_kinetics400", tmp_path / "b", {}),
    ("weights files must end with .npz", "i3d_kinetics400", small, {"output": tmp_path / "x.pt"}),
    ("has no mean clip", "i3d_kinetics400", small, {"mean": tmp_path / "a.npz"}),
    ("contains no *.index", "i3d_kinetics400", tmp_path, {}),
    ("is a folder; r2plus1d_kinetics400 is converted from", "r2plus1d_kinetics400", tmp_path, {}),
    ("Chainer's .npz", "c3d_ucf101", small, {}),
    ("torchvision's .pth", "r2plus1d_kinetics400", tmp_path / "a.npz", {}),
    ("TensorFlow checkpoints or PyTorch", "i3d_kinetics400", tmp_path / "a.npz", {}),
    ("'fc.weight' is not a variable of I3D", "i3d_kinetics400", small, {}),
    ("'fc.weight' has shape [3] instead of [512, 400]", "r2plus1d_kinetics400", small, {}),
  ]:
    with pytest.raises(UserError, match=re.escape(message)):
      run(network, source, **options)
  assert not (tmp_path / "weights").exists()


def test_an_archive_must_be_unpacked_first(tmp_path, module):
  for name, mode in (("i3d.tar.gz", "w:gz"), ("i3d.tar", "w")):
    with tarfile.open(tmp_path / name, mode) as archive:
      archive.add(module, "i3d")
    with pytest.raises(UserError, match=r"is an archive: unpack it into a new folder \(mkdir DIR"):
      convert_quietly("i3d_kinetics400", tmp_path / name, tmp_path / "a.npz")


def test_known_files_without_weights_are_refused_by_name(tmp_path, monkeypatch):
  (tmp_path / "clip.npy").write_bytes(b"clip")
  sha1 = known.digests(tmp_path / "clip.npy").git_sha1
  file = known.KnownFile("the cricket clip", git_sha1=sha1, note="a clip, no weights")
  monkeypatch.setattr(known, "FILES", (file,))
  with pytest.raises(UserError, match="is the cricket clip: a clip, no weights"):
    convert_quietly("i3d_kinetics400", pathlib.Path(tmp_path / "clip.npy"), tmp_path / "a.npz")
