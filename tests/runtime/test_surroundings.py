"""A run does not depend on JAX settings of the program that embeds it."""

import jax
import numpy as np
import pytest

from vidgan_jax.runtime import precision, streams
from vidgan_jax.runtime.config import configuration
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.training import loop, state


def test_keys_do_not_depend_on_the_default_generator():
  draw = lambda: np.asarray(jax.random.bits(streams.key(3, streams.LATENTS, 5), (4,)))
  plain = draw()
  with jax.default_prng_impl("rbg"):
    np.testing.assert_array_equal(draw(), plain)


@pytest.mark.parametrize("name", ["auto", "bfloat16", "float32"])
def test_64_bits_are_refused_for_policies_with_32(x64, name):
  with pytest.raises(UserError, match="JAX_ENABLE_X64=0"):
    precision.check_width(name)


def test_64_bits_are_for_float64(x64):
  precision.check_width("float64")


def test_32_bits_pass():
  precision.check_width("float32")


def test_a_run_in_64_bits_is_refused_before_it_has_a_folder(tmp_path, lean_config, x64):
  with pytest.raises(UserError, match="64 bits"):
    loop.Trainer(lean_config(), tmp_path / "run", devices=jax.devices()[:1])
  assert not (tmp_path / "run").exists()


def test_a_run_is_not_opened_in_64_bits(tmp_path, lean_config, x64):
  (tmp_path / "config.json").write_text(configuration.to_json(lean_config()))
  with pytest.raises(UserError, match="64 bits"):
    state.load(tmp_path)
