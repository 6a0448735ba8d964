"""Builds a system by the name in its config."""

import dataclasses

from ml_collections import ConfigDict

from vidgan_jax.layers.augmentation import KINDS
from vidgan_jax.models import contract, dvd_gan, ldvd, switches, tgan_v2, vgan
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.models.dvd_gan_fp import system as dvd_gan_fp
from vidgan_jax.models.progressive_vgan import system as progressive_vgan
from vidgan_jax.models.ssw_gan import system as ssw_gan
from vidgan_jax.models.ssw_gan.config import EARLIER
from vidgan_jax.objectives import penalties
from vidgan_jax.runtime import mesh

_BUILDERS = {
  "dvd_gan": dvd_gan.build,
  "dvd_gan_fp": dvd_gan_fp.build,
  "mocogan": ldvd.build_mocogan,
  "progressive_vgan": progressive_vgan.build,
  "ssw_gan": ssw_gan.build,
  "tgan": ldvd.build_tgan,
  "tgan_v2": tgan_v2.build,
  "vgan": vgan.build,
}


def build(config: ConfigDict, *, platform: str | None = None, ops: str | None = None) -> VideoGan:
  """Builds the `VideoGan` called `config.model.name` for one kind of device, stages included.

  Args:
    config: the whole config; see the files in `configs/`.
    platform: kind of the devices that run the system or that it is compiled for; see
      `runtime.mesh.platform`. It decides `ops`, and the type of activations if the precision is
      "auto". None is the default device of this process; the package always passes a platform, and
      only tests may omit it.
    ops: form of the layers' arithmetic, a name in `ops.forms.FORMS`. None chooses it by `platform`
      and `config.model.savings`. "plain" is the network as the paper writes it.

  Raises:
    UserError: the model's name is unknown, or a value of `config.model` is not allowed.
  """
  switches.check_model(config.model)
  settings = contract.layer_settings(config, platform or mesh.platform(), ops)
  gan = _BUILDERS[config.model.name](config, settings)
  augmentation = config.get("augmentation", {})
  kinds = tuple(kind for kind in KINDS if augmentation.get(kind))
  r1 = penalties.R1(**config.get("r1", {}))
  stages = {}
  if EARLIER in config.model:
    earlier = ConfigDict({"model": config.model[EARLIER], "precision": config.precision})
    stages[EARLIER] = build(earlier, platform=platform, ops=ops)
  return dataclasses.replace(gan, r1=r1, augmentation=kinds, stages=stages)
