"""Features of real clips, and the files in which they are kept between evaluations.

A file is an `.npz` without pickled objects: for each output moments and, where they were kept,
features; the labels; and `__about__`, JSON bytes of all that they were made from. A file of other
clips or another network is refused, naming the first difference; so is one of another version of
the code (`code`). That version is no part of a number's fingerprint.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from vidgan_jax.data.sources import base as sources
from vidgan_jax.evaluation.features import code
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.report import results
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz, paths
from vidgan_jax.runtime.text import printable

_ABOUT, _LABELS = "__about__", "labels"
_MOMENTS = ("count", "mean", "m2")
_CODE = "code"  # in a file's description alone
_FORMAT = 1
_MAX_BYTES = 2**34  # of a file that is read


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
  """The real side.

  Attributes:
    gathered: {(network, operations): {output: `FeatureSet`}}.
    labels: int of each clip, or None where the data has no classes.
    hashes: {(network, operations): twelve digits of all it was made from}.
    shape: (T, H, W, 3) of its clips.
    count: clips.
    description: for reading.
    class_names: of its data.
    population: clips that there are, of which these are a random part; None where their labels are
      independent, as those of `halves` are of each other.
    stride, trained_stride, split, data: see `clips.RealClips`; None where they are not known.
  """

  gathered: Mapping
  labels: np.ndarray | None
  hashes: Mapping
  shape: tuple
  count: int
  description: str
  class_names: tuple[str, ...] = ()
  population: int | None = None
  stride: int | None = None
  trained_stride: int | None = None
  split: str | None = None
  data: str | None = None

  def halves(self, count: int, seed: int = 0):
    """The two disjoint sets of its clips that a floor at `count` generated clips is of.

    Args:
      count: generated clips; each set has as many, or half of all clips where these are fewer.
      seed: of the draw, that of the floor.

    Returns:
      (a `Reference` of the first set, numbers int64 [count] of the clips of the second).

    Raises:
      UserError: where features were too many to keep, or clips are too few.
    """
    kept = {
      feature_path: {o: found.features for o, found in own.items()}
      for feature_path, own in self.gathered.items()
    }
    if any(features is None for own in kept.values() for features in own.values()):
      raise UserError("the features of so many real clips are too large to keep")
    one, other = intervals.disjoint_halves(self.count, min(count, self.count // 2), seed)
    some = lambda features: FeatureSet(Moments.of(features[one]), features[one])
    part = {"first_of_halves": [len(one), seed]}
    return dataclasses.replace(
      self,
      gathered={
        feature_path: {o: some(f) for o, f in own.items()} for feature_path, own in kept.items()
      },
      labels=None if self.labels is None else self.labels[one],
      hashes={
        feature_path: fingerprint.digest({"of": h, **part})
        for feature_path, h in self.hashes.items()
      },
      count=len(one),
      description=f"{len(one)} of {self.description}",
      population=None,
    ), other


def default_folder() -> pathlib.Path | None:
  """$VIDGAN_JAX_REFERENCES, or vidgan_jax/references in the user's cache; None without a home."""
  given = os.environ.get("VIDGAN_JAX_REFERENCES")
  if given:
    return pathlib.Path(paths.local(given, "VIDGAN_JAX_REFERENCES"))
  folder = paths.cache("references")
  return pathlib.Path(folder) if folder else None


def about(feature_path, protocol, shape, about_clips: Mapping, count: int) -> dict:
  """All that features of real clips depend on, as plain values.

  Args:
    feature_path: see `pipeline.FeaturePath`.
    protocol: see `protocols.Protocol`.
    shape: (T, H, W, 3) of the clips.
    about_clips: their `about`, see `evaluation.clips`, which tells of the data.
    count: clips.
  """
  frames, height, width, _ = shape
  return fingerprint.plain(
    {
      "format": _FORMAT,
      "network": feature_path.extractor.name,
      "weights": feature_path.extractor.weights_hash,
      "constants": fingerprint.of_constants(feature_path.extractor.constants),
      "preprocess": feature_path.operations,
      "outputs": sorted(feature_path.outputs),
      "frames": frames,
      "resolution": [height, width],
      "count": count,
      **protocol.sampling_of_real_clips(),
      **about_clips,
    }
  )


class OtherCode(UserError):
  """Features that other code made of the same clips with the same weights."""


def save(path, gathered: dict[str, FeatureSet], labels, about_it: dict, made_by: str) -> None:
  """Writes a file whole or not at all.

  Args:
    path: of the file.
    gathered: by output.
    labels: int [N].
    about_it: see `about`.
    made_by: see `code.version`.

  Raises:
    UserError: where it cannot be written.
  """
  path = pathlib.Path(path)
  arrays = {_LABELS: np.asarray(labels, np.int32)}
  for output, found in gathered.items():
    for name, array in found.moments.to_arrays().items():
      arrays[f"{output}/{name}"] = array
    if found.features is not None:
      arrays[f"{output}/features"] = found.features
  told = {**about_it, _CODE: made_by}
  arrays[_ABOUT] = np.frombuffer(json.dumps(told, sort_keys=True).encode(), np.uint8)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot write the reference {path}: {error}") from error
  npz.write(path, arrays)


