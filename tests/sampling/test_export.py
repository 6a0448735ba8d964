"""Exported models: clips equal the run's, changed files are refused, paths are left out."""

import hashlib
import json
import os
import pickle
import shutil

import numpy as np
import pytest

import vidgan_jax
import vidgan_jax.training.state as states
from tests import cascades
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import cli, export, exported, generation, model_card
from vidgan_jax.sampling.export_request import Request
from vidgan_jax.sampling.request import Request as SampleRequest
from vidgan_jax.sampling.stream import Stream
from vidgan_jax.training import workdir as workdirs

safetensors = pytest.importorskip("safetensors.numpy")

PASSES = 2
SCORE = {
  "protocol": "a|b",
  "metric": "fid",
  "value": 12.3456,
  "interval": [12.0, 13.0],
  "real": 1.5,
  "clips": 1000,
  "truncation": 1.0,
  "fingerprint": "0123abcd",
}


def exporting(workdir, output, scores=(), **options):
  options = {"standing_passes": PASSES, **options}
  request = Request(workdir=workdir, output=output, **options)
  return export.fulfil(request, lambda workdir, step: scores, version="1", report=lambda _: None)


@pytest.fixture(scope="module")
def folder(workdir, tmp_path_factory):
  output = tmp_path_factory.mktemp("exports") / "a modél"
  lines = exporting(workdir, output, [SCORE])
  assert str(output) in lines[0] and "MB" in lines[0]
  return output


@pytest.fixture(scope="module")
def original(workdir):
  return vidgan_jax.load(workdir, standing_passes=PASSES)


@pytest.fixture
def copy(folder, tmp_path):
  return shutil.copytree(folder, tmp_path / "copy")


def equal(ours, theirs, **options):
  np.testing.assert_array_equal(ours.sample(3, **options), theirs.sample(3, **options))


def test_clips_equal_the_runs_byte_for_byte(folder, original):
  ours = vidgan_jax.load(folder, standing_passes=PASSES)
  assert ours.class_names == original.class_names and ours.step == original.step == 4
  assert original.sample(3).std() > 20
  equal(ours, original)
  weights = np.eye(8, dtype=np.float32)[[0, 1]] * 0.5 + 0.5 / 8
  equal(ours, original, labels=weights, truncation=0.5, frames=6)  # collected anew


def test_the_clips_that_are_evaluated_equal_the_runs(folder, original):
  ours = Stream(vidgan_jax.load(folder, standing_passes=PASSES), seed=1)
  theirs = Stream(original, seed=1)
  assert ours.about == theirs.about
  for a, b in zip(ours(2, 6), theirs(2, 6), strict=True):
    np.testing.assert_array_equal(a, b)


def test_stored_statistics_serve_only_for_what_they_were_collected_for(folder, monkeypatch):
  counted = []
  collect = generation.standing_statistics

  def counting(*arguments, **options):
    counted.append(options["passes"])
    return collect(*arguments, **{**options, "passes": 0})

  monkeypatch.setattr(generation, "standing_statistics", counting)
  ours = vidgan_jax.load(folder, standing_passes=PASSES)
  ours.variables()
  assert not counted
  ours.variables(truncation=0.5)
  vidgan_jax.load(folder, standing_passes=PASSES + 1).variables()
  vidgan_jax.load(folder, standing_passes=0).variables()
  assert counted == [PASSES, PASSES + 1]


def test_the_folder_holds_the_average_and_nothing_else(folder, workdir):
  assert {path.name for path in folder.iterdir()} == {
    "export.json", "config.json", "data.json", "generator.safetensors", "standing.safetensors",
    "samples.gif", "README.md",
  }  # fmt: skip
  arrays = safetensors.load_file(folder / "generator.safetensors")
  assert {name.split("/")[0] for name in arrays} == {"params", "spectral", "batch_stats"}
  average = states.load(workdir)[2].ema.params
  ours = {name.removeprefix("params/"): a for name, a in arrays.items() if "params/" in name}
  for name, array in exported.flat(average).items():
    np.testing.assert_array_equal(ours.pop(name), array)
  assert not ours
  for path in folder.iterdir():
    content = path.read_bytes()
    assert b"optimizer/" not in content and str(workdir).encode() not in content


def test_equal_runs_give_equal_fingerprints_and_bytes(folder, workdir, tmp_path):
  exporting(workdir, tmp_path / "again", [SCORE])
  for name in ("generator.safetensors", "standing.safetensors", "export.json"):
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


FILES = [
  "config.json", "data.json", "generator.safetensors", "standing.safetensors", "samples.gif",
]  # fmt: skip


