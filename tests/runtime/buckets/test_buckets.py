"""Folders of a bucket that commands work in, locks there, and copies of data."""

import errno
import os
import pathlib
import shutil

import pytest

from vidgan_jax.runtime.buckets import fetching, leases, objects, staged
from vidgan_jax.runtime.errors import UserError, exit_code
from vidgan_jax.runtime.files import locks, paths, temporary

RUN = "gs://bucket/run"


@pytest.fixture
def folder(bucket):
  """The local copy of a folder with two files, checkpoints, previews and signs of life."""
  for name in ("config.json", "a/b.txt", "checkpoints/2/x", "samples/2.gif", "alive/0.json"):
    bucket.put(f"run/{name}", name.encode())
  bucket.put("running/other", b"")
  return pathlib.Path(staged.open_folder(RUN, "--workdir"))


def files(folder):
  return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_is_copied_without_what_stays_in_the_bucket(folder):
  assert files(folder) == ["a/b.txt", "config.json"]
  assert (folder / "a/b.txt").read_bytes() == b"a/b.txt"
  assert (folder / "checkpoints").is_dir()  # as in the bucket


def test_addresses_and_local_paths_stand_for_each_other(folder, tmp_path):
  assert staged.address(folder / "a") == f"{RUN}/a" and staged.address(tmp_path) is None
  assert staged.named(f"log: {folder}/log.jsonl") == f"log: {RUN}/log.jsonl"
  assert staged.path_of(f"{RUN}/a") == str(folder / "a") and staged.path_of("b") == "b"


@pytest.mark.parametrize("part", ["best", "branches/3"])
def test_a_part_of_a_run_is_copied_with_the_run(folder, bucket, part):
  bucket.put(f"run/{part}/config.json", b"{}")
  path = staged.open_folder(f"{RUN}/{part}", "--workdir")
  assert path == f"{folder}/{part}"
  assert files(folder) == sorted(["a/b.txt", "config.json", f"{part}/config.json"])
  bucket.put(f"alone/{part}/config.json", b"{}")
  bucket.put("alone/other", b"")
  staged.open_folder(f"gs://bucket/alone/{part}", "--workdir")
  assert files(folder.parent / "alone") == [f"{part}/config.json"]


def test_only_changes_are_written_back(folder, bucket):
  (folder / "a/b.txt").write_text("changed")
  (folder / "new").write_text("new")
  (folder / "x.tmp").touch()
  (folder / "checkpoints/3").mkdir()
  (folder / "checkpoints/3/x").touch()
  (folder / "config.json").unlink()
  (folder / "samples").mkdir()
  (folder / "samples/2.gif").write_text("drawn again")  # which the copy did not contain
  bucket.requests.clear()
  staged.push()
  assert bucket.read("run/a/b.txt") == b"changed" and bucket.read("run/new") == b"new"
  assert bucket.read("run/samples/2.gif") == b"drawn again"
  assert bucket.names("run/") == [
    "run/a/b.txt", "run/alive/0.json", "run/checkpoints/2/x", "run/new", "run/samples/2.gif",
  ]  # fmt: skip
  assert len(bucket.requests) == 4
  staged.push()
  assert len(bucket.requests) == 4


def test_changes_of_another_process_are_read_and_never_overwritten(folder, bucket):
  bucket.put("run/a/b.txt", b"of another process")
  (folder / "a/b.txt").write_text("of this process")
  with pytest.raises(UserError, match=r"run/a/b.txt was written by another process.*kept in"):
    staged.push()
  assert bucket.read("run/a/b.txt") == b"of another process"
  del bucket.objects["bucket", "run/config.json"]
  staged.pull(folder)
  assert (folder / "a/b.txt").read_text() == "of another process"
  assert not (folder / "config.json").exists()


def test_files_that_cannot_be_written_are_kept_and_named(folder, bucket):
  bucket.broken = lambda method, path, query: 403 if "upload" in path else None
  (folder / "new").write_text("new")
  with pytest.raises(UserError, match="run/new cannot be written: no permission") as error:
    staged.push()
  temporary._remove_all()
  kept = str(error.value).rpartition(" ")[2]
  assert pathlib.Path(kept, "bucket/run/new").read_text() == "new"
  assert kept in staged.named(str(error.value))  # no address: it is where the files are
  shutil.rmtree(staged._folder.path)


def test_a_damaged_transfer_is_refused(bucket, tmp_path):
  bucket.put("x", b"right")
  (found,) = objects.listing("gs://bucket/x").values()
  bucket.objects["bucket", "x"] = (b"wrong", found.generation)
  with pytest.raises(UserError, match="do not match the checksum"):
    objects.download("gs://bucket/x", found, tmp_path / "x")
  assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
  "address, reason",
  [
    ("gs://", "must be gs://bucket/folder"),
    ("gs://bucket/a*b", "must be gs://bucket/folder"),
    ("gs://bucket/a/../b", "'..' is no folder"),
  ],
)
def test_addresses_that_are_refused(address, reason, bucket):
  with pytest.raises(UserError, match=reason):
    paths.staged(address, "--workdir")


