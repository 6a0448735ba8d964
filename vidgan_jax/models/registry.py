"""Names of the systems and how to build them."""

from vidgan_jax.models import dvd_gan, ldvd, switches, vgan
from vidgan_jax.models.contract import VideoGan

_BUILDERS = {
  "dvd_gan": dvd_gan.build,
  "mocogan": ldvd.build_mocogan,
  "tgan": ldvd.build_tgan,
  "vgan": vgan.build,
}


def build(config, savings: bool | None = None) -> VideoGan:
  """Builds the `VideoGan` that `config.model.name` names.

  Args:
    config: see the files in `configs/`.
    savings: overrides `config.model.savings`.

  Raises:
    UserError: on an unknown name, or a switch of the model that cannot be.
  """
  switches.check_model(config.model)
  return _BUILDERS[config.model.name](config, savings)
