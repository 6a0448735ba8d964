"""matplotlib's figures, for a caller that imports this late: it takes a second.

matplotlib keeps a list of the fonts here, in a folder that it takes from HOME and XDG_CACHE_HOME.
Where that cannot be written it says so in several lines; here it gets one that can.
"""

import os

from vidgan_jax.runtime import cache_dirs

if not os.environ.get("MPLCONFIGDIR"):
  _folder = cache_dirs.usable("matplotlib", lost="", report=lambda line: None)
  os.environ["MPLCONFIGDIR"] = _folder or cache_dirs.temporary()

from matplotlib.figure import Figure  # reads the variable

__all__ = ["Figure"]
