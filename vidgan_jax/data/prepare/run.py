"""Prepares a data set, from a request to a finished set."""

import dataclasses
import os
import shutil
import time
from collections.abc import Callable
from typing import Any

import av
import numpy as np
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
_REPORT_SECONDS = 30.0  # between progress lines if stderr is not a terminal


def prepare(request: Request, report: Callable[[str], None] = print) -> index.Prepared:
  """Prepares a data set, or continues an earlier call with the same request.

  The bytes of the set do not depend on interruptions or on the number of workers. A finished set is
  not changed.

  Args:
    request: source, input, output and settings.
    report: called with each line of text for the user.

  Returns:
    The content of prepared.json.

  Raises:
    UserError: the request is invalid, the output folder contains something else, or a file cannot
      be written. Finished shards stay for the next call, except if a split turns out to be empty:
      then the set can never be finished, and the output is removed.
  """
  if request.source not in SOURCES:
    raise UserError(f"unknown source '{request.source}', known are: {', '.join(SOURCES)}")
  request.check()
  workspace.check_output(request.output)
  if os.path.isfile(request.input) and request.source != "moving_mnist":
    content = advice.advice(request.input, request.resolution) or "is a file"
    raise UserError(
      f"{request.input}: --source={request.source} needs a folder, but this {content}"
    )
  try:
    listing = inputs.select(SOURCES[request.source](request), request)
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
          files = [shard.shard.file for finished in written.values() for shard in finished]
          workspace.discard(request.output, files, existed)
          raise
        return _finish(request, listing, settings, versions, written, skipped, folder, report)
  prepared = index.read_prepared(request.output)
  stored = {"name": prepared.name, **prepared.settings}
  workspace.check_settings(request.output, stored, {"name": request.set_name, **settings})
  _check_finished(request.output, prepared)
  workspace.remove_left_over(request.output)
  report(f"{request.output}: the set is already prepared, nothing to do")
  return prepared


def _check_finished(output: str, prepared: index.Prepared) -> None:
  """Raises UserError if a file of a finished set is missing or has changed."""
  try:
    for split, part in prepared.splits.items():
      index.read_index(output, prepared, split)
      for shard in part.shards:
        path = os.path.join(output, shard.file)
        if not os.path.isfile(path) or os.path.getsize(path) != shard.bytes:
          raise UserError(f"{path}: is missing, or does not have {shard.bytes} bytes")
    for name, checksum in prepared.files.items():
      path = os.path.join(output, os.path.basename(name))
      if index.file_sha256(path) != checksum:
        raise UserError(f"{path}: has changed since it was written (its checksum differs)")
  except UserError as error:
    raise UserError(f"{error}; the set was finished before, --verify lists its faults") from error


def _versions() -> dict[str, str]:
  """Versions of all programs that determine the bytes of a set."""
  return {
    "vidgan_jax": vidgan_jax.__version__,
    "av": av.__version__,
    "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
    "pillow": PIL.__version__,
    "libjpeg": str(pillow_features.version("libjpeg_turbo") or pillow_features.version("jpg")),
    "zlib": str(pillow_features.version("zlib")),
  }


def _write_shards(
  request: Request, listing: inputs.Listing, folder: str, report: Callable[[str], None]
) -> dict[str, list[shards.FinishedShard]]:
  """Writes the shards that are not finished yet; returns all shards of each split."""
  plans = shards.plan_shards(request.set_name, listing.splits, request.clips_per_shard)
  workers = request.workers or cores.usable_cores()
  writer = shards.Writer(
    request.output, folder, request, bool(listing.classes), min(workers, _MAX_WORKERS)
  )
  written = {plan.file: writer.finished(plan) for plan in plans}
  missing = [plan for plan in plans if written[plan.file] is None]
  total, left = (sum(len(plan.inputs) for plan in part) for part in (plans, missing))
  report(f"{request.input}: {total} clips to prepare into {request.output}")
  if left < total:
    report(f"{len(plans) - len(missing)} of {len(plans)} files are finished, continuing")
  bar = tqdm(
    desc=request.set_name,
    total=total,
    initial=total - left,
    unit="clip",
    dynamic_ncols=True,
    disable=None,
  )
  skipped, begun, last_report = 0, time.monotonic(), time.monotonic()
  with bar:
    for done, reason in enumerate(writer.write(missing), start=1):
      skipped += reason is not None
      bar.set_postfix(skipped=skipped, refresh=False)
      bar.update()
      now = time.monotonic()
      if bar.disable and now - last_report > _REPORT_SECONDS:
        last_report, rate = now, done / (now - begun)
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
      path = os.path.join(request.output, plan.file)
      raise UserError(f"{path}: was removed while other files were written")
    by_split[plan.split].append(finished)
  return by_split