def test_addresses_have_one_form(bucket):
  for address in ("gs://bucket/a/b/", "gs:/bucket/a/b", "gs://bucket//a/./b"):
    assert objects.normal(address, "--workdir") == "gs://bucket/a/b"


def test_missing_packages_are_named(monkeypatch):
  monkeypatch.setattr(objects, "_is_installed", lambda name: False)
  with pytest.raises(UserError, match=r"pip install 'vidgan_jax\[gcs\]'"):
    paths.run(RUN, "--workdir")


def test_a_lock_in_a_bucket_keeps_others_out(folder, bucket):
  with locks.held(folder, "use it"):
    assert b"process" in bucket.read("run/.lock")
    with pytest.raises(locks.Taken, match=f"cannot use it: process {os.getpid()} on .* since"):
      with locks.held(folder, "use it"):
        pass
    with pytest.raises(locks.Taken):
      locks.check(folder, "use it")
    (folder / "new").write_text("new")
  assert "run/.lock" not in bucket.names() and bucket.read("run/new") == b"new"
  locks.check(folder, "use it")


def test_a_lock_reads_what_has_changed_before_it(folder, bucket):
  bucket.put("run/config.json", b"later")
  with locks.held(folder, "use it"):
    assert (folder / "config.json").read_text() == "later"


def test_the_lock_of_a_killed_process_is_taken(folder, bucket):
  bucket.put("run/.lock", b"process 1 on elsewhere, 2026-01-01 00:00:00 UTC, beat 5")
  lines = []
  locks.check(folder, "use it")
  with locks.held(folder, "use it", lines.append):
    assert str(os.getpid()).encode() in bucket.read("run/.lock")
  assert lines == []  # `check` has waited for a sign of life already
  bucket.put("run/.lock", b"process 1 on elsewhere, 2026-01-01 00:00:00 UTC, beat 5")
  with locks.held(folder, "use it", lines.append):
    pass
  assert "process 1 on elsewhere has been using it since 2026" in lines[0]


def test_a_lost_lock_stops_its_process(folder, bucket):
  with pytest.raises(UserError, match=f"another process has taken {RUN}"):
    with locks.held(folder, "use it"):
      leases._kept[RUN].stop()
      bucket.put("run/.lock", b"process 1 on elsewhere, 2026-01-01 00:00:00 UTC")
      leases._kept[RUN]._end.clear()
      leases._kept[RUN]._run()
      leases.check_kept(RUN)
  assert b"elsewhere" in bucket.read("run/.lock")


def test_data_is_copied_once_and_again_when_it_changes(bucket, tmp_path):
  bucket.put("data/a/1", b"one")
  bucket.put("data/a/2", b"two")
  fetch = lambda: pathlib.Path(fetching.fetch("gs://bucket/data/a", str(tmp_path), "--data"))
  copied = lambda: len([r for r in bucket.requests if "/download/" in r])
  assert [p.read_bytes() for p in sorted(fetch().iterdir())] == [b"one", b"two"]
  assert copied() == 2
  fetch()
  assert copied() == 2
  bucket.put("data/a/2", b"TWO")
  bucket.put("data/a/3", b"three")
  del bucket.objects["bucket", "data/a/1"]
  assert [p.read_bytes() for p in sorted(fetch().iterdir())] == [b"TWO", b"three"]
  assert copied() == 4


def test_one_file_is_data_too(bucket, tmp_path):
  bucket.put("clips.npz", b"clips")
  path = fetching.fetch("gs://bucket/clips.npz", str(tmp_path), "--clips")
  assert path == f"{tmp_path}/bucket/clips.npz" and pathlib.Path(path).read_bytes() == b"clips"


def test_data_that_is_missing_or_too_large_is_refused(bucket, tmp_path, monkeypatch):
  with pytest.raises(UserError, match="--clips is 'gs://bucket/clips': there is no such folder"):
    fetching.fetch("gs://bucket/clips", str(tmp_path), "--clips")
  bucket.put("clips/1", b"one")
  monkeypatch.setattr(fetching, "_SPARE", 1 << 60)
  with pytest.raises(UserError, match="set XDG_CACHE_HOME to a folder on a larger disk"):
    fetching.fetch("gs://bucket/clips", str(tmp_path), "--clips")


def test_a_server_that_fails_lets_scripts_start_again(bucket):
  import requests
  from google.api_core import exceptions
  from google.auth import exceptions as auth

  def code(error):
    with pytest.raises(UserError) as raised, objects._errors("gs://bucket/x", "read"):
      raise error
    return exit_code(raised.value)

  away = (
    *(exceptions.ServiceUnavailable("503"), exceptions.TooManyRequests("429")),
    *(exceptions.RetryError("late", None), requests.ConnectionError("x"), requests.Timeout("x")),
    *(auth.TransportError("x"), ConnectionResetError("x")),
  )
  wrong = (
    *(exceptions.Forbidden("403"), exceptions.NotFound("404"), exceptions.BadRequest("400")),
    *(auth.DefaultCredentialsError("x"), OSError(errno.ENOSPC, "full")),
  )
  assert [code(error) for error in away] == [1] * len(away)
  assert [code(error) for error in wrong] == [2] * len(wrong)
