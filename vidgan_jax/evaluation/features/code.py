"""Versions of the code that computes features, stored with cached features.

Features of another version are rejected and computed again. Raise the version of a part when a
change of its code moves features by more than rounding. A change of names, comments or structure
leaves the version, and with it all cached features.
"""

VERSIONS = {
  "preprocessing": 1,  # of all networks: `preprocessing` and `resizing`
  "c3d": 1,
  "i3d": 1,
  "moving_shapes": 1,
  "r2plus1d": 1,
}
# Files from before there were versions hold a hash of the source files: {hash: version}.
_OF_HASHES = {
  "3237c8ee8516": "preprocessing 1",  # of networks from outside this project
  "8452b3f26ba1": "preprocessing 1, i3d 1",
  "e1617c3905a6": "preprocessing 1, c3d 1",
  "08002382a95a": "preprocessing 1, r2plus1d 1",
  "e1ef5639571b": "preprocessing 1, moving_shapes 1",
}


def version(network: str = "") -> str:
  """The version of the code that turns clips into features, "preprocessing 1, i3d 1".

  Args:
    network: a part in `VERSIONS`, or name and version of a network from outside, "mine 3"; empty
      counts preprocessing alone.
  """
  parts = [f"preprocessing {VERSIONS['preprocessing']}"]
  if network:
    parts.append(f"{network} {VERSIONS[network]}" if network in VERSIONS else network)
  return ", ".join(parts)


def stored(kept: object) -> str | None:
  """The version that a file of features states, as `version` writes it.

  Args:
    kept: the file's entry: a version, or a hash in an older file.

  Returns:
    the version; None where the entry is none, as in the oldest files.
  """
  return _OF_HASHES.get(kept, kept) if isinstance(kept, str) else None
