"""Checkpoints: damaged files, full disks, states of other models."""

import logging
import os
import pathlib
import resource
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from vidgan_jax.runtime import mesh as meshes
from vidgan_jax.runtime import processes, sharding
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.errors import Stopped, UserError
from vidgan_jax.runtime.trees import checksums, leaf_names


class Small(struct.PyTreeNode):
  """A tiny state."""

  step: jax.Array
  params: dict


def small(step, size=300):
  generator = np.random.default_rng(step)
  return Small(
    step=jnp.int32(step),
    params={
      "kernel": jnp.asarray(generator.normal(size=(size, 40)), jnp.float32),
      "bias": jnp.asarray(generator.normal(size=40), jnp.float32),
      "empty": {},
    },
  )


def like(state, devices=1):
  sharding = meshes.replicated(meshes.make_mesh(jax.devices()[:devices]))
  return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), state)


def same(a, b):
  return all(np.array_equal(x, y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@pytest.fixture
def saved(tmp_path):
  """A folder with checkpoints at 2, 4 and 6."""
  checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
  for step in (2, 4, 6):
    checkpoints.save(step, small(step), {"seconds": float(step)})
  checkpoints.close()
  return tmp_path / "checkpoints"


@pytest.mark.parametrize("devices", [1, 8])
def test_newest_is_restored_bit_for_bit_on_any_number_of_devices(saved, devices):
  state, timers = Checkpoints(saved).restore(like(small(0), devices))
  assert same(state, small(6)) and timers == {"seconds": 6.0}
  assert len(state.params["kernel"].devices()) == devices


# 300 is no multiple of 8, so eight devices split the other axis.
@pytest.mark.parametrize(("devices", "part"), [(1, (300, 40)), (4, (75, 40)), (8, (300, 5))])
def test_parts_on_eight_devices_come_back_as_parts_on_any_number(tmp_path, devices, part):
  def split(state, devices):
    return sharding.shardings(state, meshes.make_mesh(jax.devices()[:devices]), "zero1")

  state = small(3)
  placed = jax.device_put(state, split(state, 8))
  assert placed.params["kernel"].addressable_shards[0].data.shape == (300, 5)
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(3, placed, {"seconds": 0.0})
  checkpoints.close()
  wanted = jax.tree.map(
    lambda a, sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
    state,
    split(state, devices),
  )
  restored, _ = Checkpoints(tmp_path).restore(wanted)
  assert same(restored, state)
  assert restored.params["kernel"].addressable_shards[0].data.shape == part


def test_only_the_newest_are_kept(saved):
  checkpoints = Checkpoints(saved, keep=2)
  checkpoints.save(8, small(8), {"seconds": 0.0})
  checkpoints.close()
  assert checkpoints.steps() == [6, 8]


def test_no_checkpoint_is_no_fault(tmp_path):
  assert Checkpoints(tmp_path / "none").restore(like(small(0))) is None


def test_truncating_any_file_of_the_newest_falls_back_one_and_says_so(saved):
  files = sorted(p for p in (saved / "6").rglob("*") if p.is_file() and p.stat().st_size)
  harmless = []
  for path in files:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    reported = []
    state, _ = Checkpoints(saved, report=reported.append).restore(like(small(0)))
    if same(state, small(6)):
      harmless.append(path.name)
    else:
      assert same(state, small(4)), path
      assert any("6 is damaged" in line for line in reported), reported
      assert any("falling back to the checkpoint at iteration 4" in line for line in reported), (
        reported
      )
    path.write_bytes(whole)
  # Some files hold no arrays, but their sharding or the time of writing.
  largest = max(files, key=lambda path: path.stat().st_size)
  assert largest.name not in harmless and len(harmless) < len(files) - 3, harmless


def test_one_flipped_bit_in_the_numbers_is_noticed(saved):
  data = max((p for p in (saved / "6").rglob("d/*")), key=lambda p: p.stat().st_size)
  numbers = bytearray(data.read_bytes())
  numbers[len(numbers) // 2] ^= 1
  data.write_bytes(bytes(numbers))
  reported = []
  state, _ = Checkpoints(saved, report=reported.append).restore(like(small(0)))
  assert same(state, small(4)) and reported


def test_checksums_see_every_bit_and_no_layout():
  state = small(1)
  kernel = np.asarray(state.params["kernel"]).copy()
  before = checksums(state)
  kernel.view(np.uint32)[7, 3] ^= 1 << 31
  flipped = state.replace(params={**state.params, "kernel": jnp.asarray(kernel)})
  assert [a != b for a, b in zip(before, checksums(flipped), strict=True)].count(True) == 1
  everywhere = jax.device_put(state, meshes.replicated(meshes.make_mesh()))
  assert checksums(everywhere) == before


def test_all_damaged_is_refused(saved):
  for path in saved.rglob("manifest.ocdbt"):
    path.write_bytes(b"")
  with pytest.raises(UserError, match=r"all checkpoints in .* are damaged"):
    Checkpoints(saved, report=lambda line: None).restore(like(small(0)))


def test_damaged_checkpoints_are_renamed_and_their_steps_saved_again(saved):
  for path in (saved / "6").rglob("manifest.ocdbt"):
    path.write_bytes(b"")
  checkpoints = Checkpoints(saved, report=lambda line: None)
  checkpoints.restore(like(small(0)))
  checkpoints.set_aside(after=4)
  checkpoints.save(6, small(6), {"seconds": 0.0})
  checkpoints.close()
  assert same(Checkpoints(saved).restore(like(small(0)))[0], small(6))


def test_another_model_is_refused_by_the_first_parameter(saved):
  other = small(0, size=200)
  with pytest.raises(UserError, match=r"params/kernel is float32 \[300, 40\] there"):
    Checkpoints(saved).restore(like(other))
  more = other.replace(params={**small(0).params, "also": jnp.zeros(3)})
  with pytest.raises(UserError, match="params/also is absent there"):
    Checkpoints(saved).restore(like(more))
  kernel = small(0).params["kernel"].astype(jnp.bfloat16)  # Orbax would cast what it reads
  cast = small(0).replace(params={**small(0).params, "kernel": kernel})
  with pytest.raises(UserError, match=r"kernel is float32 \[\d+, 40\] there and bfloat16"):
    Checkpoints(saved).restore(like(cast))


def test_full_disk_is_one_line_and_leaves_the_last_checkpoint(saved, caplog):
  checkpoints = Checkpoints(saved)
  logging.getLogger("absl").setLevel(logging.INFO)  # as absl.app does
  old = resource.getrlimit(resource.RLIMIT_FSIZE)
  ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old[1]))  # less than the kernel's 48 kB
  try:
    with pytest.raises(UserError, match="the checkpoint at iteration 6 is unchanged") as caught:
      checkpoints.save(8, small(8), {"seconds": 0.0})
      checkpoints.wait()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, old)
    signal.signal(signal.SIGXFSZ, ignored)
  assert "could not save the checkpoint at iteration 8" in str(caught.value)
  assert "\n" not in str(caught.value) and not caplog.records
  # The unfinished checkpoint does not stay on the full disk.
  assert not list(saved.glob("*.orbax-checkpoint-tmp*"))
  again = Checkpoints(saved)
  assert 8 not in again.steps()
  assert same(again.restore(like(small(0)))[0], small(6))


