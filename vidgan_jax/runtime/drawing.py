"""Plots that depend neither on the user's matplotlibrc nor on the user's home folder."""

import functools
import os

from vidgan_jax.runtime.files import cache_dirs


def plain_style(draw):
  """Decorates a function that draws, so that matplotlib's own defaults hold within it.

  A matplotlibrc in the home or current folder may ask for LaTeX, which is not everywhere, for
  fonts that are missing, or for transparent pictures. What it says holds again afterwards.

  matplotlib keeps a list of fonts in a folder, and fails or complains in several lines where the
  home folder that it finds cannot be written. Unless MPLCONFIGDIR names one, it gets a folder.
  """

  @functools.wraps(draw)
  def drawn(*arguments, **options):
    if not os.environ.get("MPLCONFIGDIR"):  # read when matplotlib is imported
      folder = cache_dirs.usable("matplotlib", lost="", report=lambda line: None)
      os.environ["MPLCONFIGDIR"] = folder or cache_dirs.temporary()
    import matplotlib  # takes a second, and only plots need it

    with matplotlib.rc_context(matplotlib.rcParamsDefault):
      return draw(*arguments, **options)

  return drawn
