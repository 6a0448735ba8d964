"""Times an evaluation protocol, from clips to scores, on JAX's default devices.

  python benchmarks/evaluation.py                                       # FVD of 10,000 clips
  python benchmarks/evaluation.py --protocol=du_r2plus1d --clips=8 --real=8 --resolution=64

Real clips are in host memory, as after decoding. Generated clips are noise that is drawn on the
devices. So neither a decoder nor a generator is timed. The networks have random weights. The table
has the time for compilation and one batch, for the features of real and of generated clips, and for
the statistics that the host computes from them, including confidence intervals and the scores of
real against real.

Each run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import dataclasses
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door

_PROTOCOL = flags.DEFINE_string("protocol", "fvd_unterthiner2018", "Name of the protocol.")
_CLIPS = flags.DEFINE_integer("clips", 10_000, "Number of generated clips.", lower_bound=4)
_REAL = flags.DEFINE_integer("real", 10_000, "Number of real clips.", lower_bound=8)
_RESOLUTION = flags.DEFINE_integer(
  "resolution", 64, "Height and width of clips in pixels.", lower_bound=16
)
_FRAMES = flags.DEFINE_integer("frames", 16, "Frames per clip.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Clips per batch.", lower_bound=1)
settings.define_results()


class _Noise:
  """A source of generated clips: random bytes, drawn on the devices."""

  def __init__(self, shape, mesh):
    import jax

    from vidgan_jax.runtime import mesh as meshes

    self.shape, self.about = shape, {"step": 0, "truncation": 1.0, "ema": True}

    def draw(number, count):
      key = jax.random.fold_in(jax.random.key(0), number)
      return jax.random.bits(key, (count, *shape), "uint8")

    self._draw = jax.jit(draw, static_argnums=1, out_shardings=meshes.batch_sharding(mesh))

  def __call__(self, begin, end):
    import numpy as np

    return self._draw(begin, end - begin), np.zeros(end - begin, np.int32)


def main():
  """Times the parts of the evaluation."""
  import jax
  import numpy as np

  from vidgan_jax.evaluation import clips, evaluator
  from vidgan_jax.evaluation.features import random_weights
  from vidgan_jax.evaluation.protocols import registry as protocols
  from vidgan_jax.runtime import mesh as meshes

  protocol = dataclasses.replace(
    protocols.get_protocol(_PROTOCOL.value), generated_count=_CLIPS.value, repeats=1
  )
  extractors = {name: random_weights.load(name) for name in protocol.networks}
  mesh = meshes.make_mesh()
  scorer = evaluator.Evaluator(protocol, extractors, mesh=mesh, batch_size=_BATCH.value)
  shape = (_FRAMES.value, _RESOLUTION.value, _RESOLUTION.value, 3)
  pool = np.random.default_rng(0).integers(0, 256, (min(64, _REAL.value), *shape), np.uint8)
  real = clips.ArrayClips(np.resize(pool, (_REAL.value, *shape)))
  generated = _Noise(shape, mesh)
  seconds = {}

  def timed(part, function):
    begin = time.perf_counter()
    result = function()
    seconds[part] = time.perf_counter() - begin
    return result

  timed("compiling and a batch", lambda: scorer.reference(real.some(_BATCH.value)))
  reference = timed("real features", lambda: scorer.reference(real))
  # `score` computes features and statistics; the time of the features is measured in `gather`.
  gather = evaluator.features.gather
  of_features = []

  def timed_gather(*arguments, **options):
    begin = time.perf_counter()
    result = gather(*arguments, **options)
    of_features.append(time.perf_counter() - begin)
    return result

  evaluator.features.gather = timed_gather
  timed("scoring", lambda: scorer.score(generated, reference))
  seconds["generated features"] = sum(of_features)
  seconds["statistics"] = seconds.pop("scoring") - sum(of_features)
  device = jax.devices()[0].device_kind
  table = [["part", "seconds", "clips/s"]]
  counts = {"real features": _REAL.value, "generated features": _CLIPS.value}
  for part, value in seconds.items():
    rate = f"{counts[part] / value:.1f}" if part in counts else ""
    table.append([part, f"{value:.2f}", rate])
  door.report(f"{protocol.name}, {_CLIPS.value} clips of {shape}, {mesh.devices.size} x {device}")
  settings.show(table)
  result = {"protocol": protocol.name, "device": device, "devices": mesh.devices.size}
  result |= {"clips": _CLIPS.value, "real": _REAL.value, "shape": shape, "seconds": seconds}
  settings.append(flags.FLAGS.results, "evaluation", result)


if __name__ == "__main__":
  settings.run(main)
