"""Features of real clips, and the files that cache them between evaluations.

A file is an `.npz` without pickled objects. It holds the moments of each output, its features if
they are not too large, the labels, and `__about__`: JSON with all that the features depend on. A
file for other clips or another network is refused with the first difference. So is a file of
another version of the feature code (`code`), which is not part of the fingerprints of numbers.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from vidgan_jax.data.sources import base as sources
from vidgan_jax.evaluation.features import code
from vidgan_jax.evaluation.features.pipeline import FeaturePath
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols.base import Protocol
from vidgan_jax.evaluation.statistics import intervals
from vidgan_jax.evaluation.statistics.moments import FeatureSet, Moments
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import json_files, npz, paths
from vidgan_jax.runtime.text import printable

_ABOUT, _LABELS = "__about__", "labels"
_MOMENTS = ("count", "mean", "m2")
_CODE = "code"  # field of `__about__` that is not part of `about`
_FORMAT = 1
_MAX_BYTES = 2**34  # largest size of a file


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
  """Features of the real clips that generated clips are compared with.

  Attributes:
    gathered: {(network, operations): {output: `FeatureSet`}}.
    labels: int [N], or None if the data has no classes.
    hashes: {(network, operations): hash of all that the features depend on, twelve digits}.
    shape: (T, H, W, 3) of the clips.
    count: number of clips N.
    description: description of the clips for users.
    class_names: names of the classes of the data.
    population: number of clips in the data set that these clips are a random part of; None if
      their labels are independent of each other, which holds for `halves`.
    stride, trained_stride, split, data: see `clips.RealClips`; None if unknown.
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

  def halves(self, count: int, seed: int = 0) -> tuple["Reference", np.ndarray]:
    """Draws the two disjoint sets of clips that a floor for `count` generated clips compares.

    Args:
      count: number of generated clips. Each set has as many clips, or half of all real clips if
        that is less.
      seed: seed of the sets; the seed of the floor gives the same sets as the floor.

    Returns:
      (a `Reference` with the first set, indices int64 [count] of the clips in the second set).

    Raises:
      UserError: features were too large to store, or there are too few clips.
    """
    first, second = intervals.disjoint_halves(self.count, min(count, self.count // 2), seed)

    def half(whole: FeatureSet) -> FeatureSet:
      if whole.features is None:
        raise UserError("the features of this many real clips are too large to store")
      return FeatureSet(Moments.of(whole.features[first]), whole.features[first])

    gathered = {
      key: {output: half(whole) for output, whole in outputs.items()}
      for key, outputs in self.gathered.items()
    }
    part = {"first_of_halves": [len(first), seed]}
    return dataclasses.replace(
      self,
      gathered=gathered,
      labels=None if self.labels is None else self.labels[first],
      hashes={
        key: fingerprint.digest({"of": digest, **part}) for key, digest in self.hashes.items()
      },
      count=len(first),
      description=f"{len(first)} of {self.description}",
      population=None,
    ), second


def default_folder() -> pathlib.Path | None:
  """The folder of cached features: $VIDGAN_JAX_REFERENCES, or one in the user's cache.

  None if there is neither the variable nor a home folder.
  """
  given = os.environ.get("VIDGAN_JAX_REFERENCES")
  if given:
    return pathlib.Path(paths.local(given, "VIDGAN_JAX_REFERENCES"))
  folder = paths.cache("references")
  return pathlib.Path(folder) if folder else None


def about(
  feature_path: FeaturePath,
  protocol: Protocol,
  shape: tuple[int, int, int, int],
  about_clips: Mapping,
  count: int,
) -> dict:
  """All that features of real clips depend on, as plain values.

  Args:
    feature_path: network and preprocessing, see `pipeline.FeaturePath`.
    protocol: the protocol, see `protocols.Protocol`.
    shape: (T, H, W, 3) of the clips.
    about_clips: `about` of the clips, which describes the data, see `evaluation.clips`.
    count: number of clips.
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


class OtherCodeVersion(UserError):
  """The features have the right clips and weights, but were computed by another code version."""


def save(
  path: str | os.PathLike,
  gathered: Mapping[str, FeatureSet],
  labels: np.ndarray,
  fields: Mapping,
  code_version: str,
) -> None:
  """Writes a file completely or not at all.

  Args:
    path: the file.
    gathered: {output: its features}.
    labels: int [N].
    fields: what the features depend on, see `about`.
    code_version: see `code.version`.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  arrays = {_LABELS: np.asarray(labels, np.int32)}
  for output, feature_set in gathered.items():
    for name, array in feature_set.moments.to_arrays().items():
      arrays[f"{output}/{name}"] = array
    if feature_set.features is not None:
      arrays[f"{output}/features"] = feature_set.features
  stored = {**fields, _CODE: code_version}
  arrays[_ABOUT] = np.frombuffer(json.dumps(stored, sort_keys=True).encode(), np.uint8)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f"cannot write the reference file {path}: {error}") from error
  npz.write(path, arrays)


def load(
  path: str | os.PathLike, expected: Mapping, code_version: str
) -> tuple[dict[str, FeatureSet], np.ndarray]:
  """Reads a file.

  Args:
    path: the file.
    expected: what the features must depend on; see `about`.
    code_version: the current version of the feature code.

  Returns:
    ({output: `FeatureSet`}, labels).

  Raises:
    OtherCodeVersion: another version of the code computed the features, or the file is so old that
      it states no version.
    UserError: the file cannot be read or is damaged, or `expected` differs from its fields.
  """
  arrays = npz.read(path, max_bytes=_MAX_BYTES)
  if _ABOUT not in arrays:
    raise UserError(f"{path} is not a file with features of real clips that --reference wrote")
  fields = json_files.parse(arrays[_ABOUT].tobytes(), str(path), dict)
  stored_version = code.stored(fields.pop(_CODE, None))
  if "stride" in expected:
    # Older files lack the stride. It changes their field "probe", a hash of some clips.
    fields.setdefault("stride", expected["stride"])
  different = fingerprint.difference(fields, expected)
  if different:
    raise UserError(f"the reference file {path} does not fit: {different}")
  if stored_version != code_version:
    network = printable(str(expected.get("network")))
    raise OtherCodeVersion(
      f"the reference file {path} was computed by another version of the code of {network}"
    )
  count, gathered = expected["count"], {}
  damaged = f"the reference file {path} is damaged:"
  labels = arrays.get(_LABELS)
  if labels is None or labels.shape != (count,) or labels.dtype.kind not in "iu":
    raise UserError(f"{damaged} its labels are not {count} integers")
  sources.check_labels(labels, sources.MAX_CLASSES, str(path))
  for output in expected["outputs"]:
    parts = {n: arrays[f"{output}/{n}"] for n in _MOMENTS if f"{output}/{n}" in arrays}
    if parts.get("count", np.empty(0)).size == 1:
      parts["count"] = parts["count"].reshape(())  # files hold no scalars
    try:
      moments = Moments.from_arrays(parts)
    except UserError as error:
      raise UserError(f"{damaged} {output}: {error}") from error
    features = arrays.get(f"{output}/features")
    if moments.count != count:
      raise UserError(f"{damaged} {output} has {moments.count} clips, not {count}")
    if features is not None:
      features = _checked_features(features, (count, len(moments.mean)), f"{damaged} {output}")
    gathered[output] = FeatureSet(moments, features)
  return gathered, labels


def _checked_features(features, shape: tuple[int, int], what: str) -> np.ndarray:
  """The stored features; UserError, beginning with `what`, if they do not fit their moments."""
  if features.shape != shape or features.dtype.kind != "f" or not np.isfinite(features).all():
    raise UserError(f"{what}: its features are not {list(shape)} finite numbers")
  return features


def path_for(folder: str | os.PathLike, protocol_name: str, fields: Mapping) -> pathlib.Path:
  """The path of cached features; its name has the protocol, the network and a hash of `fields`."""
  name = f"{protocol_name}-{fields['network']}-{fingerprint.digest(fields)}.npz"
  return pathlib.Path(folder) / name


@dataclasses.dataclass(frozen=True)
class ReferenceFile:
  """The file for the features of real clips of one `FeaturePath`.

  Attributes:
    path: the file, or None if the features are not stored.
    given_by_user: whether the user gave the path. If the file then does not fit, it is an error;
      otherwise the file is replaced.
    fields: what the features depend on, see `about`.
    code_version: see `code.version`.
  """

  path: pathlib.Path | None
  given_by_user: bool
  fields: Mapping
  code_version: str

  @classmethod
  def of(
    cls,
    feature_path: FeaturePath,
    protocol: Protocol,
    fields: Mapping,
    file: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
  ) -> "ReferenceFile":
    """Chooses the file of one set of features: `file` if given, else the file in `folder`.

    The name of the file in `folder` is that of `path_for`. Without both, nothing is stored.
    """
    path = file or (folder and path_for(folder, protocol.name, fields)) or None
    if path and folder and not file and not os.path.lexists(path):
      # Names of older files were computed without the stride.
      without_stride = {name: value for name, value in fields.items() if name != "stride"}
      older = path_for(folder, protocol.name, without_stride)
      path = older if os.path.lexists(older) else path
    code_version = code.version(feature_path.extractor.code)
    return cls(pathlib.Path(path) if path else None, file is not None, fields, code_version)

  def load(self, report: Callable[[str], None]) -> tuple[dict[str, FeatureSet], np.ndarray] | None:
    """({output: `FeatureSet`}, labels), or None if they have to be computed; see `load`.

    Raises:
      UserError: the user gave the file, and it is damaged, does not fit, or could not be written.
    """
    if self.path is None:
      return None
    if not os.path.lexists(self.path):
      if self.given_by_user:
        paths.check_writable(self.path.parent)  # before a computation that may take hours
      return None
    try:
      loaded = load(self.path, self.fields, self.code_version)
    except UserError as error:
      if self.given_by_user:
        remedy = "; remove the file to compute it again"
        raise UserError(
          f"{error}{remedy if isinstance(error, OtherCodeVersion) else ''}"
        ) from error
      report(f"{error}; it is computed again")
      return None
    report(f"features of {self.fields['count']} real clips: {self.path}")
    return loaded

  def save(
    self, gathered: Mapping[str, FeatureSet], labels: np.ndarray, report: Callable[[str], None]
  ) -> None:
    """Writes the features to the file, if there is one; reports a failure as a warning."""
    if self.path is None:
      return
    try:
      save(self.path, gathered, labels, self.fields, self.code_version)
    except UserError as error:
      report(
        f"WARNING: {error}; the features of the real clips are not stored, and the next evaluation "
        "computes them again (set $VIDGAN_JAX_REFERENCES to another folder)"
      )
