"""Which arrays of a new run are taken from another model: those that fit by name and shape.

Rows of class embeddings are matched by the names of the classes, because two models may number
their classes differently. Nothing is read or computed here: all is decided by shapes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from vidgan_jax.layers import normalization, spectral_norm
from vidgan_jax.models import registry
from vidgan_jax.models.ssw_gan.config import EARLIER
from vidgan_jax.runtime.text import composed
from vidgan_jax.runtime.trees import leaf_names

PARAMS = "params"
COLLECTIONS = (PARAMS, spectral_norm.COLLECTION, normalization.COLLECTION)
Shapes = Mapping[str, Any]  # {name of an array: anything with a shape and a dtype}


@dataclasses.dataclass(frozen=True)
class Rows:
  """Which rows of an array with one row for each class are taken.

  Attributes:
    axis: the axis of the classes.
    here: the rows to replace in the new run.
    there: the rows of the other model, in the same order.
  """

  axis: int
  here: tuple[int, ...]
  there: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a new run takes from another model.

  Attributes:
    whole: names of the arrays that are taken as they are.
    rows: {name: rows} of the arrays of which only the rows of common classes are taken.
    left: {name: why} of the arrays that keep their random values.
    unused: names of the other model's arrays of which nothing is taken.
    classes: names of the classes that both have, in the new run's order.
  """

  whole: tuple[str, ...]
  rows: Mapping[str, Rows]
  left: Mapping[str, str]
  unused: tuple[str, ...]
  classes: tuple[str, ...]

  @property
  def taken(self) -> list[str]:
    """Names of all arrays of which something is taken."""
    return [*self.whole, *self.rows]


def collection(name: str) -> str | None:
  """The collection of an array of a state; None for optimizers and the iteration.

  Names are "generator/COLLECTION/...", "ema/COLLECTION/..." and
  "discriminators/NAME/COLLECTION/...".
  """
  parts = name.split("/")
  place = 2 if parts[0] == "discriminators" else 1
  return parts[place] if len(parts) > place + 1 and parts[place] in COLLECTIONS else None


def arrays(tree: Any) -> dict[str, Any]:
  """{name: leaf} of the networks' arrays in a state, or in its shapes; optimizers are left out."""
  leaves = zip(leaf_names(tree), jax.tree.leaves(tree), strict=True)
  return {name: leaf for name, leaf in leaves if collection(name)}


def class_axes(config: ConfigDict, platform: str) -> dict[str, int]:
  """{name: axis} of the arrays whose size along this axis grows with the number of classes.

  The system is described twice, once with one more class, and the shapes are compared. So no model
  has to declare which of its arrays belong to classes.

  Args:
    config: the whole config.
    platform: see `models.registry.build`.
  """
  if not config.model.num_classes:
    return {}
  before, after = _shapes(config, platform), _shapes(_with_one_more_class(config), platform)
  axes = {}
  for name, shape in before.items():
    grown = [i for i, sizes in enumerate(zip(shape, after[name], strict=True)) if len({*sizes}) > 1]
    if grown:
      axes[name] = grown[0]
  average = {n.replace("generator", "ema", 1): a for n, a in axes.items() if n[0] == "g"}
  return axes | average


def plan(
  here: Shapes,
  there: Shapes,
  axes: Mapping[str, int],
  classes_here: Sequence[str],
  classes_there: Sequence[str],
) -> Plan:
  """Decides what a new run takes from another model.

  Args:
    here: the arrays of the new run, see `arrays`.
    there: those of the other model.
    axes: see `class_axes`, of the new run.
    classes_here: names of the new run's classes by label; () without classes.
    classes_there: those of the other model; () without classes, or if it does not record them.
  """
  numbers = {composed(name): number for number, name in enumerate(classes_there)}
  pairs = [(row, numbers[n]) for row, n in enumerate(map(composed, classes_here)) if n in numbers]
  equal = [*map(composed, classes_here)] == [*map(composed, classes_there)]
  whole, rows, left = [], {}, {}
  for name, array in here.items():
    axis = None if equal else axes.get(name)
    found = _fit(array, there.get(name), axis, pairs, len(classes_here), len(classes_there))
    if isinstance(found, Rows):
      rows[name] = found
    elif found:
      left[name] = found
    else:
      whole.append(name)
  # A vector of the power iteration belongs to its weight, which has the same path.
  vectors = [name for name in here if collection(name) == spectral_norm.COLLECTION]
  for name in [name for name in vectors if name not in left]:
    if name.replace(f"/{spectral_norm.COLLECTION}/", f"/{PARAMS}/", 1) not in whole:
      left[name] = "its weight is not taken as a whole"
      rows.pop(name, None)
  whole = [name for name in whole if name not in left]
  unused = tuple(name for name in there if name not in whole and name not in rows)
  return Plan(tuple(whole), rows, left, unused, tuple(classes_here[row] for row, _ in pairs))


def merged(array: jax.Array | None, taken: jax.Array, rows: Rows | None, dtype: Any) -> jax.Array:
  """An array of the new run; to be jitted.

  Args:
    array: its random values; None where all of it is taken.
    taken: the array of the other model.
    rows: the rows to take; None takes all of it.
    dtype: the type of the new run's array.
  """
  taken = taken.astype(dtype)
  if rows is None:
    return jnp.copy(taken)  # a buffer of its own, because the state is donated to the iteration
  assert array is not None
  of_classes = lambda a: jnp.moveaxis(a, rows.axis, 0)
  chosen = of_classes(taken)[jnp.asarray(rows.there)]
  return jnp.moveaxis(of_classes(array).at[jnp.asarray(rows.here)].set(chosen), 0, rows.axis)


def _fit(
  here: Any, there: Any, axis: int | None, pairs: Sequence[tuple[int, int]], own: int, other: int
) -> Rows | str:
  """What is taken of an array: some rows, all of it (""), or nothing, with the reason."""
  if there is None:
    return "absent there"
  differ = f"{here.dtype} {list(here.shape)} here, {there.dtype} {list(there.shape)} there"
  if jnp.issubdtype(here.dtype, jnp.floating) != jnp.issubdtype(there.dtype, jnp.floating):
    return differ
  if axis is None:
    return "" if here.shape == there.shape else differ
  if here.shape[axis] != own:
    return "has rows of classes and of other inputs, and the classes differ"
  if not other:
    return "the names of the classes are unknown there"
  if there.shape != (*here.shape[:axis], other, *here.shape[axis + 1 :]):
    return differ
  if not pairs:
    return "no class has the same name in both"
  return Rows(axis, tuple(row for row, _ in pairs), tuple(row for _, row in pairs))


def _shapes(config: ConfigDict, platform: str) -> dict[str, tuple[int, ...]]:
  """{name: shape} of all variables of all networks of a system."""
  gan = registry.build(config, platform=platform)
  variables = jax.eval_shape(lambda: gan.init(jax.random.key(0)))
  leaves = zip(leaf_names(variables), jax.tree.leaves(variables), strict=True)
  return {name: leaf.shape for name, leaf in leaves}


def _with_one_more_class(config: ConfigDict) -> ConfigDict:
  config = config.copy_and_resolve_references()
  with config.unlocked():
    stage = config.model
    while stage is not None:
      stage.num_classes += 1
      if stage.get("categories"):  # MoCoGAN: must be the number of classes, or 0
        stage.categories += 1
      stage = stage.get(EARLIER)
  return config
