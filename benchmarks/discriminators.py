"""Times 3-D, factorised and shifted discriminators side by side on the device at hand.

  python benchmarks/discriminators.py
  python benchmarks/discriminators.py --cases=tgan_3d,tgan_f,tgan_tsm --clips=32

The cases, 16 frames of 64x64, as the papers write them:

  tgan_3d, tgan_2d, tgan_f, tgan_tsm       TGAN's four discriminators: 3-D, the 2-D ones that the
                                           other two are built on, TGAN-F's (factorised c0-c1),
                                           TGAN-TSM's (shifts after c0-c2)
  mocogan_3d, mocogan_2d, mocogan_f, mocogan_tsm
                                           MoCoGAN's video discriminators likewise (MoCoGAN-F:
                                           c0-c1, MoCoGAN-TSM: c0-c1)

Timed are the scores of a real and of as many generated clips, each a pass of its own as these
discriminators' batch norm asks for, and with them the gradients by parameters and by the generated
clips: what one iteration asks of a discriminator. All cases take turns, one call each per round;
told are medians over rounds and ratios of the same round to the family's 3-D case. "Lower
Dimensional Kernels for Video Discriminators" 5.3: shifts cost 10-40% of training time, factorising
next to nothing. Every run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import statistics
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door

# Family, row, and how many layers are factorised where it is not the row's own number.
CASES = {
  "tgan_3d": ("tgan", "svc", None),
  "tgan_2d": ("tgan", "f_c0", 0),
  "tgan_f": ("tgan", "f_c1", None),
  "tgan_tsm": ("tgan", "tsm_c2", None),
  "mocogan_3d": ("mocogan", "video_only", None),
  "mocogan_2d": ("mocogan", "f_c0", 0),
  "mocogan_f": ("mocogan", "f_c1", None),
  "mocogan_tsm": ("mocogan", "tsm_c1", None),
}

_CASES = flags.DEFINE_list("cases", list(CASES), f"Of {', '.join(CASES)}.")
_CLIPS = flags.DEFINE_integer("clips", 4, "Real clips, and as many generated ones.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 20, "Timed.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Rounds before the timed ones.", lower_bound=1)
_PRECISION = flags.DEFINE_string("precision", "auto", "See config.precision.")
_SAVINGS = flags.DEFINE_bool("savings", True, "The layers' exact savings.")
_RESULTS = settings.define_results()


def _programs(case):
  """The case's parameters' count, FLOPs of a clip's pass, and functions (): forward, and both."""
  import importlib

  import jax
  import jax.numpy as jnp

  from vidgan_jax.models import registry
  from vidgan_jax.models.contract import Context
  from vidgan_jax.runtime import mesh as meshes
  from vidgan_jax.runtime.hardware import flops

  family, row, level = CASES[case]
  config = importlib.import_module(f"configs.{family}").get_config(row)
  with config.unlocked():
    config.precision, config.model.savings = _PRECISION.value, _SAVINGS.value
    if level is not None:
      config.model.discriminator.level = level
  gan = registry.build(config, platform=meshes.platform())
  variables = jax.jit(lambda: gan.init(jax.random.key(0))["discriminators"]["video"])()
  params, others = variables.pop("params"), variables
  size = (_CLIPS.value, gan.frames, gan.resolution, gan.resolution, 3)
  real, generated = (
    jax.random.uniform(jax.random.key(seed), size, minval=-1, maxval=1) for seed in (1, 2)
  )

  def scores(params, clip):
    view = gan.views(jax.random.key(3), {"clip": clip}, {}, Context())["video"]
    return gan.discriminate("video", {"params": params, **others}, view, jax.random.key(4))[0]

  def loss(params, generated):
    sides = jax.tree.leaves((scores(params, real), scores(params, generated)))
    return sum(jnp.mean(side.astype(jnp.float32) ** 2) for side in sides)

  forward = jax.jit(loss)
  both = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  work = flops.count(loss, params, generated) / 2 / _CLIPS.value
  return count, work, lambda: forward(params, generated), lambda: both(params, generated)


def main(argv):
  """Measures all cases, round by round."""
  del argv
  import jax

  names = settings.chosen(_CASES.value, CASES)
  programs = {name: _programs(name) for name in names}
  seconds = {name: ([], []) for name in names}
  for turn in range(_WARM_UP.value + _ROUNDS.value):
    for name in names:
      for place, call in enumerate(programs[name][2:]):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        if turn >= _WARM_UP.value:
          seconds[name][place].append(time.perf_counter() - begin)
  table = ["case parameters GFLOP/clip forward_ms both_ms forward_ratio both_ratio".split()]
  for name in names:
    base = name.split("_")[0] + "_3d"
    ratios = ["-", "-"]
    if base in names:
      ratios = [
        f"{statistics.median(a / b for a, b in zip(own, of, strict=True)):.2f}"
        for own, of in zip(seconds[name], seconds[base], strict=True)
      ]
    count, work, *_ = programs[name]
    medians = [f"{1e3 * statistics.median(own):.1f}" for own in seconds[name]]
    table.append([name, f"{count:,}", f"{work / 1e9:.2f}", *medians, *ratios])
  told = {
    "device": jax.devices()[0].device_kind,
    "clips": _CLIPS.value,
    "precision": _PRECISION.value,
    "savings": _SAVINGS.value,
  }
  found = {name: {"forward": s[0], "both": s[1]} for name, s in seconds.items()}
  door.report(", ".join(f"{name} {value}" for name, value in told.items()))
  settings.show(table)
  settings.append(_RESULTS.value, "discriminators", {**told, "seconds": found})


if __name__ == "__main__":
  door.run(main)
