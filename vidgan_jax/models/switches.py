"""All switches of a config, and the check that every command runs first.

Each model declares its switches in a separate module that does not import JAX, so that commands can
list them and refuse wrong values without loading JAX.
"""

from ml_collections import ConfigDict

from vidgan_jax.models import dvd_gan_config, ldvd_config, tgan_v2_config
from vidgan_jax.models.dvd_gan_fp import config as dvd_gan_fp_config
from vidgan_jax.models.progressive_vgan import config as progressive_vgan_config
from vidgan_jax.models.ssw_gan import config as ssw_gan_config
from vidgan_jax.runtime.config import base_switches, schema
from vidgan_jax.runtime.errors import UserError

# {name of the system: {path below `config.model`: switch}}; `registry.register` adds to it
SYSTEMS: dict[str, dict[str, schema.Switch]] = {
  "dvd_gan": dvd_gan_config.SWITCHES,
  "dvd_gan_fp": dvd_gan_fp_config.SWITCHES,
  "mocogan": ldvd_config.MOCOGAN,
  "progressive_vgan": progressive_vgan_config.SWITCHES,
  "ssw_gan": ssw_gan_config.SWITCHES,
  "tgan": ldvd_config.TGAN,
  "tgan_v2": tgan_v2_config.SWITCHES,
  "vgan": ldvd_config.VGAN,
}
# {name of the system: checks the fields of a whole config against each other}
_RULES = {
  "dvd_gan_fp": dvd_gan_fp_config.check,
  "progressive_vgan": progressive_vgan_config.check,
  "ssw_gan": ssw_gan_config.check,
}
_MAX_CLIP_BYTES = 2**37  # limit for the uint8 clips of one iteration, over all processes


def system(name: object) -> dict[str, schema.Switch]:
  """Returns the switches of the model called `name`; UserError if there is none."""
  if not isinstance(name, str) or name not in SYSTEMS:
    raise UserError(f"unknown model {schema.shown(name)}; known: {', '.join(sorted(SYSTEMS))}")
  return SYSTEMS[name]


def of_model(model: object) -> dict[str, schema.Switch]:
  """Returns all switches of a config with this `config.model`; UserError if it is unknown.

  Args:
    model: `config.model`, or the name of a model without earlier stages.
  """
  return {**base_switches.SWITCHES, **schema.within("model", with_stages(model))}


def with_stages(model: object) -> dict[str, schema.Switch]:
  """Returns the switches of a `config.model` and of the earlier stages in it; see `of_model`."""
  if not hasattr(model, "get"):
    return system(model)
  found, earlier = system(model.get("name")), model.get(ssw_gan_config.EARLIER)
  if found is ssw_gan_config.SWITCHES and hasattr(earlier, "get"):
    found = {**found, **schema.within(ssw_gan_config.EARLIER, with_stages(earlier))}
  return found


def _check_name(model: object) -> None:
  """Raises UserError if a known name stands above exactly the fields of another model."""
  if not isinstance(model, ConfigDict):
    return
  name = model.get("name")
  if not isinstance(name, str) or name not in SYSTEMS:
    return
  stages = f"{ssw_gan_config.EARLIER}."
  fields = {field for field in schema.flatten(model) if not field.startswith(stages)}
  if fields == set(system(name)):
    return
  owners = [owner for owner, switches in SYSTEMS.items() if set(switches) == fields]
  if owners:
    raise UserError(
      f"config.model.name is {schema.shown(name)}, but config.model has the fields of "
      f"{owners[0]}: begin with a config of the other model"
    )


def check(config: ConfigDict) -> None:
  """Checks a config before anything is allocated, compiled or written.

  Args:
    config: the whole config, from a config file and flags or from a run's config.json.

  Raises:
    UserError: a value is out of its range, a field is unknown or missing, or fields contradict each
      other. The message names the first such field.
  """
  _check_name(config.get("model"))
  schema.check(config, of_model(config.get("model")))
  rule = _RULES.get(config.model.name)
  if rule:
    rule(config)
  _check_batch(config)
  _check_schedule(config)
  for name in ("count", "real_count"):
    if config.get("evaluation", {}).get(name) == 1:
      raise UserError(f"config.evaluation.{name} is 1, must be 2 or more, or 0 for the protocol's")
  analysis = config.get("analysis", {})
  if analysis.get("every") and analysis.eigenvalues > analysis.products:
    raise UserError(
      f"config.analysis.eigenvalues is {analysis.eigenvalues}, must be at most "
      f"config.analysis.products, {analysis.products}: each product gives one"
    )


def largest_batch(config: ConfigDict) -> int:
  """Clips of the largest update: `config.batch_size`, or the largest batch of all phases."""
  model = config.model
  of_phases = [n * model.get("batch_factor", 1) for n in model.get("batch_sizes", ())]
  return max(config.batch_size, *of_phases) if of_phases else config.batch_size


def check_model(model: ConfigDict) -> None:
  """Checks `config.model` alone; see `check`."""
  schema.check(model, with_stages(model), "config.model")


def _check_schedule(config: ConfigDict) -> None:
  """UserError if the learning rate reaches 0 before the last iteration."""
  options, count = config.optimizer, config.num_iterations
  if options.get("schedule") == "linear" and count > options.decay_iterations:
    raise UserError(
      f"config.num_iterations is {count}, must be at most config.optimizer.decay_iterations, "
      f"{options.decay_iterations}: there the linear schedule ends with a learning rate of 0"
    )


def _check_batch(config: ConfigDict) -> None:
  """UserError if micro-batches do not divide the batch, or its clips take too much memory."""
  size, group = config.batch_size, config.get("microbatch", 0)
  if group and size % group:
    raise UserError(f"batch_size {size} is not divisible by microbatch {group}")
  model = config.model
  largest = largest_batch(config)
  clips = largest * model.get("discriminator_steps", 1)
  total = clips * model.frames * model.resolution**2 * 3
  if total > _MAX_CLIP_BYTES:
    name = "config.batch_size" if largest == size else "the largest batch"
    raise UserError(
      f"{name} is {largest}: the {clips} clips of an iteration, {model.frames} frames of "
      f"{model.resolution}x{model.resolution}, take {total / 2**30:,.0f} GiB; the limit is "
      f"{_MAX_CLIP_BYTES >> 30} GiB"
    )
