"""Rows of LaTeX tables, in results.tex and in the report."""

from vidgan_jax.evaluation.report import latex


def test_text_is_escaped():
  assert latex.escape("a_run & 5%\n{~^}\\x") == r"a\_run \& 5\% \{--\}/x"


def test_a_row():
  cells = [latex.cell("1.5", None), latex.cell("2", 0.123), latex.cell("3", 1.0, ("2", "4"))]
  assert latex.row("a_b", cells) == r"a\_b & $1.5$ & $2 \pm 0.12$ & $3 \pm 1\;[2, 4]$ \\"