def refused(folder, *words):
  with pytest.raises(UserError) as caught:
    vidgan_jax.load(folder)
  message = str(caught.value)
  assert all(word in message for word in words), message
  assert "\n" not in message


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_refused(copy, name):
  path = copy / name
  content = path.read_bytes()
  for position in (0, len(content) // 2, len(content) - 1):
    changed = bytearray(content)
    changed[position] ^= 1
    path.write_bytes(changed)
    refused(copy, name, "was changed or damaged")
  for other in (content[:-1], content + b"\n", b""):
    path.write_bytes(other)
    refused(copy, name)
  path.unlink()
  refused(copy, name)
  os.mkfifo(path)  # opening it would wait for a writer
  refused(copy, name)


def test_the_card_may_be_edited(copy):
  (copy / "README.md").write_text("my model")
  assert vidgan_jax.load(copy).step == 4


def reindexed(copy, change):
  """Changes the index of a copy, with the fingerprint that its files then have."""
  path = copy / "export.json"
  index = json.loads(path.read_text())
  change(index)
  index["fingerprint"] = exported.fingerprint(index)
  path.write_text(json.dumps(index))


def test_other_indices_are_refused(copy):
  path = copy / "export.json"
  content = path.read_text()
  for change, words in (
    (lambda i: i.update(format=2), ["format 2", "reads format 1"]),
    (lambda i: i.update(step=-1), ["step"]),
    (lambda i: i.update(standing_passes="16"), ["standing_passes"]),
    (lambda i: i["files"].update({"../x": i["files"]["data.json"]}), ["'../x'"]),
    (lambda i: i["files"].pop("config.json"), ["config.json"]),
    (lambda i: i["files"]["data.json"].update(sha256="z"), ["SHA-256 of data.json"]),
    (lambda i: i["files"].update({"earlier.safetensors": i["files"]["data.json"]}), ["earlier"]),
  ):
    reindexed(copy, change)
    refused(copy, *words)
    path.write_text(content)
  index = json.loads(content)
  for name, value in (("fingerprint", "0" * 16), ("step", 3), ("standing_passes", 1)):
    path.write_text(json.dumps({**index, name: value}))
    refused(copy, "its fingerprint")
  path.write_text("{}")
  refused(copy, "is no exported model")


def test_sizes_are_compared_before_memory_is_taken(copy, monkeypatch):
  """A file of 100 GB, which takes no room on the disk."""
  size = 100 * 2**30
  os.truncate(copy / "generator.safetensors", size)
  refused(copy, "has 107374182400 bytes")
  reindexed(copy, lambda i: i["files"]["generator.safetensors"].update(bytes=size))
  refused(copy, "107374182400 bytes are stated, but its arrays need at most")


def forged(copy, content):
  """Writes another file of arrays, which the index describes."""
  (copy / "generator.safetensors").write_bytes(content)
  entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
  reindexed(copy, lambda i: i["files"].update({"generator.safetensors": entry}))


def test_other_arrays_are_refused(copy):
  arrays = safetensors.load_file(copy / "generator.safetensors")
  name = min(arrays)
  missing = {other: array for other, array in arrays.items() if other != name}
  forged(copy, safetensors.save(missing))
  refused(copy, "belongs to another model", name, "absent there")
  forged(copy, safetensors.save({**arrays, name: arrays[name][..., :1]}))
  refused(copy, "belongs to another model", name)
  forged(copy, safetensors.save({**arrays, name: arrays[name].astype(np.float16)}))
  refused(copy, name, "float16")
  forged(copy, safetensors.save({**missing, "x": arrays[name]}))
  refused(copy, "belongs to another model")
  forged(copy, pickle.dumps({"params": [1, 2]}) + b" " * 500)
  refused(copy, "not a readable .safetensors file")
  forged(copy, b"\xff" * 7 + b"\x7f" + b"{" * 500)
  refused(copy, "not a readable .safetensors file")


def test_what_needs_the_run_is_refused(folder, workdir, tmp_path, tiny_config):
  for call, words in (
    (lambda: vidgan_jax.load(folder, step=2), ["iteration 2", "exported model of iteration 4"]),
    (lambda: vidgan_jax.load(folder, use_ema=False), ["no live weights"]),
    (lambda: states.load(folder), ["is an exported model", "checkpoints"]),
    (lambda: workdirs.create(folder, tiny_config()), ["training needs the folder of a run"]),
    (lambda: exporting(folder, tmp_path / "x"), ["export needs the folder of a run"]),
    # Before the run is opened: it does not exist.
    (lambda: exporting("nowhere", folder), ["is not empty"]),
    (lambda: exporting("nowhere", folder / "README.md"), ["is a file"]),
    (lambda: exporting("nowhere", folder / "README.md" / "in"), ["README.md is no folder"]),
    (lambda: exporting(workdir, tmp_path / "x", checkpoint=3), ["no checkpoint at iteration 3"]),
    (lambda: exporting(tmp_path, tmp_path / "x"), ["no run in"]),
  ):
    with pytest.raises(UserError) as caught:
      call()
    assert all(word in str(caught.value) for word in words), caught.value
  assert not (tmp_path / "x").exists() and not (tmp_path / "x.partial").exists()


def test_an_earlier_checkpoint_can_be_exported(workdir, tmp_path):
  exporting(workdir, tmp_path / "x", checkpoint=2, standing_passes=0)
  ours, theirs = vidgan_jax.load(tmp_path / "x"), vidgan_jax.load(workdir, step=2)
  assert ours.step == 2
  for run in (ours, theirs):
    run.standing_passes = 0
  equal(ours, theirs)


def test_the_command_sample_writes_the_same_files(folder, workdir, tmp_path):
  for name, source in (("a", folder), ("b", workdir)):
    options = dict(labels="0,3", standing_passes=PASSES, seed=5)
    cli.fulfil(
      SampleRequest(workdir=str(source), output=str(tmp_path / name), **options),
      report=lambda _: None,
    )
  for path in (tmp_path / "a").rglob("*"):
    if path.is_file():
      other = tmp_path / "b" / path.relative_to(tmp_path / "a")
      assert other.read_bytes() == path.read_bytes()


def test_the_card(folder, original):
  card = (folder / "README.md").read_text("utf-8")
  for words in (
    "after 4 iterations", "8 x 8 pixels, 4 frames", "12.35 [12, 13]", "a&#124;b", "    5 6",
    "`0123abcd`", "![", json.loads((folder / "export.json").read_text())["fingerprint"],
  ):  # fmt: skip
    assert words in card
  assert model_card.escaped("<script>|`[a](b)`\n") == (
    "&lt;script&gt;&#124;&#96;&#91;a&#93;(b)&#96;&#92;n"
  )
  none = model_card.text(
    original, "x", "f", [], False, "1", {"num_examples": 12345, "checksum": "ab"}
  )
  assert "has not been evaluated" in none and "![" not in none
  assert "| data | built-in moving shapes, 12,345 clips, checksum ab |" in none


def test_paths_are_left_out(load_config):
  config = load_config("ssw_gan", "shapes_stage2,runlocal")
  with config.unlocked():
    config.data.directory = config.data.cache_directory = "/home/me/data"
    config.data.mixture = ("/home/me/more",)
    config.model.earlier_run = config.model.earlier_samples = "/home/me/run"
  text = json.dumps(exported.without_paths(config).to_dict())
  assert "/home" not in text
  assert config.data.directory == "/home/me/data"


def test_data_must_be_named(folder, workdir, load_config):
  """The config does not say where it is; the built-in shapes are nowhere."""
  config = load_config("quickstart")
  states.check_data_named(folder, config, None)
  with config.unlocked():
    config.data.name = "prepared"
  with pytest.raises(UserError, match=r"a modél is an exported model.*--data_directory=DIR names"):
    states.check_data_named(folder, config, None)
  states.check_data_named(folder, config, "/data")
  states.check_data_named(workdir, config, None)


def test_a_cascade_travels_whole(load_config, tmp_path):
  """The exported model draws the same clips when the runs of its stages are gone."""
  cascades.write_cascade(tmp_path / "runs", load_config, 2)
  run = vidgan_jax.load(tmp_path / "runs" / "stage2", standing_passes=1)
  expected, longer = run.sample(3), run.sample(3, frames=8)
  exporting(tmp_path / "runs" / "stage2", tmp_path / "x", standing_passes=1)
  shutil.rmtree(tmp_path / "runs")
  assert (tmp_path / "x" / "earlier.safetensors").exists()
  ours = vidgan_jax.load(tmp_path / "x", standing_passes=1)
  np.testing.assert_array_equal(ours.sample(3), expected)
  np.testing.assert_array_equal(ours.sample(3, frames=8), longer)
  for name in ("earlier.safetensors", "standing.safetensors"):
    content = (tmp_path / "x" / name).read_bytes()
    (tmp_path / "x" / name).write_bytes(content[:-1] + b"\x00\x00")
    refused(tmp_path / "x", name)
    (tmp_path / "x" / name).write_bytes(content)


def test_a_run_that_continues_frames(predicting, tmp_path):
  exporting(predicting, tmp_path / "x")
  assert not (tmp_path / "x" / "standing.safetensors").exists()
  assert (tmp_path / "x" / "samples.gif").exists()  # continues the built-in moving shapes
  frames = np.random.default_rng(0).integers(0, 256, (2, 2, 8, 8, 3), dtype=np.uint8)
  ours, theirs = vidgan_jax.load(tmp_path / "x"), vidgan_jax.load(predicting)
  np.testing.assert_array_equal(ours.predict(frames, 2), theirs.predict(frames, 2))


def test_a_full_disk_leaves_nothing(workdir, tmp_path, monkeypatch):
  def fail(*arguments):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(export.video_writers, "write_gif", fail)
  with pytest.raises(UserError, match=r"cannot write to .*No space left"):
    exporting(workdir, tmp_path / "x", standing_passes=0)
  assert not list(tmp_path.iterdir())
