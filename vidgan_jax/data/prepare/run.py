"""One preparation, from its request to a finished set."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable

import av
import PIL
from PIL import features as pillow_features
from tqdm import tqdm

import vidgan_jax
from vidgan_jax.data import advice
from vidgan_jax.data.formats import index
from vidgan_jax.data.prepare import (
  arrays,
  inputs,
  kinetics,
  reports,
  shards,
  tfds_files,
  trees,
  workspace,
)
from vidgan_jax.data.prepare.settings import Request
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.hardware import cores
from vidgan_jax.runtime.text import printable

SOURCES = {
  "bair": arrays.list_bair,
  "folder": trees.list_videos,
  "frames": trees.list_frames,
  "kinetics": kinetics.list_kinetics,
  "moving_mnist": arrays.list_moving_mnist,
  "tfds": arrays.list_tfds,
  "ucf101": trees.list_ucf101,
}
_MAX_WORKERS = 64
_TOLD_SECONDS = 30.0  # between lines about the progress where there is no terminal


def prepare(request: Request, report: Callable[[str], None] = print) -> index.Prepared:
  """Prepares a data set, or goes on where an earlier call with the same request was stopped.

  The result is the same byte for byte, however often it was stopped and whatever the number of
  workers. A set that is finished is left as it is.

  Args:
    request: what is asked for.
    report: receives each line for the user.

  Returns:
    What prepared.json says.

  Raises:
    UserError: on bad input, where the output holds something else, or where it cannot be written;
      what is finished stays, but nothing does of a set with an empty split, which never will be.
  """
  if request.source not in SOURCES:
    raise UserError(f"unknown source '{request.source}', known are: {', '.join(SOURCES)}")
  request.check()
  workspace.check_output(request.output)
  if os.path.isfile(request.input) and request.source != "moving_mnist":
    what = advice.advice(request.input, request.resolution) or "is a file"
    raise UserError(f"{request.input}: {request.source} takes a folder, and this {what}")
  try:
    listing = inputs.checked(SOURCES[request.source](request), request)
  except OSError as error:
    raise UserError(f"{error.filename}: not readable ({error.strerror})") from error
  settings = {**request.settings(), "splits": list(listing.splits), "inputs": listing.digest()}
  if not workspace.is_finished(request.output):
    versions, existed = _versions(), os.path.isdir(request.output)
    identity = {"name": request.set_name, **settings, "versions": versions}
    with workspace.opened(request.output, identity, report) as folder:
      if not workspace.is_finished(request.output):
        written = _write_shards(request, listing, folder, report)
        skipped = _skipped(listing, written)
        try:
          _check_not_empty(written, skipped)
        except UserError:
          made = [one.shard.file for ones in written.values() for one in ones]
          workspace.discard(request.output, made, existed)
          raise
        return _finish(request, listing, settings, versions, written, skipped, folder, report)
  prepared = index.read_prepared(request.output)
  there = {"name": prepared.name, **prepared.settings}
  workspace.check_settings(request.output, there, {"name": request.set_name, **settings})
  _check_finished(request.output, prepared)
  workspace.remove_left_over(request.output)
  report(f"{request.output}: is prepared already, nothing to do")
  return prepared


def _check_finished(output: str, prepared: index.Prepared) -> None:
  """Raises UserError where the files of a finished set are not those it was finished with."""
  try:
    for split, part in prepared.splits.items():
      index.read_index(output, prepared, split)
      for shard in part.shards:
        path = os.path.join(output, shard.file)
        if not os.path.isfile(path) or os.path.getsize(path) != shard.bytes:
          raise UserError(f"{path}: is not there, or not of {shard.bytes} bytes")
    for name, checksum in prepared.files.items():
      path = os.path.join(output, os.path.basename(name))
      if index.file_sha256(path) != checksum:
        raise UserError(f"{path}: is not the file that was written (its checksum differs)")
  except UserError as error:
    raise UserError(f"{error}; the set was finished, --verify tells what became of it") from error


def _versions() -> dict[str, str]:
  """Of all that decides the bytes."""
  return {
    "vidgan_jax": vidgan_jax.__version__,
    "av": av.__version__,
    "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
    "pillow": PIL.__version__,
    "libjpeg": str(pillow_features.version("libjpeg_turbo") or pillow_features.version("jpg")),
    "zlib": str(pillow_features.version("zlib")),
  }


def _write_shards(request, listing, folder, report) -> dict[str, list[shards.Written]]:
  """Writes what is not finished; returns the shards of each split."""
  plans = shards.plan(request.set_name, listing.splits, request.clips_per_shard)
  workers = request.workers or cores.usable_cores()
  writer = shards.Writer(
    request.output, folder, request, bool(listing.classes), min(workers, _MAX_WORKERS)
  )
  written = {plan.file: writer.finished(plan) for plan in plans}
  missing = [plan for plan in plans if written[plan.file] is None]
  total, left = (sum(len(plan.inputs) for plan in part) for part in (plans, missing))
  report(f"{request.input}: {total} clips to prepare into {request.output}")
  if left < total:
    report(f"{len(plans) - len(missing)} of {len(plans)} files are finished, the rest is continued")
  bar = tqdm(
    desc=request.set_name,
    total=total,
    initial=total - left,
    unit="clip",
    dynamic_ncols=True,
    disable=None,
  )
  skipped, begun, told = 0, time.monotonic(), time.monotonic()
  with bar:
    for done, reason in enumerate(writer.write(missing), start=1):
      skipped += reason is not None
      bar.set_postfix(skipped=skipped, refresh=False)
      bar.update()
      now = time.monotonic()
      if bar.disable and now - told > _TOLD_SECONDS:
        told, rate = now, done / (now - begun)
        report(
          f"{total - left + done} of {total} clips, {rate:.1f} clips/s, about "
          f"{(left - done) / rate:.0f} s left"
        )
  seconds = time.monotonic() - begun
  if left:
    report(f"{left} clips in {seconds:.1f} s, {left / max(seconds, 1e-9):.1f} clips/s")
  by_split = {split: [] for split in listing.splits}
  for plan in plans:
    finished = written[plan.file] or writer.finished(plan)
    if finished is None:
      raise UserError(f"{os.path.join(request.output, plan.file)}: has gone while others were made")
    by_split[plan.split].append(finished)
  return by_split


def _skipped(listing, written) -> dict[str, list[tuple[str, str]]]:
  """(path, reason) of all that cannot be used, by split."""
  skipped = {
    split: [(one.path, one.reason) for one in ones] for split, ones in listing.unusable.items()
  }
  for split, ones in written.items():
    skipped[split] += sorted(pair for one in ones for pair in one.skipped)
  return skipped


def _check_not_empty(written: dict[str, list[shards.Written]], skipped) -> None:
  """Raises UserError where a split has no clips."""
  for split, ones in written.items():
    if not any(len(one.clips) for one in ones):
      path, reason = skipped[split][0]
      raise UserError(
        f"split '{split}' is empty: none of {len(skipped[split])} clips can be used, such as "
        f"{printable(path)}: {reason}"
      )


def _finish(request, listing, settings, versions, written, skipped, folder, report):
  """Writes all but the shards, moves it into place, and tells what is there.

  Returns:
    What prepared.json says.
  """
  staging = os.path.join(folder, "staging")
  shutil.rmtree(staging, ignore_errors=True)
  splits, indices = _write_indices(staging, written)
  prepared = index.Prepared(
    name=request.set_name,
    classes=listing.classes,
    settings=settings,
    versions=versions,
    splits=splits,
    skipped=sum(map(len, skipped.values())),
  )
  tfds_files.write_tfds_files(
    staging,
    prepared.name,
    prepared.classes,
    settings["encoding"],
    {split: [(len(one.clips), one.shard.bytes) for one in ones] for split, ones in written.items()},
    f"{prepared.name}, prepared by vidgan_jax {versions['vidgan_jax']}",
  )
  enlarged = [side for ones in written.values() for one in ones for side in one.enlarged]
  lines = reports.write_reports(
    staging,
    request.output,
    prepared,
    indices,
    skipped,
    listing.aside,
    enlarged,
    listing.remarks,
  )
  names = sorted(entry.name for entry in os.scandir(staging) if entry.is_file())
  files = {name: index.file_sha256(os.path.join(staging, name)) for name in names}
  prepared = dataclasses.replace(prepared, files=files)
  index.write_prepared(staging, prepared)
  workspace.move_into_place(staging, request.output)
  workspace.remove(request.output)
  for line in lines:
    report(line)
  report(f"report.txt, skipped.txt and contact_sheet.png are in {request.output}")
  return prepared


def _write_indices(staging: str, written: dict[str, list[shards.Written]]):
  """Writes the index of each split; returns index.Split and the index's two arrays by split."""
  splits, indices = {}, {}
  for split, ones in written.items():
    clips, frames = indices[split] = shards.join(ones)
    checksums = index.write_index(staging, split, clips, frames)
    files = tuple(one.shard for one in ones)
    splits[split] = index.Split(len(clips), len(frames), files, checksums)
  return splits, indices
