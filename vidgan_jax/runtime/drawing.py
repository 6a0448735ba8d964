"""Plots that do not depend on the user's matplotlibrc."""

import functools


def plain_style(draw):
  """Decorates a function that draws, so that matplotlib's own defaults hold within it.

  A matplotlibrc in the home or current folder may ask for LaTeX, which is not everywhere, for
  fonts that are missing, or for transparent pictures. What it says holds again afterwards.
  """

  @functools.wraps(draw)
  def drawn(*arguments, **options):
    import matplotlib  # takes a second, and only plots need it

    with matplotlib.rc_context(matplotlib.rcParamsDefault):
      return draw(*arguments, **options)

  return drawn
