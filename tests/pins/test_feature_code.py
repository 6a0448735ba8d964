"""Code that computes features does not change without its version, or a look at its pin."""

import textwrap

import pytest

from tests.pins import feature_code

SOURCE = '''
"""Of what it is."""
import numpy as np

def double(x):
  """Twice x."""
  return 2 * x  # twice
'''


def test_code_of_features_is_as_pinned():
  assert not feature_code.differing()


@pytest.mark.parametrize(
  ("old", "new", "same"),
  [
    ("Of what it is", "Another sentence", True),
    ("Twice x", "x, and x again", True),
    ("# twice", "# 2 of them", True),
    ("import numpy as np", "from elsewhere import numpy as np", True),
    ("return 2 * x", "return (2\n    * x)", True),
    ("return 2 * x", "return 3 * x", False),
    ("return 2 * x", "return 2 + x", False),
    ("def double(x):", "def double(x, y=1):", False),
  ],
)
def test_what_counts(old, new, same):
  before, after = SOURCE, SOURCE.replace(old, new)
  assert before != after
  assert (feature_code.syntax(before) == feature_code.syntax(after)) == same


def test_a_change_of_a_network_is_named(monkeypatch):
  read = feature_code._source
  changed = lambda name: read(name).replace("axis=", "axis = 1 + ", 1)
  monkeypatch.setattr(feature_code, "_source", lambda name: changed(name))
  lines = feature_code.differing()
  assert lines and all("raise it in VERSIONS" in line for line in lines)
  monkeypatch.setattr(feature_code, "_source", read)
  monkeypatch.setitem(feature_code.code.VERSIONS, "c3d", 7)
  (line,) = feature_code.differing()
  assert line.startswith("c3d has another version")


def test_modules_of_a_network(tmp_path, monkeypatch):
  sources = {
    "room.a": "from room import b\nfrom room.c import f\nfrom elsewhere import d\n",
    "room.b": "from room import a\n",
    "room.c": "import room.d\n",
  }
  monkeypatch.setattr(feature_code, "_source", lambda name: textwrap.dedent(sources[name]))
  assert feature_code._own_modules("room.a") == ["room.a", "room.b", "room.c"]
