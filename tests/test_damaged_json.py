"""JSON of wrong types, damaged, or cut short, in every door: one line, never a traceback.

For each file of a tiny run: each value replaced by one of another type or left out, random bits
flipped, and the file cut short. What is called is what the doors call.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import types

import jax
import numpy as np
import pytest

from vidgan_jax.analysis import cli
from vidgan_jax.analysis.curvature import plots
from vidgan_jax.analysis.curvature import records as curvature
from vidgan_jax.analysis.samples import analyses
from vidgan_jax.data.build import build_source
from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import shards, verify, workspace
from vidgan_jax.data.sources.prepared import Prepared
from vidgan_jax.evaluation.features import extractor, references
from vidgan_jax.evaluation.report import analyses as report_analyses
from vidgan_jax.evaluation.report import page as report
from vidgan_jax.evaluation.report import results, writer
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.models import registry, switches
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz
from vidgan_jax.sampling import export, export_request
from vidgan_jax.sampling import run as runs
from vidgan_jax.training import optimizers, workdir
from vidgan_jax.training import state as states
from vidgan_jax.training.starts import branches, records, weights

OTHERS = ("null", '"x"', "-3", "2.5", "true", "[]", "[1]", "{}", "1e400", str(2**70), "NaN")


def leaves(value, path=()):
  """Paths to all values, those within others too: tuples of names and numbers."""
  yield path
  if isinstance(value, dict | list):
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
      yield from leaves(item, (*path, name))


def changed(content, path, text):
  """JSON of `content` with another value at a path, or without it where `text` is None."""
  if not path:
    return text or ""
  content = json.loads(json.dumps(content))
  *parents, last = path
  target = content
  for name in parents:
    target = target[name]
  if text is None:
    del target[last]
    return json.dumps(content)
  target[last] = "@@@"
  return json.dumps(content).replace('"@@@"', text)


ODD = (b"[]", b"", b"\xff\xfe", b"[" * 100_000, b"null", b'{"a": 1, "a": 2}')


def damaged(text, seed=0, each=2, bits=25, cuts=10, odd=None):
  """Yields damaged forms of a JSON text, as bytes: `each` of every value's replacements."""
  generator = np.random.default_rng(seed)
  content = json.loads(text)
  for path in leaves(content):
    for number in generator.choice(len(OTHERS) + 1, min(each, len(OTHERS) + 1), replace=False):
      yield changed(content, path, (*OTHERS, None)[number]).encode()
  whole = text.encode()
  for bit in generator.integers(8 * len(whole), size=bits).tolist():
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    yield bytes(flipped)
  yield from (whole[:cut] for cut in generator.integers(len(whole), size=cuts).tolist())
  yield from ODD[:odd]


def survives(path, read, **options):
  """Calls `read` on each damaged form of a file; returns {"refused", "read"}: how often."""
  path = pathlib.Path(path)
  text, seen = path.read_text(encoding="utf-8"), {"refused": 0, "read": 0}
  try:
    for content in damaged(text, **options):
      path.write_bytes(content)
      try:
        read()
        seen["read"] += 1
      except UserError as error:
        assert len(str(error).splitlines()) == 1
        seen["refused"] += 1
  finally:
    path.write_text(text, encoding="utf-8")
  return seen


@pytest.fixture(scope="module")
def run(lean_config, tmp_path_factory):
  """A run's folder with a checkpoint at iteration 1, and its config and data."""
  workdir = tmp_path_factory.mktemp("runs") / "tiny"
  config = lean_config(**{"model.num_classes": 2})
  gan = registry.build(config)
  transforms = optimizers.build(config, gan.discriminators)
  state = jax.jit(lambda: states.create(gan, transforms, 0))()
  with Checkpoints(workdir / states.CHECKPOINTS) as checkpoints:
    checkpoints.save(1, state.replace(step=jax.numpy.int32(1)), {"seconds": 0.0})
  source = build_source(config.data, frames=4, resolution=8, num_classes=2)
  (workdir / states.CONFIG).write_text(configuration.to_json(config))
  (workdir / states.DATA).write_text(json.dumps(source.description(), indent=2))
  return types.SimpleNamespace(workdir=workdir, config=config, source=source)


