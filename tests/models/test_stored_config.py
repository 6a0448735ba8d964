"""config.json: every config is read back, and what may change when a run continues."""

import json
import pathlib
import re

import ml_collections
import pytest

from vidgan_jax.models import registry, stored_config, switches
from vidgan_jax.runtime.config import configuration, schema
from vidgan_jax.runtime.errors import UserError

FILES = sorted(path.stem for path in (pathlib.Path(__file__).parents[2] / "configs").glob("*.py"))


def rows(load_config, file):
  """Every argument that a config file knows."""
  with pytest.raises(UserError) as caught:
    load_config(file, "no_such_row")
  names = re.search(r"known: (.*) \(each also as name,runlocal\)", str(caught.value))[1]
  return [argument for name in names.split(", ") for argument in (name, f"{name},runlocal")]


@pytest.mark.parametrize("file", FILES)
def test_every_config_comes_back_from_its_file(load_config, file):
  for argument in rows(load_config, file):
    config = load_config(file, argument)
    text = configuration.to_json(config)
    again = stored_config.from_json(text)
    assert configuration.to_json(again) == text and text.endswith("}\n"), argument
    assert stored_config.first_difference(config, again) is None, argument
    assert stored_config.first_difference(again, config) is None, argument
    json.loads(text, parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    # And builds the same networks, though its tuples are lists now.
    built, rebuilt = registry.build(config), registry.build(again)
    assert built.generator == rebuilt.generator, argument
    assert built.discriminators == rebuilt.discriminators, argument
    assert (built.frames, built.num_classes) == (rebuilt.frames, rebuilt.num_classes), argument


def test_configs_are_those_that_runs_were_trained_with(load_config):
  """Of every row, fields and identity are those of configs.json, so that old runs go on."""
  golden = json.loads((pathlib.Path(__file__).parent / "configs.json").read_text())
  assert {file for file in golden} <= set(FILES)
  for file, part in golden.items():
    for argument, row in part["rows"].items():
      config = load_config(file, argument)
      expected = {**part["fields"], **row}
      assert stored_config.identity(config) == expected.pop("identity"), (file, argument)
      flat = schema.flatten(json.loads(configuration.to_json(config)))
      found = {path: flat.get(path) for path in expected}
      assert repr(found) == repr(expected), (file, argument)  # 1 is not 1.0 and not True
      later = set(flat) - set(expected)
      declared = switches.of_model(config.model)
      assert all(declared[path].absent is not schema.REQUIRED for path in later), later


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3}', '{"model": {}, "data": []}'])
def test_texts_that_are_no_config_are_refused(text):
  with pytest.raises(ValueError):
    stored_config.from_json(text)


@pytest.mark.parametrize("file", FILES)
def test_configs_refuse_fields_that_no_code_reads(load_config, file):
  config = load_config(file)
  with pytest.raises(AttributeError):
    config.model.generator.chanels = 4
  assert set(configuration.base_config()) <= set(config)


@pytest.fixture
def config(tiny_config):
  return tiny_config()


def changed(config, **fields):
  """A copy of `config` with other values of flattened fields."""
  copy = ml_collections.ConfigDict(config).copy_and_resolve_references()
  with copy.unlocked():
    schema.set_fields(copy, {k.replace("__", "."): v for k, v in fields.items()})
  return copy


def test_the_first_difference_is_named_in_the_order_of_names(config):
  other = changed(config, model__latent_dim=5, batch_size=6, model__generator__channels=7)
  assert stored_config.first_difference(config, other) == "batch_size: 4 there, 6 here"
  assert stored_config.first_difference(other, config) == "batch_size: 6 there, 4 here"
  other.batch_size = 4
  assert stored_config.first_difference(config, other) == (
    "model.generator.channels: 4 there, 7 here"
  )


@pytest.mark.parametrize(
  "field",
  [
    "seed",
    "precision",
    "optimizer.beta2",
    "ema.decay",
    "data.name",
    "data.seed",
    "data.num_examples",
    "model.frames",
    "model.discriminator.sampled_frames",
    "model.pixel_loss.weight",
  ],
)
def test_what_enters_an_update_may_not_change(config, field):
  other = changed(config, **{field: "another" if field in ("precision", "data.name") else 99})
  assert stored_config.first_difference(config, other).startswith(f"{field}: ")


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("num_iterations", 10**6),
    ("log_every", 7),
    ("checkpoint_every", 7),
    ("checkpoints_kept", 7),
    ("sample_every", 7),
    ("guard.dark_level", 0.5),
    ("guard.dark_patience", 0),
    ("data.directory", "/elsewhere"),
    ("data.cache_directory", "/elsewhere"),
    ("data.min_clips", 9),
    ("model.remat", "block_inputs"),
  ],
)
def test_what_does_not_enter_an_update_may_change(config, field, value):
  other = changed(config, **{field: value})
  assert other.to_dict() != config.to_dict()
  assert stored_config.first_difference(config, other) is None
  other = changed(other, seed=77)
  assert stored_config.first_difference(config, other) == f"seed: {config.seed} there, 77 here"


def test_names_that_only_begin_like_free_ones_are_not_free():
  old = ml_collections.ConfigDict({"guardian": 1, "data": {"directory_depth": 1}})
  new = ml_collections.ConfigDict({"guardian": 1, "data": {"directory_depth": 2}})
  assert stored_config.first_difference(old, new) == "data.directory_depth: 1 there, 2 here"
  new = ml_collections.ConfigDict({"guardian": 2, "data": {"directory_depth": 1}})
  assert stored_config.first_difference(old, new) == "guardian: 1 there, 2 here"


def test_tuples_equal_lists_and_missing_fields_differ():
  old = ml_collections.ConfigDict({"widths": (2, 1), "deep": {"widths": [1]}})
  new = ml_collections.ConfigDict({"widths": [2, 1], "deep": {"widths": (1,)}})
  assert stored_config.first_difference(old, new) is None
  new.deep.widths = (1, 2)
  assert stored_config.first_difference(old, new) == "deep.widths: [1] there, [1, 2] here"
  more = ml_collections.ConfigDict({"widths": (2, 1), "deep": {"widths": [1], "extra": 3}})
  assert stored_config.first_difference(old, more) == "deep.extra: None there, 3 here"
  assert stored_config.first_difference(more, old) == "deep.extra: 3 there, None here"


def test_fields_missing_in_older_configs_get_values_that_change_nothing(tiny_config):
  config = tiny_config()
  text = json.loads(configuration.to_json(config))
  del text["microbatch"], text["optimizer"]["kind"], text["model"]["shared_fakes"]
  old = stored_config.from_json(json.dumps(text))
  assert stored_config.first_difference(old, config) is None
  assert old.optimizer.kind == "adam" and old.model.shared_fakes is False