def test_leaves_are_named_by_their_path():
  assert leaf_names(small(0)) == ["step", "params/bias", "params/kernel"]


@pytest.mark.parametrize(
  "name", ["two [1]", "a*b", "a?b", "[!a]", "a\\b", "a%20b {}#|:", "é\nü", "-x", "x" * 250]
)
def test_any_name_of_a_folder_saves_and_reads(tmp_path, name):
  folder = tmp_path / name / "checkpoints"
  # A folder that the patterns a*b and a?b also match.
  (tmp_path / "axb" / "checkpoints" / "2").mkdir(parents=True)
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(2, small(2), {"seconds": 2.0})
    checkpoints.read_back(2, small(2))
    checkpoints.save(4, small(4), {"seconds": 4.0})
  again = Checkpoints(folder, report=pytest.fail)
  assert again.steps() == [2, 4]
  assert same(again.restore(like(small(0)))[0], small(4))
  again.close()
  assert {path.name for path in tmp_path.iterdir()} == {name, "axb"}


def test_a_relative_folder_behind_a_link_saves_and_reads(tmp_path, monkeypatch):
  """Orbax accepts only absolute paths."""
  (tmp_path / "disk").mkdir()
  (tmp_path / "link").symlink_to("disk")
  monkeypatch.chdir(tmp_path)
  with Checkpoints(pathlib.Path("link/checkpoints")) as checkpoints:
    checkpoints.save(2, small(2), {"seconds": 2.0})
  assert (tmp_path / "disk" / "checkpoints" / "2").is_dir()
  assert same(Checkpoints(pathlib.Path("link/checkpoints")).restore(like(small(0)))[0], small(2))


