"""Switches: allowed values and how messages describe them; setting fields; flags; the table."""

import math

import ml_collections
import pytest
from absl import flags

from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

SWITCHES = {
  "count": schema.integer(3, "Clips.", least=1, most=10),
  "rate": schema.number(0.5, "Rate.", least=0, most=1, above=True),
  "deep.on": schema.boolean(True, "Whether."),
  "deep.kind": schema.choice("a", ("a", "b"), "Which."),
  "deep.name": schema.text("", "Name.", absent=""),
  "deep.widths": schema.integers((2, 1), "Widths.", least=1, most=4),
  "deep.names": schema.texts((), "Names.", enters_update=False),
}
ALLOWED = {
  "count": (1, 10),
  "rate": (1e-300, 1, 1.0),
  "deep.on": (False, True),
  "deep.kind": ("b",),
  "deep.name": ("", "x" * 10_000, "é"),
  "deep.widths": ((), [], (4,), [1, 2]),
  "deep.names": ((), ["x"], tuple("x" * 1000)),
}
REFUSED = {
  "count": (0, 11, 2**70, -(10**5000), 1.0, True, "3", None, [3], math.nan),
  "rate": (0, -1, 1.01, math.nan, math.inf, -math.inf, True, "0.5", None, (0.5,)),
  "deep.on": (1, 0, "True", None),
  "deep.kind": ("c", "", None, 1, ["a"]),
  "deep.name": (None, 1, "a\0b", ["a"]),
  "deep.widths": ((0,), (5,), (1.0,), (True,), ("a",), ((1,),), (None,), 3, None, "2,1", (1,) * 65),
  "deep.names": ((1,), "x", None, ("a\0",)),
}


def config(**changes):
  built = schema.defaults(SWITCHES).to_dict()
  for path, value in changes.items():
    *groups, name = path.split(".")
    (built[groups[0]] if groups else built)[name] = value
  return built


def test_defaults_are_allowed():
  assert schema.defaults(SWITCHES).to_dict() == {
    "count": 3,
    "rate": 0.5,
    "deep": {"on": True, "kind": "a", "name": "", "widths": (2, 1), "names": ()},
  }
  schema.check(schema.defaults(SWITCHES), SWITCHES)


@pytest.mark.parametrize("path", SWITCHES)
def test_values_are_allowed_or_refused_in_one_line(path):
  for value in ALLOWED[path]:
    schema.check(config(**{path: value}), SWITCHES)
  for value in REFUSED[path]:
    with pytest.raises(UserError) as caught:
      schema.check(config(**{path: value}), SWITCHES)
    line = str(caught.value)
    assert line.startswith(f"config.{path} is ") and "must be" in line and "\n" not in line
    assert len(line) < 200


def test_groups_in_place_of_values_and_values_in_place_of_groups_are_refused():
  with pytest.raises(UserError, match=r"config\.deep\.name is a group of fields, must be text"):
    schema.check(config(**{"deep.name": {}}), SWITCHES)
  with pytest.raises(UserError, match=r"unknown field config\.deep"):
    schema.check(config(deep=3), SWITCHES)


def test_unknown_and_missing_fields_are_refused():
  with pytest.raises(UserError, match=r"unknown field config\.cuont; did you mean count\?"):
    schema.check(config(cuont=3), SWITCHES)
  without = config()
  del without["deep"]["kind"]
  with pytest.raises(UserError, match=r"config\.deep\.kind is missing; it must be one of a, b"):
    schema.check(without, SWITCHES)
  del without["deep"]["name"]  # which old configs may lack
  without["deep"]["kind"] = "a"
  schema.check(without, SWITCHES)


def test_fields_are_set_strictly():
  """ConfigDict's own `update_from_flattened_dict` would add misspelt fields."""
  built = schema.defaults(SWITCHES).lock()
  schema.set_fields(built, {"count": 5, "deep.widths": (3,)})
  assert (built.count, built.deep.widths) == (5, (3,))
  for values in ({"deep.width": (3,)}, {"cuont": 1}, {"deep": 3}, {"deep.on.off": 1}):
    with pytest.raises(UserError, match="unknown field"):
      schema.set_fields(built, values)
  with pytest.raises(UserError, match=r"config\.count cannot be 'many'"):
    schema.set_fields(built, {"count": "many"})
  assert built.to_dict() == config(count=5, **{"deep.widths": (3,)})


def test_numbers_cannot_be_declared_without_a_range():
  for declare in (schema.integer, schema.number, schema.integers, schema.numbers):
    with pytest.raises(TypeError):
      declare(1, "Something.")


@pytest.fixture
def parse():
  """A function that takes a switch and the text of a flag, and returns the value of the flag."""

  def value(switch, text):
    schema.define("schema_test", switch)
    flag = flags.FLAGS["schema_test"]
    flags.FLAGS.remove_flag_values(["schema_test"])
    values = flags.FlagValues()
    values["schema_test"] = flag
    values(["program", f"--schema_test={text}"])
    assert switch.help in flag.help and switch.allowed()[1:] in flag.help
    return flag.value

  return value


def test_flags_are_read_and_refused(parse):
  integer = schema.integer(None, "Clips.", least=0, most=255)
  assert [parse(integer, text) for text in ("0", "0x10", " 7 ")] == [0, 16, 7]
  numbers = schema.numbers(None, "Rates.", least=0, most=1)
  assert parse(numbers, "0.25,1") == [0.25, 1.0] and parse(numbers, "") == []
  for switch, text in (
    *((integer, text) for text in ("256", "-1", "1.0", "nan", "", "a", "1e2", "True", "9" * 5000)),
    *((numbers, text) for text in ("nan", "0.5,inf", "0.5,", "1.1", "a", "-0.1", "1e400")),
  ):
    with pytest.raises(flags.IllegalFlagValueError, match="must be a"):
      parse(switch, text)


def test_the_table_has_a_row_for_each_switch():
  head, rule, *rows = schema.table(SWITCHES, "--")
  assert head.count("|") == rule.count("|") == 6 and len(rows) == len(SWITCHES)
  assert rows[1] == "| `--rate` | `0.5` | a number above 0 and at most 1 | Rate. | no |"
  assert rows[-1] == "| `--deep.names` | empty | a list of texts | Names. | yes |"


def test_config_dicts_are_flattened_like_dictionaries():
  assert schema.flatten(ml_collections.ConfigDict({"a": {"b": (1,)}, "c": {}})) == {"a.b": (1,)}
