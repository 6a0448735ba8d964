"""Makes plots independent of the user's matplotlibrc and home folder."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator

from vidgan_jax.runtime.files import cache_dirs, temporary


def plain_style(draw):
  """Decorates a function that draws, so that it runs with matplotlib's default settings.

  A matplotlibrc in the home folder or the current folder may ask for LaTeX, for missing fonts or
  for transparent pictures. Its settings apply again after the function.

  matplotlib stores a list of fonts in a folder. If it cannot write to the home folder, it fails or
  prints several warnings. So this sets MPLCONFIGDIR, if it is not set, to a folder in the user's
  cache, or to a temporary one.
  """

  @functools.wraps(draw)
  def drawn(*arguments, **options):
    if not os.environ.get("MPLCONFIGDIR"):  # read when matplotlib is imported
      folder = cache_dirs.usable("matplotlib", lost="", report=lambda line: None)
      os.environ["MPLCONFIGDIR"] = folder or temporary.of_process()
    import matplotlib  # imported here because it takes a second and only plots need it

    with _quiet_fonts(), matplotlib.rc_context(matplotlib.rcParamsDefault):
      return draw(*arguments, **options)

  return drawn


@contextlib.contextmanager
def _quiet_fonts() -> Iterator[None]:
  """Hides what matplotlib logs when it first lists the fonts of a machine."""
  log = logging.getLogger("matplotlib.font_manager")
  level = log.level
  log.setLevel(logging.ERROR)
  try:
    yield
  finally:
    log.setLevel(level)
