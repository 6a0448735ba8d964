"""Names of the systems and how to build them."""

from vidgan_jax.models import dvd_gan, mocogan, tgan, vgan
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime.errors import UserError

_BUILDERS = {
  "dvd_gan": dvd_gan.build,
  "mocogan": mocogan.build,
  "tgan": tgan.build,
  "vgan": vgan.build,
}


def build(config, savings: bool | None = None) -> VideoGan:
  """Builds the `VideoGan` that `config.model.name` names.

  Args:
    config: see the files in `configs/`.
    savings: overrides `config.model.savings`.

  Raises:
    UserError: on an unknown name or switch.
  """
  name = config.model.name
  if name not in _BUILDERS:
    raise UserError(f"unknown model {name!r}; known: {', '.join(sorted(_BUILDERS))}")
  return _BUILDERS[name](config, savings)
