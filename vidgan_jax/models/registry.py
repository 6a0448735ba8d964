"""Names of the systems and how to build them."""

from vidgan_jax.models import contract, dvd_gan, ldvd, switches, vgan
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.runtime import mesh

_BUILDERS = {
  "dvd_gan": dvd_gan.build,
  "mocogan": ldvd.build_mocogan,
  "tgan": ldvd.build_tgan,
  "vgan": vgan.build,
}


def build(config, *, platform: str | None = None, ops: str | None = None) -> VideoGan:
  """Builds the `VideoGan` that `config.model.name` names, for one kind of device.

  Args:
    config: see the files in `configs/`.
    platform: of the devices that the system runs on, or is compiled for; see
      `runtime.mesh.platform`. It decides `ops`, and the type of activations under the precision
      "auto". None is the default device of this process.
    ops: the form of the layers' arithmetic, a name in `ops.forms.FORMS`. None chooses by `platform`
      and `config.model.savings`; "plain" is the network as the paper writes it.

  Raises:
    UserError: on an unknown name, or a switch of the model that cannot be.
  """
  switches.check_model(config.model)
  settings = contract.layer_settings(config, platform or mesh.platform(), ops)
  return _BUILDERS[config.model.name](config, settings)