@pytest.fixture
def no_restore(monkeypatch):
  """Checkpoints that are never read: most of the time goes there."""
  monkeypatch.setattr(Checkpoints, "restore", lambda *arguments, **options: None)


def test_configs_of_runs(run, no_restore):
  def read():
    with contextlib.suppress(UserError):
      runs.load(run.workdir)
    workdir.create(run.workdir, run.config)

  seen = survives(run.workdir / states.CONFIG, read, each=1)
  assert seen["refused"] > 100


def test_descriptions_of_data(run, no_restore):
  def read():
    states.check_data(run.workdir, run.source.description())
    runs.load(run.workdir)

  survives(run.workdir / states.DATA, read, each=20)


def test_records_of_other_weights(run):
  path = run.workdir / states.INIT
  record = {"source": "/runs/a", "kind": "run", "step": 2, "fingerprint": "0a", "taken": ["a"]}
  path.write_text(json.dumps(record), encoding="utf-8")
  begin = lambda: weights.for_training(None, run.workdir, run.config, None, (), None, None, str)
  assert survives(path, begin, each=12)["refused"] > 40
  path.unlink()


def test_records_of_branches(run):
  branch = records.Branch(1, 0, 0, 4, True, 1, "dark", {"seed": [0, 7]})
  path = run.workdir / records.FOLDER / "1" / records.RECORD
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(dataclasses.asdict(branch)), encoding="utf-8")

  def read():
    family = branches.Family(run.workdir)
    switches.check(family.config(family.following(0), run.config))

  assert survives(path, read, each=12)["refused"] > 60
  shutil.rmtree(run.workdir / records.FOLDER)


def test_indices_of_exported_models(run, tmp_path, monkeypatch):
  pytest.importorskip("safetensors")
  monkeypatch.setattr(export, "_write_grid", lambda *arguments: False)
  folder = tmp_path / "exported"
  request = export_request.Request(str(run.workdir), str(folder), standing_passes=0)
  export.fulfil(request, report=lambda line: None)
  seen = survives(folder / states.EXPORT, lambda: runs.load(folder), each=12)
  assert seen["refused"] > 100
  # What an index may lack or say otherwise: the version, and the passes of statistics it lacks.
  assert seen["read"] < 20


def test_data_of_fewer_classes_than_the_model_has(run):
  path = run.workdir / states.DATA
  text = path.read_text()
  path.write_text(json.dumps({**json.loads(text), "class_names": ["one"]}))
  with pytest.raises(UserError, match=r"data\.json names 1 classes, the model has 2"):
    runs.load(run.workdir)
  path.write_text(text)


def test_files_within_checkpoints(run):
  """Orbax' own and ours."""
  lines = []
  for path in sorted((run.workdir / states.CHECKPOINTS).rglob("*")):
    if not path.is_file() or path.stat().st_size > 20_000:
      continue
    try:
      json.loads(path.read_bytes())
    except ValueError:
      continue
    read = lambda: states.load(run.workdir, report=lines.append)
    survives(path, read, each=0, bits=1, cuts=0, odd=1)
  states.load(run.workdir)


def test_timers_of_checkpoints(run, tmp_path):
  state = states.load(run.workdir)[2]
  like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), state)
  for number, timers in enumerate((None, [], {"seconds": None}, {"seconds": 1e400})):
    folder = tmp_path / str(number)
    with Checkpoints(folder) as checkpoints:
      checkpoints.save(1, state, timers)
    with pytest.raises(UserError, match=r"all checkpoints in .* are damaged"):
      Checkpoints(folder, report=lambda line: None).restore(like)


