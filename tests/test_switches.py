"""Every switch of every config and command: declared, documented, with a range that holds."""

import importlib.util
import json
import pathlib
import subprocess
import sys

import jax
import ml_collections
import pytest

from vidgan_jax.data import build as data
from vidgan_jax.layers import attention, normalization, recurrent, temporal
from vidgan_jax.layers import settings as layers
from vidgan_jax.models import registry, settings_page, stored_config, switches, tgan_v2
from vidgan_jax.objectives import losses
from vidgan_jax.runtime import precision, sharding
from vidgan_jax.runtime.config import base_switches, configuration, schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import optimizers

ROOT = pathlib.Path(__file__).parents[1]
_SPEC = importlib.util.spec_from_file_location("bad_values", ROOT / "benchmarks" / "bad_values.py")
bad_values = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bad_values)


def faults(verdicts):
  """Lines that tell what must not happen; at least one value must have been refused."""
  found = list(verdicts)
  assert any(verdict.outcome.startswith("refused") for verdict in found)
  return [verdict for verdict in found if verdict.fault]


@pytest.mark.parametrize("row", bad_values.ROWS)
def test_bad_numbers_in_configs_are_refused_or_work(row):
  assert faults(bad_values.of_config(row)) == []


@pytest.mark.parametrize("command", settings_page.COMMANDS)
def test_bad_numbers_in_flags_are_refused_or_work(command):
  assert faults(bad_values.of_command(command)) == []


def test_every_field_of_every_config_is_declared(load_config):
  names = sorted(path.stem for path in (ROOT / "configs").glob("*.py"))
  seen = set()
  for name, argument in [*((name, "") for name in names), ("ssw_gan", "shapes_stage2")]:
    config = load_config(name, argument)
    switches.check(config)
    bad_values.numeric(config)
    seen.add(config.model.name)
  assert seen == set(switches.SYSTEMS) == set(registry._BUILDERS)


def test_a_number_without_a_declaration_is_noticed(load_config):
  config = load_config("quickstart").unlock()
  config.data.novelty = 0.5
  with pytest.raises(UserError, match=r"unknown field config\.data\.novelty"):
    switches.check(config)
  with pytest.raises(KeyError):
    bad_values.numeric(config)


def test_the_page_of_settings_is_what_the_declarations_say():
  """In a separate process, where no other command has defined flags."""
  code = "from vidgan_jax.models import settings_page; print(settings_page.page(), end='')"
  result = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=120
  )
  assert result.stdout.decode() == settings_page.PAGE.read_text(encoding="utf-8"), (
    "python -m vidgan_jax.models.settings_page writes the page"
  )


DVD_GAN, MOCOGAN = switches.system("dvd_gan"), switches.system("mocogan")
TGAN_V2 = switches.system("tgan_v2")
BASE = base_switches.SWITCHES


@pytest.mark.parametrize(
  ("switch", "code"),
  [
    (BASE["data.name"], data.SOURCES),
    (BASE["data.reader"], data.READERS),
    (BASE["precision"], precision.POLICIES),
    (BASE["sharding"], sharding.RULES),
    (BASE["optimizer.kind"], optimizers.KINDS),
    (TGAN_V2["aggregation"], tgan_v2.AGGREGATIONS),
    (TGAN_V2["generator.shortcut"], tgan_v2.SHORTCUTS),
    (DVD_GAN["remat"], layers.REMAT),
    (DVD_GAN["initializer"], layers.INITIALIZERS),
    (MOCOGAN["initializer"], layers.INITIALIZERS),
    (DVD_GAN["aggregation"], losses.AGGREGATIONS),
    (DVD_GAN["pixel_loss.form"], losses.PIXEL_FORMS),
    (DVD_GAN["generator.statistics"], normalization.STATISTICS),
    (DVD_GAN["generator.rnn"], recurrent.KINDS),
    (DVD_GAN["generator.rnn_activation"], recurrent.ACTIVATIONS),
    (DVD_GAN["generator.attention_order"], attention.ORDERS),
    (DVD_GAN["generator.attention_style"], attention.STYLES),
    (DVD_GAN["discriminator.downsampling"], temporal.DOWNSAMPLINGS),
  ],
)
def test_choices_are_those_that_the_code_has(switch, code):
  assert set(switch.choices) == set(code)


