"""All switches of an experiment, and the check that every door makes before anything else.

A model declares its switches in a module of its own without JAX, so that the doors can show them
and refuse wrong ones at once.
"""

from vidgan_jax.models import dvd_gan_config, ldvd_config
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError

# {name of the system: its switches, without the group's name `model`}
SYSTEMS = {
  "dvd_gan": dvd_gan_config.SWITCHES,
  "mocogan": ldvd_config.MOCOGAN,
  "tgan": ldvd_config.TGAN,
  "vgan": ldvd_config.VGAN,
}
_MAX_CLIP_BYTES = 2**37  # of the clips of one iteration, over all processes


def system(name) -> dict[str, schema.Switch]:
  """The switches of the model `name`; UserError where no model has this name."""
  if not isinstance(name, str) or name not in SYSTEMS:
    raise UserError(f"unknown model {schema.shown(name)}; known: {', '.join(sorted(SYSTEMS))}")
  return SYSTEMS[name]


def of(name) -> dict[str, schema.Switch]:
  """All switches of a config whose model is `name`; UserError where no model has this name."""
  return {**base_switches.SWITCHES, **schema.within("model", system(name))}


def check(config) -> None:
  """Refuses what cannot work, before anything is allocated, compiled or written.

  Args:
    config: the whole config, of a config file and flags or of a run's config.json.

  Raises:
    UserError: on a value out of its range, a field that no code reads, one that is missing, or
      fields that do not fit each other; names the first.
  """
  model = config.get("model")
  schema.check(config, of(model.get("name") if hasattr(model, "get") else model))
  _check_batch(config)
  for name in ("count", "real_count"):
    if config.get("evaluation", {}).get(name) == 1:
      raise UserError(f"config.evaluation.{name} is 1, must be 2 or more, or 0 for the protocol's")
  own = config.get("analysis", {})
  if own.get("every") and own.eigenvalues > own.products:
    raise UserError(
      f"config.analysis.eigenvalues is {own.eigenvalues}, must be at most "
      f"config.analysis.products, {own.products}: each product gives one"
    )


def check_model(model) -> None:
  """UserError on a wrong value of `config.model` alone; see `check`."""
  schema.check(model, system(model.get("name")), "config.model")


def _check_batch(config) -> None:
  """UserError where micro-batches do not divide the batch, or its clips are too many."""
  size, group = config.batch_size, config.get("microbatch", 0)
  if group and size % group:
    raise UserError(f"batch_size {size} is not divisible by microbatch {group}")
  model = config.model
  clips = size * model.get("discriminator_steps", 1)
  total = clips * model.frames * model.resolution**2 * 3
  if total > _MAX_CLIP_BYTES:
    raise UserError(
      f"config.batch_size is {size}: the {clips} clips of an iteration, {model.frames} frames of "
      f"{model.resolution}x{model.resolution}, take {total / 2**30:,.0f} GiB; the limit is "
      f"{_MAX_CLIP_BYTES >> 30} GiB"
    )
