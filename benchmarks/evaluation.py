"""Times a protocol from clips to its numbers, on whatever devices JAX takes.

  python benchmarks/evaluation.py                                       # FVD of 10,000 clips
  python benchmarks/evaluation.py --protocol=du_r2plus1d --clips=8 --real=8 --resolution=64

Real clips lie in the host's memory as they would after decoding, generated ones are noise drawn on
the devices, so that neither a decoder nor a generator is timed. Weights are random. Timed are the
features of both sides, compiling apart, and all that is computed of them on the host, interval and
floor included.

Every run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import dataclasses
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door

_PROTOCOL = flags.DEFINE_string("protocol", "fvd_unterthiner2018", "Its name.")
_CLIPS = flags.DEFINE_integer("clips", 10_000, "Generated clips.", lower_bound=4)
_REAL = flags.DEFINE_integer("real", 10_000, "Real clips.", lower_bound=8)
_RESOLUTION = flags.DEFINE_integer("resolution", 64, "Of the clips.", lower_bound=16)
_FRAMES = flags.DEFINE_integer("frames", 16, "Of the clips.", lower_bound=1)
_BATCH = flags.DEFINE_integer("batch_size", 32, "Clips at a time.", lower_bound=1)
_RESULTS = settings.define_results()


def _random_extractor(name):
  """A network with weights that matter not for time; its variances are positive."""
  import jax
  import numpy as np
  from flax.traverse_util import unflatten_dict

  from vidgan_jax.evaluation.features import extractor

  parts = extractor.find(name).build()
  random = np.random.default_rng(0)
  draw = lambda shape: np.abs(random.standard_normal(shape, np.float32)) / np.sqrt(np.prod(shape))
  shapes = extractor.variable_shapes(parts)
  variables = unflatten_dict({path: draw(shape) for path, shape in shapes.items()}, sep="/")
  constants = {key: np.zeros(shape, np.float32) for key, shape in parts.constants.items()}
  return extractor.Extractor(
    name=name,
    weights_hash="random",
    outputs=parts.outputs,
    min_frames=parts.min_frames,
    input_size=parts.input_size,
    variables=jax.tree.map(np.asarray, variables),
    apply=parts.module.apply,
    constants=constants,
  )


class _Noise:
  """Clips drawn on the devices."""

  def __init__(self, shape, mesh):
    import jax

    from vidgan_jax.runtime import mesh as meshes

    self.shape, self.about = shape, {"step": 0, "truncation": 1.0, "ema": True}
    place = meshes.batch_sharding(mesh)

    def draw(number, count):
      key = jax.random.fold_in(jax.random.key(0), number)
      return jax.random.bits(key, (count, *shape), "uint8")

    self._draw = jax.jit(draw, static_argnums=1, out_shardings=place)

  def __call__(self, begin, end):
    import numpy as np

    return self._draw(begin, end - begin), np.zeros(end - begin, np.int32)


def main(argv):
  """Measures and tells."""
  del argv
  import jax
  import numpy as np

  from vidgan_jax.evaluation import clips, evaluator
  from vidgan_jax.evaluation.protocols import base as protocols
  from vidgan_jax.runtime import mesh as meshes

  protocol = dataclasses.replace(
    protocols.get_protocol(_PROTOCOL.value), generated_count=_CLIPS.value, repeats=1
  )
  extractors = {name: _random_extractor(name) for name in protocol.networks}
  mesh = meshes.make_mesh()
  judge = evaluator.Evaluator(protocol, extractors, mesh=mesh, batch_size=_BATCH.value)
  shape = (_FRAMES.value, _RESOLUTION.value, _RESOLUTION.value, 3)
  some = np.random.default_rng(0).integers(0, 256, (min(64, _REAL.value), *shape), np.uint8)
  real = clips.ArrayClips(np.resize(some, (_REAL.value, *shape)))
  generated = _Noise(shape, mesh)
  seconds = {}

  def timed(what, function):
    begin = time.perf_counter()
    found = function()
    seconds[what] = time.perf_counter() - begin
    return found

  timed("compiling and a batch", lambda: judge.reference(real.some(_BATCH.value)))
  reference = timed("real features", lambda: judge.reference(real))
  gather = evaluator.features.gather
  spent = []

  def watched(*arguments, **options):
    begin = time.perf_counter()
    found = gather(*arguments, **options)
    spent.append(time.perf_counter() - begin)
    return found

  evaluator.features.gather = watched
  timed("scoring", lambda: judge.score(generated, reference))
  seconds["generated features"] = sum(spent)
  seconds["statistics"] = seconds.pop("scoring") - sum(spent)
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
  settings.append(_RESULTS.value, "evaluation", result)


if __name__ == "__main__":
  door.run(main)