@pytest.mark.parametrize(
  ("row", "changes"),
  [
    (
      "quickstart.py:runlocal",
      {
        "model.resolution": 8,
        "model.generator.multipliers": (2, 1),
        "model.discriminator.multipliers": (1, 2),
      },
    ),
    ("tgan.py:f_c1,runlocal", {}),
    ("mocogan.py:base,runlocal", {"model.resolution": 16}),
    ("vgan.py:ucf101_16,runlocal", {}),
    ("tgan_v2.py:shapes,runlocal", {"model.subsampling.batch": False}),
    ("progressive_vgan.py:shapes,runlocal", {}),
    (
      "ssw_gan.py:shapes_stage2,runlocal",
      {"sample_every": 0, "model.earlier_samples": "samples.npz"},
    ),
  ],
)
def test_every_choice_of_a_model_builds(row, changes):
  config = bad_values.load(row).copy_and_resolve_references()
  schema.set_fields(config, changes)
  built = 0
  for path, switch in switches.system(config.model.name).items():
    for value in switch.choices:
      other = config.copy_and_resolve_references()
      schema.set_fields(other, {f"model.{path}": value})
      try:
        bad_values.build(other)
        built += 1
      except UserError as error:  # which another field does not fit
        assert path == "discriminator.video", error
  assert built > 2


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"microbatch": 3}, "batch_size 4 is not divisible by microbatch 3"),
    ({"evaluation.count": 1}, "evaluation.count is 1, must be 2 or more"),
    ({"evaluation.real_count": 1}, "evaluation.real_count is 1, must be 2 or more"),
    ({"analysis.every": 1, "analysis.products": 9}, "eigenvalues is 10, must be at most"),
    ({"batch_size": 2**20, "model.resolution": 256}, "take 1,536 GiB; the limit is 128 GiB"),
    (
      {"model.name": "dvdgan"},
      "unknown model 'dvdgan'; known: dvd_gan, dvd_gan_fp, mocogan, progressive_vgan, ssw_gan, "
      "tgan, tgan_v2, vgan",
    ),
    (
      {"model.name": "tgan"},
      "config.model.name is 'tgan', but config.model has the fields of dvd_gan: begin with a ",
    ),
    ({"model.discriminator.attention_resolution": 5}, "attention_resolution is 5, but the disc"),
  ],
)
def test_fields_that_do_not_fit_each_other_are_refused(tiny_config, changes, words):
  with pytest.raises(UserError, match=words):
    bad_values.build(tiny_config(**changes))


@pytest.mark.parametrize("name", [["tgan"], {"a": 1}, 3, None])
def test_a_name_that_is_no_text_is_one_line(name):
  with pytest.raises(UserError, match="unknown model"):
    switches.check(ml_collections.ConfigDict({"model": {"name": name, "frames": 3}}))


def test_attention_of_a_size_that_a_map_has_builds(tiny_config):
  config = tiny_config(**{"model.discriminator.attention_resolution": 4})
  gan = registry.build(config)
  shapes = jax.eval_shape(lambda: gan.init(jax.random.key(0)))
  assert "attention" in shapes["discriminators"]["spatial"]["params"]


LATER = {
  "data.later": (base_switches.SWITCHES, "data.later"),
  "model.later": (switches.SYSTEMS["dvd_gan"], "later"),
}


@pytest.mark.parametrize("path", LATER)
def test_a_switch_that_is_added_later_changes_nothing_in_old_runs(tiny_config, monkeypatch, path):
  config = tiny_config()
  text, before = configuration.to_json(config), stored_config.identity(config)
  table, name = LATER[path]
  monkeypatch.setitem(table, name, schema.integer(5, "Help.", least=0, most=9, absent=0))
  old = stored_config.from_json(text)
  group = old[path.split(".")[0]]
  assert group.later == 0 and stored_config.identity(old) == before
  switches.check(old)
  group.later = 5
  assert stored_config.identity(old) != before
  difference = stored_config.first_difference(stored_config.from_json(text), old)
  assert difference == f"{path}: 0 there, 5 here"


def test_a_switch_of_a_model_may_leave_updates_alone(tiny_config, monkeypatch):
  new = schema.integer(0, "Help.", least=0, most=9, absent=0, enters_update=False)
  monkeypatch.setitem(switches.SYSTEMS["dvd_gan"], "later", new)
  text = configuration.to_json(tiny_config())
  old, other = stored_config.from_json(text), stored_config.from_json(text)
  other.model.later = 5
  assert stored_config.first_difference(old, other) is None
  assert stored_config.identity(old) == stored_config.identity(other)


def test_commands_help_with_what_is_allowed():
  result = subprocess.run(
    [sys.executable, "-m", "vidgan_jax.sample", "--help"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
    timeout=120,
  )
  help = " ".join(result.stdout.split())
  assert "Seed of the latents. An integer from 0 to 4294967295." in help
  assert "A number above 0 and at most 100." in help


@pytest.mark.parametrize("value", [None, "4", 4.0, [4], {}, True, 0, 2**40])
def test_damaged_configs_of_runs_are_refused_in_one_line(tmp_path, tiny_config, value):
  from vidgan_jax.training import state

  content = json.loads(configuration.to_json(tiny_config()))
  content["batch_size"] = value
  (tmp_path / "config.json").write_text(json.dumps(content))
  with pytest.raises(UserError, match=r"config\.json: config\.batch_size is .*, must be an int"):
    state.read_config(tmp_path)


def test_config_files_load_without_jax():
  """So that wrong flags are refused at once."""
  assert importlib.util.find_spec("jax")
  code = "import sys; sys.path.insert(0, '.'); import runpy\n"
  for path in sorted((ROOT / "configs").glob("*.py")):
    code += f"runpy.run_path({str(path)!r})['get_config']()\n"
  code += "from vidgan_jax.models import switches\nassert 'jax' not in sys.modules\n"
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)