def test_names_that_are_no_text_are_for_checkpoints_too(tmp_path):
  with Checkpoints(tmp_path / "\udce9") as checkpoints:
    checkpoints.save(2, small(2), {"seconds": 0.0})
  assert same(Checkpoints(tmp_path / "\udce9").restore(like(small(0)))[0], small(2))


def test_a_path_that_the_locale_encodes_otherwise_saves_and_reads(tmp_path, monkeypatch):
  """TensorStore encodes the path as UTF-8, and would write to a different folder."""
  monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1"))
  with Checkpoints(tmp_path / "é") as checkpoints:
    assert str(checkpoints._folder.for_orbax(True)).startswith("/proc/self/fd/")
    checkpoints.save(2, small(2), {"seconds": 0.0})
    checkpoints.read_back(2, small(2))
  assert [path.name for path in tmp_path.iterdir()] == ["é"]
  assert same(Checkpoints(tmp_path / "é").restore(like(small(0)))[0], small(2))


def test_messages_name_an_odd_folder_correctly_if_saving_fails(tmp_path, monkeypatch):
  checkpoints = Checkpoints(tmp_path / "[1]")
  (tmp_path / "[1]").mkdir()
  (tmp_path / "[1]" / "2.x").mkdir()

  def fail(*arguments, **options):
    raise OSError(13, "denied", str(checkpoints._folder.for_orbax(True) / "2"))

  monkeypatch.setattr(type(checkpoints._open(True)), "save", fail)
  with pytest.raises(UserError, match=r"\[1\]: \[Errno 13\] denied: '.*\[1\]/2'"):
    checkpoints.save(2, small(2), {"seconds": 0.0})


def test_a_full_disk_is_named_behind_tensorstores_words(saved, monkeypatch, caplog):
  checkpoints = Checkpoints(saved)
  checkpoints.save(8, small(8), {"seconds": 0.0})
  checkpoints.wait()
  words = "RESOURCE_EXHAUSTED: Error writing a\nFailed: [OS error 28: No space left on device]"

  def fail(self):
    raise ValueError(words)

  monkeypatch.setattr(type(checkpoints._manager), "wait_until_finished", fail)
  with pytest.raises(UserError, match="checkpoints: No space left on device; the checkpoint at"):
    checkpoints.save(10, small(10), {"seconds": 0.0})
  monkeypatch.undo()
  checkpoints.close()
  # The errors of further arrays, which the message does not need, are not logged.
  logging.getLogger("asyncio").error("Future exception was never retrieved")
  logging.getLogger("asyncio").error("another")
  assert [record.message for record in caplog.records if record.name == "asyncio"] == ["another"]


