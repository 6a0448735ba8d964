"""Flags, their checks and the fields of requests come from the same declaration."""

import dataclasses
import pathlib

import pytest
from absl import flags

from vidgan_jax.runtime.config import requests, schema
from vidgan_jax.runtime.config.requests import option
from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Request:
  """A field of each kind, and one without a flag."""

  folders: tuple = option(schema.texts(None, "Folders."), flag="test_folder", required=True)
  test_input: str = option(schema.text(None, "A file."), required=True)
  test_count: int | None = option(schema.integer(None, "Clips.", least=1, most=9))
  test_steps: tuple = option(schema.integers((1, 2), "Steps.", least=0, most=9))
  test_kind: str = option(schema.choice("a", ("a", "b"), "Kind."))
  test_live: bool = option(schema.boolean(False, "Live."))
  extra: int = 7


NAMES = [field.metadata["flag"] or field.name for field in dataclasses.fields(Request)[:-1]]


@pytest.fixture
def required(monkeypatch):
  """Defines the flags, and returns the names of the required ones."""
  names = []
  monkeypatch.setattr(flags, "mark_flag_as_required", names.append)
  requests.define(Request, sometimes=("test_input",))
  yield names
  flags.FLAGS.remove_flag_values(NAMES)


def test_a_request_has_the_values_of_its_flags(required):
  given = {"test_folder": 'a, b,"c,d"', "test_input": "x", "test_steps": "3, 4", "test_kind": "b"}
  for name, text in given.items():
    flags.FLAGS[name].parse(text)
  request = requests.read(Request)
  assert request == Request(("a", "b", "c,d"), "x", test_steps=(3, 4), test_kind="b")
  assert requests.read(Request, test_live=True, extra=8) == dataclasses.replace(
    request, test_live=True, extra=8
  )


def test_flags_have_the_names_defaults_and_help_of_the_fields(required):
  assert required == ["test_folder"]
  assert "extra" not in flags.FLAGS and "folders" not in flags.FLAGS
  values = {name: (flags.FLAGS[name].default, flags.FLAGS[name].help) for name in NAMES}
  assert values["test_folder"] == (None, "Folders.") and values["test_input"] == (None, "A file.")
  assert values["test_count"] == (None, "Clips. An integer from 1 to 9.")
  assert values["test_kind"] == ("a", "Kind. One of a, b.")
  assert values["test_live"] == (False, "Live.")


@pytest.mark.parametrize(
  ("name", "text", "words"),
  [
    ("test_count", "0", "must be an integer from 1 to 9"),
    ("test_steps", "1,x", "must be a list of integers from 0 to 9"),
    ("test_kind", "c", "must be one of a, b"),
  ],
)
def test_values_that_are_not_allowed_are_refused(required, name, text, words):
  with pytest.raises(flags.IllegalFlagValueError, match=words):
    flags.FLAGS[name].parse(text)


def test_requests_without_flags_are_checked_as_flags_are():
  good = Request(("a",), "x")
  for values in ({}, {"test_input": pathlib.Path("x"), "test_count": 9, "test_steps": [0]}):
    requests.check(dataclasses.replace(good, **values))
  for values, words in (
    ({"test_count": 0}, "--test_count is 0, must be an integer from 1 to 9"),
    ({"test_steps": (1, 10)}, r"--test_steps is \(1, 10\), must be a list of integers from 0 to 9"),
    ({"test_kind": None}, "--test_kind is None, must be one of a, b"),
    ({"folders": "a"}, "--test_folder is 'a', must be a list of texts"),
  ):
    with pytest.raises(UserError, match=words):
      requests.check(dataclasses.replace(good, **values))
