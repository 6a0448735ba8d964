"""Arguments of config files."""

import pytest

from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError

KNOWN = ["first", "second_64x12"]


@pytest.mark.parametrize(
  ("argument", "expected"),
  [
    ("second_64x12", ("second_64x12", False)),
    ("second_64x12,runlocal", ("second_64x12", True)),
    ("runlocal,second_64x12", ("second_64x12", True)),
    ("", ("first", False)),
    (None, ("first", False)),
    ("runlocal", ("first", True)),
  ],
)
def test_arguments_are_a_name_and_runlocal(argument, expected):
  assert configuration.parse_argument(argument, iter(KNOWN)) == expected


@pytest.mark.parametrize(
  "argument", ["third", "first,second_64x12", "First", "runlocals", "first,third", " first"]
)
def test_other_arguments_list_the_known_ones(argument):
  with pytest.raises(UserError) as caught:
    configuration.parse_argument(argument, KNOWN)
  assert str(caught.value) == (
    f"unknown config argument {argument!r}; known: first, second_64x12 (each also as name,runlocal)"
  )
