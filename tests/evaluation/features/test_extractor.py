"""Networks with weights, and the files of their weights."""

import hashlib
import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from vidgan_jax.data.sources import moving_shapes
from vidgan_jax.evaluation.features import extractor
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import npz


def test_the_names_of_the_classes_are_known_of_the_built_in_classifier():
  assert extractor.load_extractor(extractor.PACKAGED).class_names == moving_shapes.CLASS_NAMES


class Tiny(nn.Module):
  @nn.compact
  def __call__(self, clips):
    x = clips.mean((1, 2, 3))
    mean = self.variable("batch_stats", "mean", lambda: np.zeros(3, np.float32))
    return {"logits": nn.Dense(2, name="fc")(x - mean.value)}


@pytest.fixture
def tiny(monkeypatch):
  """The name of a small network that is registered for the test."""
  parts = extractor.Parts(Tiny(), {"logits": 2}, 4, (8, 8), {"mean": (2, 3)})
  network = extractor.Network("a tiny network", "a tiny file", lambda: parts, "tiny 1")
  monkeypatch.setitem(extractor.NETWORKS, "tiny", network)
  return "tiny"


@pytest.fixture
def arrays():
  generator = np.random.default_rng(0)
  shapes = {"params/fc/kernel": (3, 2), "params/fc/bias": (2,), "batch_stats/mean": (3,)}
  return {k: generator.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


def test_saved_weights_can_be_loaded(tmp_path, tiny, arrays):
  mean = np.ones((2, 3), np.float32)
  digest = extractor.save(tmp_path / "a.npz", tiny, arrays, {"origin": "here"}, {"mean": mean})
  loaded = extractor.load_extractor(tiny, tmp_path / "a.npz")
  expected = hashlib.sha256()
  for path in ("batch_stats/mean", "params/fc/bias", "params/fc/kernel"):
    expected.update(path.encode() + arrays[path].astype("<f4").tobytes())
  assert loaded.weights_hash == digest == expected.hexdigest()
  assert flatten_dict(loaded.variables, sep="/").keys() == arrays.keys()
  clips = np.random.default_rng(1).standard_normal((5, 4, 8, 8, 3)).astype(np.float32)
  logits = jax.jit(loaded.apply)(loaded.variables, clips)["logits"]
  x = clips.mean((1, 2, 3)) - arrays["batch_stats/mean"]
  np.testing.assert_allclose(
    logits, x @ arrays["params/fc/kernel"] + arrays["params/fc/bias"], rtol=1e-5
  )
  assert (loaded.outputs, loaded.min_frames, loaded.input_size) == ({"logits": 2}, 4, (8, 8))
  np.testing.assert_array_equal(loaded.constants["mean"], mean)
  assert (loaded.about["origin"], loaded.about["parameters"]) == ("here", 8)
  assert loaded.code == "tiny 1"


def test_constants_may_be_missing(tmp_path, tiny, arrays):
  extractor.save(tmp_path / "a.npz", tiny, arrays, {})
  assert extractor.load_extractor(tiny, tmp_path / "a.npz").constants == {}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"params/fc/kernel": np.zeros((2, 3), np.float32)}, "expected float32"),
    ({"params/fc/kernel": np.zeros((3, 2))}, "is float64"),
    ({"params/fc/bias": np.array([0, np.nan], np.float32)}, "not finite"),
    ({"params/fc/other": np.zeros(2, np.float32)}, "belongs to no layer"),
    ({"params/fc/bias": None}, "is missing"),
  ],
)
def test_only_the_arrays_of_the_network_are_saved(tmp_path, tiny, arrays, change, message):
  arrays = {k: a for k, a in {**arrays, **change}.items() if a is not None}
  with pytest.raises(UserError, match=message):
    extractor.save(tmp_path / "a.npz", tiny, arrays, {})
  assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"params/fc/kernel": np.zeros((3, 2), np.float32)}, "damaged or altered"),
    ({"params/fc/kernel": np.zeros((3, 3), np.float32)}, "expected"),
    ({"params/fc/kernel": np.zeros((3, 2))}, "float64"),
    ({"params/fc/other": np.zeros(2, np.float32)}, "is not expected"),
    ({"params/fc/bias": None}, "params/fc/bias is missing"),
    ({"__about__": None}, "not a weights file"),
    ({"__about__": np.frombuffer(b"[[[", np.uint8)}, "not a weights file"),
    ({"__about__": np.zeros(10**6, np.uint8)}, "the limit is"),
  ],
)
def test_altered_files_are_refused(tmp_path, tiny, arrays, change, message):
  extractor.save(tmp_path / "a.npz", tiny, arrays, {})
  stored = npz.read(tmp_path / "a.npz") | change
  npz.write(tmp_path / "a.npz", {k: a for k, a in stored.items() if a is not None})
  with pytest.raises(UserError, match=message):
    extractor.load_extractor(tiny, tmp_path / "a.npz")