def load(path, expected: dict, made_by: str) -> tuple[dict[str, FeatureSet], np.ndarray]:
  """Reads a file.

  Args:
    path: of the file.
    expected: what it must be of; see `about`.
    made_by: version of the code that would make it now.

  Returns:
    ({output: `FeatureSet`}, labels).

  Raises:
    OtherCode: where other code made it; files of before this was written down do not tell.
    UserError: where it cannot be read, is damaged, or of something else.
  """
  arrays = npz.read(path, max_bytes=_MAX_BYTES)
  if _ABOUT not in arrays:
    raise UserError(f"{path}: is no reference, a file of features that --reference wrote")
  told = json_files.parse(arrays[_ABOUT].tobytes(), str(path), dict)
  there = code.stored(told.pop(_CODE, None))
  if "stride" in expected:  # older files lack it; "probe", bytes of some clips, stands for it
    told.setdefault("stride", expected["stride"])
  different = fingerprint.difference(told, expected)
  if different:
    raise UserError(f"the reference {path} is of something else: {different}")
  if there != made_by:
    network = printable(str(expected.get("network")))
    raise OtherCode(f"the reference {path} was made by other code of {network} than this")
  count, gathered = expected["count"], {}
  damaged = f"the reference {path} is damaged:"
  labels = arrays.get(_LABELS)
  if labels is None or labels.shape != (count,) or labels.dtype.kind not in "iu":
    raise UserError(f"{damaged} its labels are not {count} integers")
  sources.check_labels(labels, sources.MAX_CLASSES, str(path))
  for output in expected["outputs"]:
    own = {n: arrays[f"{output}/{n}"] for n in _MOMENTS if f"{output}/{n}" in arrays}
    if own.get("count", np.empty(0)).size == 1:
      own["count"] = own["count"].reshape(())  # files hold no scalars
    try:
      moments = Moments.from_arrays(own)
    except UserError as error:
      raise UserError(f"{damaged} {output}: {error}") from error
    features = arrays.get(f"{output}/features")
    if moments.count != count:
      raise UserError(f"{damaged} {output} is of {moments.count} clips, not {count}")
    if features is not None:
      features = _checked_features(features, (count, len(moments.mean)), f"{damaged} {output}")
    gathered[output] = FeatureSet(moments, features)
  return gathered, labels


def _checked_features(features, shape: tuple[int, int], what: str) -> np.ndarray:
  """Features as they were kept; UserError where they are others than their moments."""
  if features.shape != shape or features.dtype.kind != "f" or not np.isfinite(features).all():
    raise UserError(f"{what}: its features are not {list(shape)} finite numbers")
  return features


def path_for(folder, protocol_name: str, about_it: dict) -> pathlib.Path:
  """Where a reference is kept: its name tells protocol and network, and a digest all else."""
  name = f"{protocol_name}-{about_it['network']}-{fingerprint.digest(about_it)}.npz"
  return pathlib.Path(folder) / name


@dataclasses.dataclass(frozen=True)
class ReferenceFile:
  """The file with the real clips' features of one `FeaturePath`, if there is one.

  Attributes:
    path: of the file, or None.
    named: the user named this file: what does not fit is refused, not replaced.
    about: see the function of this name.
    made_by: see `code.version`.
  """

  path: pathlib.Path | None
  named: bool
  about: Mapping
  made_by: str

  @classmethod
  def of(cls, feature_path, protocol, about_it: Mapping, file=None, folder=None) -> "ReferenceFile":
    """A file that was named, else one in a folder, else none."""
    path = file or (folder and path_for(folder, protocol.name, about_it)) or None
    if path and not file and not os.path.lexists(path):
      untold = {name: value for name, value in about_it.items() if name != "stride"}
      older = path_for(folder, protocol.name, untold)
      path = older if os.path.lexists(older) else path
    made_by = code.version(feature_path.extractor.code)
    return cls(path and pathlib.Path(path), file is not None, about_it, made_by)

  def load(self, report):
    """({output: `FeatureSet`}, labels), or None where they are to be made; see `load`.

    Raises:
      UserError: the file that was named is damaged, of something else, or cannot be written later.
    """
    if self.path is None:
      return None
    if not os.path.lexists(self.path):
      if self.named:
        results.check_writable(self.path.parent)  # before hours of computing
      return None
    try:
      found = load(self.path, self.about, self.made_by)
    except UserError as error:
      if self.named:
        remedy = "; remove it, and it is made anew" if isinstance(error, OtherCode) else ""
        raise UserError(f"{error}{remedy}") from error
      report(f"{error}; it is made anew")
      return None
    report(f"features of {self.about['count']} real clips: {self.path}")
    return found

  def save(self, gathered: dict[str, FeatureSet], labels, report) -> None:
    """Writes the features to the file, if there is one; a failure is reported as a warning."""
    if self.path is None:
      return
    try:
      save(self.path, gathered, labels, self.about, self.made_by)
    except UserError as error:
      report(
        f"WARNING: {error}; the real clips' features are not kept, and the next evaluation "
        "computes them again ($VIDGAN_JAX_REFERENCES names another folder)"
      )
