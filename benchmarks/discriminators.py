"""Times 3-D, factorised and shifted discriminators on this machine's default device.

  python benchmarks/discriminators.py
  python benchmarks/discriminators.py --cases=tgan_3d,tgan_f,tgan_tsm --clips=32

The cases, on 16 frames of 64x64, as the papers write them:

  tgan_3d      TGAN's 3-D discriminator
  tgan_2d      2-D convolutions on every frame, the basis of the next two
  tgan_f       TGAN-F: layers c0 and c1 factorised
  tgan_tsm     TGAN-TSM: temporal shifts after layers c0 to c2
  mocogan_3d, mocogan_2d, mocogan_f, mocogan_tsm
               the same for MoCoGAN's video discriminator (both variants in c0 and c1)

The benchmark times what one iteration computes with a discriminator. "forward" scores --clips real
and as many generated clips, in two passes, because these discriminators normalise over the batch.
"both" is the forward and the backward pass: it adds the gradients with respect to the parameters
and the generated clips. In each round every case is called once. The table has medians over the
rounds, and medians of the ratios to the 3-D case of the same family in the same round. According to
"Lower Dimensional Kernels for Video Discriminators" 5.3, shifts cost 10-40% of training time and
factorising costs next to nothing. Each run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import statistics
import time

import settings  # first: it makes the package importable
from absl import flags

# Config file, row, and config.model.discriminator.level if it differs from the row's.
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

_CASES = settings.define_cases("cases", CASES)
_CLIPS = flags.DEFINE_integer(
  "clips", 4, "Number of real clips, and of generated clips.", lower_bound=1
)
_ROUNDS = flags.DEFINE_integer("rounds", 20, "Timed rounds.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Rounds before the timed ones.", lower_bound=1)
_PRECISION, _SAVINGS = settings.define_precision_and_savings()
settings.define_results()


def _programs(case):
  """Builds a case.

  Returns:
    (number of parameters, FLOPs of a forward pass per clip, forward, both). The last two are
    functions () that run the compiled programs.
  """
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


def main():
  """Measures all cases, round by round."""
  import jax

  names = settings.chosen(_CASES.value, CASES)
  programs = {name: _programs(name) for name in names}
  seconds = {name: ([], []) for name in names}
  for number in range(_WARM_UP.value + _ROUNDS.value):
    for name in names:
      for call, of_call in zip(programs[name][2:], seconds[name], strict=True):
        begin = time.perf_counter()
        jax.block_until_ready(call())
        if number >= _WARM_UP.value:
          of_call.append(time.perf_counter() - begin)
  table = ["case parameters GFLOP/clip forward_ms both_ms forward_ratio both_ratio".split()]
  for name in names:
    base = name.split("_")[0] + "_3d"
    ratios = ["-", "-"]
    if base in names:
      ratios = [
        f"{statistics.median(a / b for a, b in zip(of_case, of_base, strict=True)):.2f}"
        for of_case, of_base in zip(seconds[name], seconds[base], strict=True)
      ]
    count, work, *_ = programs[name]
    medians = [f"{1e3 * statistics.median(of_call):.1f}" for of_call in seconds[name]]
    table.append([name, f"{count:,}", f"{work / 1e9:.2f}", *medians, *ratios])
  circumstances = {
    "device": jax.devices()[0].device_kind,
    "clips": _CLIPS.value,
    "precision": _PRECISION.value,
    "savings": _SAVINGS.value,
  }
  by_name = {name: {"forward": forward, "both": both} for name, (forward, both) in seconds.items()}
  settings.finish("discriminators", circumstances, table, {"seconds": by_name})


if __name__ == "__main__":
  settings.run(main)
