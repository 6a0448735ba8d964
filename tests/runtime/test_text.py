import pytest

from vidgan_jax.runtime.text import printable


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
def test_text_stays_on_one_line_and_does_nothing(text, shown):
  assert printable(text) == shown