def about(**what):
  return np.frombuffer(json.dumps({"format": 1, **what}).encode(), np.uint8)


def test_weights_of_another_network_are_refused_by_name(tmp_path):
  path = tmp_path / "i3d_kinetics400.npz"
  npz.write(path, {"__about__": about(network="i3d_kinetics400_imagenet")})
  with pytest.raises(
    UserError, match=r"holds i3d_kinetics400_imagenet .*not comparable with others"
  ):
    extractor.load_extractor("i3d_kinetics400", path)
  npz.write(path, {"__about__": about(network="x\x1b[31m")})
  with pytest.raises(UserError, match="not i3d_kinetics400") as error:
    extractor.load_extractor("i3d_kinetics400", path)
  assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("name", extractor.NETWORKS)
def test_a_missing_file_is_reported_with_the_command_that_makes_it(name, tmp_path, monkeypatch):
  monkeypatch.setenv("VIDGAN_JAX_WEIGHTS", str(tmp_path))
  with pytest.raises(UserError) as error:
    extractor.load_extractor(name)
  line = str(error.value)
  assert f"{tmp_path}/{name}.npz is missing" in line and "\n" not in line
  assert f"--convert={name} --source=" in line and extractor.NETWORKS[name].weights_source in line
  assert ("--mean=mean2.npz --allow_unknown" in line) == (name == "c3d_ucf101")


def test_the_default_folder_is_in_the_cache_of_the_user(monkeypatch):
  monkeypatch.delenv("VIDGAN_JAX_WEIGHTS", raising=False)
  path = extractor.default_path("c3d_ucf101")
  assert path.parts[-4:] == (".cache", "vidgan_jax", "weights", "c3d_ucf101.npz")
  assert path.is_absolute()


def test_an_unknown_network_is_refused_with_the_list_of_networks():
  with pytest.raises(UserError, match=r"unknown network 'i3d'; known: .*moving_shapes_classifier"):
    extractor.load_extractor("i3d")


EXPECTED = {
  "i3d_kinetics400": ({"logits": 400, "avgpool": 1024}, 9, (224, 224), 230),
  "i3d_kinetics400_imagenet": ({"logits": 400, "avgpool": 1024}, 9, (224, 224), 230),
  "i3d_kinetics600": ({"logits": 600, "avgpool": 1024}, 9, (224, 224), 230),
  "c3d_ucf101": ({"prob": 101, "logits": 101, "fc7": 4096}, 16, (112, 112), 22),
  "r2plus1d_kinetics400": ({"logits": 400, "avgpool": 512}, 1, None, 187),
}


def products(jaxpr):
  """All convolutions and matrix products of a program, including inner programs."""
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("conv_general_dilated", "dot_general"):
      yield equation
    for value in equation.params.values():
      inner = getattr(value, "jaxpr", value)
      if hasattr(inner, "eqns"):
        yield from products(inner)


@pytest.mark.parametrize("name", extractor.NETWORKS)
def test_networks_have_the_declared_outputs_and_the_highest_precision(name):
  parts = extractor.NETWORKS[name].build()
  outputs, frames, size, count = EXPECTED[name]
  assert (dict(parts.outputs), parts.min_frames, parts.input_size) == (outputs, frames, size)
  shapes = extractor.variable_shapes(parts)
  assert len(shapes) == count
  variables = unflatten_dict(
    {k: jax.ShapeDtypeStruct(s, np.float32) for k, s in shapes.items()}, sep="/"
  )
  clips = jax.ShapeDtypeStruct((2, frames, *(size or (16, 24)), 3), np.float32)
  program, results = jax.make_jaxpr(parts.module.apply, return_shape=True)(variables, clips)
  assert {k: v.shape for k, v in results.items()} == {k: (2, d) for k, d in outputs.items()}
  precisions = [equation.params["precision"] for equation in products(program.jaxpr)]
  assert len(precisions) > 10
  highest = jax.lax.Precision.HIGHEST
  assert all(p in (highest, (highest, highest)) for p in precisions)


def test_the_modules_import_no_large_library():
  code = (
    "import sys; from vidgan_jax.evaluation.features import convert, extractor; "
    "print([m for m in ('torch', 'tensorflow', 'matplotlib', 'tensorflow_hub') "
    "if m in sys.modules])"
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert done.stdout.strip() == "[]"