def _skipped(
  listing: inputs.Listing, written: dict[str, list[shards.FinishedShard]]
) -> dict[str, list[tuple[str, str]]]:
  """(path, reason) of all inputs that cannot be used, by split."""
  skipped = {
    split: [(unusable.path, unusable.reason) for unusable in all_unusable]
    for split, all_unusable in listing.unusable.items()
  }
  for split, finished in written.items():
    skipped[split] += sorted(pair for shard in finished for pair in shard.skipped)
  return skipped


def _check_not_empty(
  written: dict[str, list[shards.FinishedShard]], skipped: dict[str, list[tuple[str, str]]]
) -> None:
  """Raises UserError if a split has no clips."""
  for split, finished in written.items():
    if not any(len(shard.clips) for shard in finished):
      path, reason = skipped[split][0]
      raise UserError(
        f"split '{split}' is empty: none of {len(skipped[split])} clips can be used, such as "
        f"{printable(path)}: {reason}"
      )


def _finish(
  request: Request,
  listing: inputs.Listing,
  settings: dict[str, Any],
  versions: dict[str, str],
  written: dict[str, list[shards.FinishedShard]],
  skipped: dict[str, list[tuple[str, str]]],
  folder: str,
  report: Callable[[str], None],
) -> index.Prepared:
  """Writes all files except the shards, moves them into the set, and reports a summary.

  Args:
    request: see `prepare`.
    listing: the inputs.
    settings: all settings that determine the bytes of the set.
    versions: see `_versions`.
    written: finished shards by split.
    skipped: (path, reason) of inputs that cannot be used, by split.
    folder: folder of unfinished work.
    report: see `prepare`.

  Returns:
    The content of prepared.json.
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
    {
      split: [(len(shard.clips), shard.shard.bytes) for shard in finished]
      for split, finished in written.items()
    },
    f"{prepared.name}, prepared by vidgan_jax {versions['vidgan_jax']}",
  )
  enlarged = [
    side for finished in written.values() for shard in finished for side in shard.enlarged
  ]
  lines = reports.write_reports(
    staging,
    request.output,
    prepared,
    indices,
    skipped,
    listing.ignored,
    enlarged,
    listing.remarks,
  )
  names = sorted(entry.name for entry in os.scandir(staging) if entry.is_file())
  files = {name: index.file_sha256(os.path.join(staging, name)) for name in names}
  prepared = dataclasses.replace(prepared, files=files)
  index.write_prepared(staging, prepared)
  workspace.move_into_place(staging, request.output)
  workspace.remove_workspace(request.output)
  for line in lines:
    report(line)
  report(f"report.txt, skipped.txt and contact_sheet.png are in {request.output}")
  return prepared


def _write_indices(
  staging: str, written: dict[str, list[shards.FinishedShard]]
) -> tuple[dict[str, index.Split], dict[str, tuple[np.ndarray, np.ndarray]]]:
  """Writes the index of each split; returns index.Split and the arrays of the index, by split."""
  splits, indices = {}, {}
  for split, finished in written.items():
    clips, frames = indices[split] = shards.join(finished)
    checksums = index.write_index(staging, split, clips, frames)
    files = tuple(shard.shard for shard in finished)
    splits[split] = index.Split(len(clips), len(frames), files, checksums)
  return splits, indices
