"""Builds a system by the name in its config."""

import dataclasses
from collections.abc import Callable

from ml_collections import ConfigDict

from vidgan_jax.layers.augmentation import KINDS
from vidgan_jax.layers.settings import LayerSettings
from vidgan_jax.models import contract, dvd_gan, ldvd, switches, tgan_v2, vgan
from vidgan_jax.models.contract import VideoGan
from vidgan_jax.models.dvd_gan_fp import system as dvd_gan_fp
from vidgan_jax.models.progressive_vgan import system as progressive_vgan
from vidgan_jax.models.ssw_gan import system as ssw_gan
from vidgan_jax.models.ssw_gan.config import EARLIER
from vidgan_jax.objectives import penalties
from vidgan_jax.runtime import mesh
from vidgan_jax.runtime.config.schema import Switch
from vidgan_jax.runtime.errors import UserError

_BUILDERS: dict[str, Callable[[ConfigDict, LayerSettings], VideoGan]] = {
  "dvd_gan": dvd_gan.build,
  "dvd_gan_fp": dvd_gan_fp.build,
  "mocogan": ldvd.build_mocogan,
  "progressive_vgan": progressive_vgan.build,
  "ssw_gan": ssw_gan.build,
  "tgan": ldvd.build_tgan,
  "tgan_v2": tgan_v2.build,
  "vgan": vgan.build,
}
_OWN = frozenset(_BUILDERS)


def register(
  name: str,
  declared: dict[str, Switch],
  builder: Callable[[ConfigDict, LayerSettings], VideoGan],
) -> None:
  """Adds a model from outside this package, for this process; see docs/adding_a_system.md.

  A file that registers a model may be read several times: the last registration counts.

  Args:
    name: `config.model.name`.
    declared: {path below `config.model`: switch}.
    builder: (whole config, settings of all layers) -> the system.

  Raises:
    UserError: the package itself has a model of this name.
  """
  if name in _OWN:
    raise UserError(f"this package has a model {name!r} itself; choose another name")
  switches.SYSTEMS[name] = declared
  _BUILDERS[name] = builder


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
    UserError: the model's name is unknown, a value of `config.model` is not allowed, or the model
      cannot split a batch into `config.chunks`.
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
  if config.get("chunks", 1) > 1 and not gan.joint_scores:
    raise UserError(
      f"config.chunks is {config.chunks}, must be 1 for {config.model.name}: its discriminators "
      "compare the clips of a batch; config.microbatch splits the batch instead"
    )
  return dataclasses.replace(gan, r1=r1, augmentation=kinds, stages=stages)