def record(metric="fid", value=2.0, step=4):
  fields = {"metric": metric, "weights": "a", "checkpoint": "clips ab", "trial": False}
  return {
    "step": step,
    "metric": metric,
    "network": "stand_in",
    "output": "features",
    "value": value,
    "values": [value],
    "std": 0.5,
    "interval": [value - 1, value + 1],
    "level": 0.95,
    "count_real": 30,
    "count_generated": 30,
    "truncation": 1.0,
    "ema": True,
    "floor": {"value": 0.5, "interval": [0.1, 0.9], "what": "halves"},
    "fingerprint": "abc",
    "number": f"{metric} {step}",
    "fields": fields,
    "warnings": ["beware"],
  }


def test_results(tmp_path):
  heading = {
    "format": 1,
    "created": "now",
    "versions": {"jax": "1"},
    "run": {"workdir": str(tmp_path), "name": "a_run"},
    "protocol": {"name": "tiny", "paper": [{"metric": "fid", "value": "1", "source": "there"}]},
    "reference": {"description": "clips", "hash": "ab", "count": 30},
  }
  of_class = {"step": 4, "truncation": 1.0, "metric": "fid", "class": 1, "name": "one"}
  of_class |= {"value": 3.0, "fingerprint": "abc"}
  controls = [{**record(), "control": "frozen", "against": "others"}]
  content = results.merge(None, heading, [record(), record(step=8)], [of_class], controls)
  path, _ = results.write(tmp_path, content)

  class Real:
    count = 2

    def __call__(self, begin, end):
      return clips[begin:end], np.zeros(end - begin, int)

  clips = np.random.default_rng(0).integers(256, size=(2, 2, 8, 8, 3), dtype=np.uint8)
  results_writer = writer.ResultsWriter(tmp_path, Real(), report=lambda line: None)
  scores = types.SimpleNamespace(records=[record(step=12)], per_class=[of_class])

  def read():
    before = path.read_bytes()
    merged = results.merge(results.existing(path, heading), heading, scores.records, [of_class])
    results.latex(merged)
    report.write(merged, tmp_path / "report.html")
    results.control_lines(merged["controls"])
    results_writer.drop_after(4, heading)
    path.write_bytes(before)

  seen = survives(path, read, each=3)
  assert seen["refused"] > 100


def spectrum(step):
  return {
    "step": step,
    "discriminator": "spatial",
    "eigenvalues": [2.0, -1.0],
    "residuals": [0.1, 0.2],
    "largest": 2.0,
    "smallest": -1.0,
    "end_residuals": [0.1, 0.1],
    "products": 8,
    "converged": 2,
  }


def norms(step):
  layers = {"block0/conv": {"real": 1.0, "generated": 2.0}}
  return {"step": step, "discriminator": "spatial", "layers": layers}


@pytest.mark.parametrize(
  ("what", "make"), [("hessian", spectrum), ("gradients", norms)], ids=["hessian", "gradients"]
)
def test_curvature(tmp_path, monkeypatch, what, make):
  monkeypatch.setattr(plots, "_save", lambda figure, output: None)  # half a second each
  folder = tmp_path / "run" / curvature.FOLDER
  path, settings = folder / curvature.FILES[what], {"batch_size": 4, "config": "ab"}
  curvature.add(path, what, settings, [make(1), make(2)])

  def read():
    before = path.read_bytes()
    records = curvature.add(path, what, settings, [make(3)])
    path.write_bytes(before)
    curvature._PLOT[what](records, tmp_path / "plot.png")
    if what == "hessian":
      ask = dict(what=("compare",), output=str(tmp_path / "out"))
      cli.fulfil(cli.Request([str(tmp_path / "run")], **ask))

  survives(path, read, each=3, bits=10, cuts=4)
  curvature.drop_after(path, what, settings, 1)
  assert len(curvature.read(path, what)["records"]) == 1


def test_logs_of_runs(tmp_path):
  analyzed = types.SimpleNamespace(workdir=tmp_path, run=types.SimpleNamespace(step=4))
  path = tmp_path / "log.jsonl"
  lines = [json.dumps({"step": step, "pixel/generated_dark": 0.5}) for step in range(1, 7)]
  path.write_text("\n".join([*lines[:2], "damaged", "", "[1]", '{"step": null}', *lines[2:]]))
  assert [each["step"] for each in analyses._log(analyzed)] == [1, 2, 3, 4]
  path.unlink()
  assert analyses._log(analyzed) == []
  path.mkdir()
  with pytest.raises(UserError, match="Is a directory"):
    analyses._log(analyzed)


