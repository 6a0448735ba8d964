"""Versions of the code that computes features, stored with cached features.

Cached features of another version are rejected and computed again. Raise the version of a part if a
change of its code changes features by more than rounding. Changes of names, comments or structure
keep the version, so that all cached features stay valid.
"""

VERSIONS = {
  "preprocessing": 1,  # `preprocessing` and `resizing`, which all networks share
  "c3d": 1,
  "i3d": 1,
  "moving_shapes": 1,
  "r2plus1d": 1,
}
# {hash: version}. Files from before versions were introduced hold a hash of the source files.
_OF_HASHES = {
  "3237c8ee8516": "preprocessing 1",  # for networks from outside this project
  "8452b3f26ba1": "preprocessing 1, i3d 1",
  "e1617c3905a6": "preprocessing 1, c3d 1",
  "08002382a95a": "preprocessing 1, r2plus1d 1",
  "e1ef5639571b": "preprocessing 1, moving_shapes 1",
}


def version(network: str = "") -> str:
  """The version of the code that computes features, such as "preprocessing 1, i3d 1".

  Args:
    network: a key of `VERSIONS`, or name and version of a network from outside this project, such
      as "mine 3"; empty for preprocessing only.
  """
  parts = [f"preprocessing {VERSIONS['preprocessing']}"]
  if network:
    parts.append(f"{network} {VERSIONS[network]}" if network in VERSIONS else network)
  return ", ".join(parts)


def stored(entry: object) -> str | None:
  """The version that a file of cached features states, in the form of `version`.

  Args:
    entry: the entry in the file: a version, or a hash in older files.

  Returns:
    the version; None if the entry is not text. The oldest files have no entry.
  """
  return _OF_HASHES.get(entry, entry) if isinstance(entry, str) else None
