import pytest

from vidgan_jax.runtime.text import composed, find_name, folded, printable


@pytest.mark.parametrize(
  ("text", "shown"),
  [
    ("Café 東京 x_1", "Café 東京 x_1"),
    ("two\nlines\r", "two\\nlines\\r"),
    ("\x1b[31mred", "\\x1b[31mred"),
    ("b\udcff", "b\\udcff"),
    ("\u202eback", "\\u202eback"),
  ],
)
def test_text_stays_on_one_line_without_control_codes(text, shown):
  assert printable(text) == shown


def test_names_are_found_regardless_of_case_and_unicode_form():
  names = ("caf\u00e9", "Zebra", "a", "A", "STRASSE")
  for wanted, index in (
    ("cafe\u0301", 0), ("CAFE\u0301", 0), ("zebra", 1), ("a", 2), ("A", 3), ("stra\u00dfe", 4),
    ("b", None), ("", None),
  ):  # fmt: skip
    assert find_name(wanted, names) == index
  assert find_name("aA", ("AA", "Aa")) is None  # either could be meant
  assert composed("e\u0301") == "\u00e9" and folded("E\u0301") == "\u00e9"