def sides(**content):
  return {side: content for side in ("real", "generated")}


ANALYSES = {
  "neighbours.json": {
    "format": 1,
    "names": ["a", "b"],
    "searched": {"train": 40, "of": 40, "held_out": 0},
    "spaces": {
      "pixel": {
        "nearest": [[{"index": 1, "distance": 0.5}]],
        "held_out": {"count": 2, "median_ratio": 1.0, "interval": [0.9, 1.1], "closer_to_train": 0},
        "control": None,
        "picture": "neighbours_pixel.png",
        "shown": [0, 1],
      }
    },
  },
  "power_spectrum.json": {
    "format": 1,
    "clips": 9,
    "sets": 3,
    "frequency": [0.0, 0.1, 0.2],
    "records": [
      {"frame": 1, "high_frequency_db": 1.0} | sides(mean=[1.0, 0.5, 0.2], std=[0.1, 0.1, 0.1])
    ],
  },
  "darkness.json": {
    "format": 1,
    "step": 4,
    "dark_level": 0.05,
    "training": {"step": [1, 2]}
    | sides(red=[0.5, 0.4], green=[0.5, 0.4], blue=[0.5, 0.4], dark=[0.0, 0.1]),
    "overall": sides(dark=0.1, mean=[0.5, 0.5, 0.5]),
  },
  "smoothness.json": {
    "format": 1,
    "steps": 12,
    "records": [
      {
        "kind": "latent",
        "spaces": {
          "pixel": {
            "summary": {"median_jump_ratio": 2.0, "max_jump_ratio": 3.0, "median_detour": 1.0}
          }
        },
      }
    ],
  },
}


@pytest.mark.parametrize("name", ANALYSES)
def test_analyses_in_reports(tmp_path, name):
  folder = tmp_path / "analysis"
  folder.mkdir()
  for each, content in ANALYSES.items():
    (folder / each).write_text(json.dumps(content))

  def read():
    page = report.write({}, tmp_path / "report.html", **report_analyses.gather(tmp_path))
    left_out.append("Left out:" in page.read_text(encoding="utf-8"))

  left_out = []
  read()
  assert not left_out.pop()
  seen = survives(folder / name, read, each=4)
  assert not seen["refused"] and any(left_out)


@pytest.fixture(scope="module")
def prepared(write_prepared, tmp_path_factory):
  clips = np.random.default_rng(0).integers(256, size=(6, 3, 8, 8, 3), dtype=np.uint8)
  folder = tmp_path_factory.mktemp("sets") / "set"
  write_prepared(folder, list(clips), [0, 1] * 3, ("a", "b"))
  content = {"splits": [{"name": "train", "shardLengths": ["3", "3"]}]}
  index.write_json(folder / "dataset_info.json", content)
  return folder


@pytest.mark.parametrize("name", ["prepared.json", "features.json", "dataset_info.json"])
def test_prepared_sets(prepared, name):
  def read():
    quietly = lambda line: None
    source = Prepared([prepared], frames=2, resolution=8, report=quietly)
    source.example(0, np.random.default_rng(0))
    source.identity()
    verify.verify(str(prepared), report=quietly)

  survives(prepared / name, read, each=3)


def test_settings_of_what_is_being_prepared(tmp_path):
  settings = {"name": "a", "resolution": 64, "versions": {"av": "1"}, "inputs": "ab"}
  with workspace.opened(str(tmp_path), settings) as folder:
    path = pathlib.Path(folder) / "settings.json"

  def read():
    with workspace.opened(str(tmp_path), settings):
      pass

  survives(path, read, each=20)


def archived(path, name, arrays):
  """A function that puts bytes into an archive as the array `name`."""
  return lambda content: npz.write(path, {**arrays, name: np.frombuffer(content, np.uint8)})