@pytest.mark.parametrize("damage", ["nothing", "numbers", "shapes", "gone"])
def test_the_first_checkpoint_is_read_back(tmp_path, damage):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(2, small(2), {"seconds": 0.0})
  checkpoints.wait()
  other, words = small(2), "cannot be read back"
  if damage == "numbers":
    data = max((p for p in (tmp_path / "2").rglob("d/*")), key=lambda p: p.stat().st_size)
    numbers = bytearray(data.read_bytes())
    numbers[len(numbers) // 2] ^= 1
    data.write_bytes(bytes(numbers))
  elif damage == "shapes":
    other = small(2, size=20)
  elif damage == "gone":
    for path in (tmp_path / "2").rglob("manifest.ocdbt"):
      path.unlink()
  if damage == "nothing":
    checkpoints.read_back(2, other)
  else:
    with pytest.raises(UserError, match=words) as caught:
      checkpoints.read_back(2, other)
    assert "\n" not in str(caught.value)


def test_a_failed_save_is_reported_with_its_iteration(saved, monkeypatch):
  """The message names the failed checkpoint, not the next one, when the failure is noticed."""
  checkpoints = Checkpoints(saved)
  checkpoints.save(8, small(8), {"seconds": 0.0})
  checkpoints.wait()
  manager = type(checkpoints._manager)

  def fail(self):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(manager, "wait_until_finished", fail)
  with pytest.raises(UserError, match="could not save the checkpoint at iteration 8"):
    checkpoints.save(10, small(10), {"seconds": 0.0})
  monkeypatch.undo()
  checkpoints.close()


def test_a_checkpoint_that_its_run_removes_meanwhile_is_not_called_damaged(saved, monkeypatch):
  checkpoints = Checkpoints(saved, report=pytest.fail)
  compare = Checkpoints._compare

  def remove_first(self, *arguments):
    if (saved / "6").exists():
      (saved / "6").rename(saved.parent / "6")
    return compare(self, *arguments)

  monkeypatch.setattr(Checkpoints, "_compare", remove_first)
  assert same(checkpoints.restore(like(small(0)))[0], small(4))


@pytest.mark.parametrize("error", [PermissionError("not yours"), MemoryError("no memory")])
def test_unrelated_errors_do_not_mark_a_checkpoint_as_damaged(saved, monkeypatch, error):
  checkpoints, lines = Checkpoints(saved), []
  checkpoints._report = lines.append

  def fail(self, *arguments, **options):
    raise error

  monkeypatch.setattr(type(checkpoints._open(create=False)), "restore", fail)
  with pytest.raises(UserError, match=f"cannot read the checkpoint at iteration 6 .*: {error}"):
    checkpoints.restore(like(small(0)))
  assert not lines  # no message calls it damaged, and no older checkpoint is used


def test_files_with_other_names_are_no_checkpoints(saved):
  for name in ("²", "007", "8.damaged", "-2", "10.orbax-checkpoint-tmp"):
    (saved / name).mkdir()
  assert Checkpoints(saved).steps() == [2, 4, 6]


@pytest.mark.parametrize("alone", [True, False])
def test_what_only_some_processes_could_not_read_is_not_damaged(saved, monkeypatch, alone):
  """Simulates two processes, of which only the first runs; the other one fails at iteration 6."""
  others = iter([True, False] + 2 * [False, True])  # fails? succeeds?
  monkeypatch.setattr(
    processes, "where", lambda v: [i for i, each in enumerate((v, next(others))) if each]
  )
  if not alone:
    for path in (saved / "6").rglob("manifest.ocdbt"):
      path.write_bytes(b"")
  reported = []
  checkpoints = Checkpoints(saved, report=reported.append)
  if alone:
    with pytest.raises(
      UserError, match=r"process 1 could not read its part .* nothing was changed"
    ):
      checkpoints.restore(like(small(0)))
    assert reported == [] and checkpoints.steps() == [2, 4, 6]
  else:
    assert same(checkpoints.restore(like(small(0)))[0], small(4))
    assert "6 is damaged" in reported[0]


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_never_saved(tmp_path, value, devices):
  state = small(2)
  state = state.replace(params={**state.params, "bias": state.params["bias"].at[7].set(value)})
  mesh = meshes.make_mesh(jax.devices()[:devices])
  placed = jax.device_put(state, sharding.shardings(state, mesh, "zero1"))
  with Checkpoints(tmp_path) as checkpoints:
    with pytest.raises(Stopped, match="at iteration 2: params/bias is not finite"):
      checkpoints.save(2, placed, {})
    assert checkpoints.steps() == []
    checkpoints.save(2, small(2), {})
  assert checkpoints.steps() == [2]