def survives_within(put, text, read, **options):
  for content in damaged(text, **options):
    put(content)
    with contextlib.suppress(UserError):
      read()


def test_descriptions_within_archives(tmp_path):
  features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  about = {"network": "stand_in", "outputs": ["features"], "resolution": [8, 8], "count": 6}
  path = tmp_path / "reference.npz"
  gathered = {"features": FeatureSet(Moments.of(features), features)}
  references.save(path, gathered, np.arange(6), about, "c0de")
  arrays = npz.read(path)
  text = arrays["__about__"].tobytes().decode()
  put = archived(path, "__about__", arrays)
  survives_within(put, text, lambda: references.load(path, about, "c0de"), each=20)

  path = tmp_path / "weights.npz"
  text = json.dumps({"format": 1, "network": "i3d_kinetics400", "weights_hash": "0"})
  put = archived(path, "__about__", {})
  survives_within(put, text, lambda: extractor.read_about(path), each=20)

  writer = shards.Writer(str(tmp_path), str(tmp_path), types.SimpleNamespace(stride=1), False, 1)
  plan = shards.ShardPlan("train", 0, "shard", [])
  (tmp_path / "shard").write_bytes(b"abc")
  about = {"bytes": 3, "sha256": "0", "skipped": [["a", "b"]], "enlarged": [8]}
  writer._describe(plan, [(0, 0, 0, 1, 0, 8, 8, 25.0)], [np.zeros(1, index.FRAME)], about)
  path = tmp_path / "train-00000.npz"

  def put(content):
    frames = np.zeros(1, index.FRAME)
    clips = np.array([(0, 0, 0, 1, 0, 8, 8, 25.0)], index.CLIP)
    np.savez(path, clips=clips, frames=frames, about=np.frombuffer(content, np.uint8))

  survives_within(put, json.dumps(about), lambda: writer.finished(plan), each=20)


def test_what_json_may_hold():
  for text, words in (
    (b"\xff", "codec"),
    ('{"a": NaN}', "NaN is not a number"),
    ("[-Infinity]", "-Infinity is not a number"),
    ("[1e400]", "too large"),
    (str(2**63), "too large"),
    ("1" * 5000, "too large"),
    ('{"a": {"b": 1, "b": 1}}', "'b' occurs twice"),
    ("[" * 101 + "]" * 101, "nested too deeply"),
    ("[" * 10**6, "nested too deeply"),
    ("[1", "delimiter"),
  ):
    with pytest.raises(json_files.JsonError, match=f"^it: is not JSON .*{words}"):
      json_files.parse(text, "it")
  assert json_files.parse("\ufeff[1]".encode(), "it") == [1]
  form = {"a": [{"b?": (None, range(3))}], "c": {str: float}, "d": [int, str]}
  good = {"a": [{}, {"b": None}, {"b": 2}], "c": {"x": 1, "y": 2.5}, "d": [1, "e"], "more": 0}
  json_files.check(good, form, "it")
  for change, words in (
    ({"a": None}, r"a is None, expected a list"),
    ({"a": [3]}, r"a\[0\] is 3, expected an object"),
    ({"a": [{"b": 3}]}, r"a\[0\]\.b is 3, expected null or an integer in 0\.\.2"),
    ({"a": [{"b": True}]}, r"a\[0\]\.b is True"),
    ({"c": {"x": "1"}}, r"c\.x is '1', expected a number"),
    ({"c": {"x": 1e101}}, r"c\.x is 1e\+101"),
    ({"d": [1]}, "d has 1 items, expected 2"),
    ({"d": [1, 2]}, r"d\[1\] is 2, expected text"),
  ):
    with pytest.raises(json_files.JsonError, match=f"^it: malformed .*{words}"):
      json_files.check({**good, **change}, form, "it")
  with pytest.raises(json_files.JsonError, match="d is missing"):
    json_files.check({name: good[name] for name in "ac"}, form, "it")
  assert json_files.fits([1.5], [float]) and not json_files.fits([True], [float])
