"""Times I3D features: our network against PyTorch on the CPU, or ours alone on an accelerator.

  python benchmarks/features.py --rounds=4
  python benchmarks/features.py --device=default --variants=jax,jax_plain --clips=64

Clips are 16 frames of 224x224, uint8 in host memory. The time of a call ends when the logits and
the 1024 pooled features are in host memory. Weights are random: they do not influence the time. The
variants:

  jax                  `evaluation.features.architectures.i3d` as the evaluation runs it
  jax_plain            the same network with every layer as in the paper
  torch                a PyTorch twin, eager, in PyTorch's default memory layout
  torch_channels_last  the twin with channels last in memory

The twin needs requirements-bench.txt and runs only on the CPU. It has TensorFlow's padding, the
same weights, and batch norm folded into its kernels. First a separate process checks that all
variants compute the same features to 1e-4. Then each round runs every variant in a fresh process.
The result of a process is the median of its calls after warm-up; the result of a variant is the
median over rounds, printed with the range. Ratios compare clips per second of the same round.
Processor time is the sum over all threads, for the fastest call. On a machine with other load it is
more reliable than elapsed time.

Each run appends one line of JSON to --results.

Exit codes: 0 done, 2 bad input or a variant that failed.
"""

import math
import statistics
import tempfile
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

VARIANTS = ("jax", "jax_plain", "torch", "torch_channels_last")
_FRAMES, _SIDE = 16, 224
_TOLERANCE = 1e-4

_VARIANTS = settings.define_cases("variants", VARIANTS)
_DEVICE = flags.DEFINE_enum(
  "device", "cpu", ["cpu", "default"], "The CPU, or JAX's default device."
)
_CLIPS = flags.DEFINE_integer("clips", 4, "Clips per call.", lower_bound=1)
_CALLS = flags.DEFINE_integer("calls", 5, "Timed calls per process.", lower_bound=1)
_WARM_UP = flags.DEFINE_integer("warm_up", 2, "Calls before the timed ones.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 4, "Fresh processes per variant.", lower_bound=1)
settings.define_results()
settings.define_worker()


def _variables():
  """Random variables of I3D as NumPy arrays. None is 0 or 1, so that all have an effect."""
  import jax
  import numpy as np

  from vidgan_jax.evaluation.features.architectures import i3d

  random = np.random.default_rng(0)

  def draw(path, like):
    numbers = random.standard_normal(like.shape, np.float32)
    leaf = path[-1].key
    if leaf == "kernel":
      return numbers * np.float32(np.sqrt(2 / np.prod(like.shape[:-1])))
    return np.exp(numbers / 4) if leaf == "variance" else numbers / 10

  return jax.tree_util.tree_map_with_path(draw, i3d.abstract_variables())


def _clips(count):
  """uint8 [count, 16, 224, 224, 3]."""
  import numpy as np

  shape = (count, _FRAMES, _SIDE, _SIDE, 3)
  return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def _ours(plain):
  """A function of uint8 clips that returns {output: array} on the host."""
  import jax
  import jax.numpy as jnp

  from vidgan_jax.evaluation.features.architectures import i3d
  from vidgan_jax.runtime.hardware import compilation, memory

  memory.keep_freed_on_cpu()
  module = i3d.I3D(plain=plain)
  variables = jax.device_put(_variables())
  apply = jax.jit(
    lambda v, clips: module.apply(v, clips.astype(jnp.float32) / 127.5 - 1),
    compiler_options=None if plain else compilation.feature_options(jax.devices()[0]),
  )
  return lambda clips: jax.device_get(apply(variables, clips))


def _twin(channels_last):
  """Like `_ours`, in PyTorch."""
  import torch
  import torch.nn.functional as F

  from vidgan_jax.evaluation.features.architectures import i3d

  torch.set_num_threads(settings.cores())
  layout = torch.channels_last_3d if channels_last else torch.contiguous_format
  variables = _variables()

  def weights(*path):
    """Kernel [out, in, T, H, W] and bias of a unit, with batch norm folded into both."""
    params, moments = variables["params"], variables["batch_stats"]
    for name in path:
      params, moments = params[name], moments.get(name, {})
    kernel = torch.from_numpy(params["kernel"])
    if "bias" in params:
      return kernel, torch.from_numpy(params["bias"])
    scale = torch.rsqrt(torch.from_numpy(moments["variance"]) + i3d.EPSILON)
    bias = torch.from_numpy(params["beta"]) - torch.from_numpy(moments["mean"]) * scale
    kernel = (kernel * scale).permute(4, 3, 0, 1, 2)
    return kernel.contiguous(memory_format=layout), bias

  folded = {}

  def same(x, window, strides):
    """TensorFlow's padding of x [B, C, T, H, W]: (low, high) of every axis."""
    sizes = zip(x.shape[2:], window, strides, strict=True)
    totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in sizes]
    return [(total // 2, total - total // 2) for total in totals]

  def flat(pads):
    return [size for pair in reversed(pads) for size in pair]

  def unit(x, *path, stride=1):
    if path not in folded:
      folded[path] = weights(*path)
    kernel, bias = folded[path]
    pads = same(x, kernel.shape[2:], (stride,) * 3)
    if any(low != high for low, high in pads):
      x, pads = F.pad(x, flat(pads)), [(0, 0)] * 3
    return F.conv3d(x, kernel, bias, stride, [low for low, _ in pads]).relu_()

  def pool(x, window, strides):
    pads = same(x, window, strides)
    # Padding at the far end alone is left to PyTorch, which does it with `ceil_mode`.
    if any(low != high and low for low, high in pads):
      x, pads = F.pad(x, flat(pads)), [(0, 0)] * 3
    return F.max_pool3d(x, window, strides, [low for low, _ in pads], ceil_mode=True)

  def block(x, name):
    third = "Conv3d_0a_3x3" if name == "Mixed_5b" else "Conv3d_0b_3x3"
    one = lambda x, branch, unit_name="Conv3d_0a_1x1": unit(x, name, f"Branch_{branch}", unit_name)
    branches = (
      one(x, 0),
      one(one(x, 1), 1, "Conv3d_0b_3x3"),
      one(one(x, 2), 2, third),
      one(pool(x, (3, 3, 3), (1, 1, 1)), 3, "Conv3d_0b_1x1"),
    )
    return torch.cat(branches, 1)

  kernel, bias = weights("Logits", "Conv3d_0c_1x1")

  @torch.inference_mode()
  def features(clips):
    x = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)
    x = x.contiguous(memory_format=layout)
    x = pool(unit(x, "Conv3d_1a_7x7", stride=2), (1, 3, 3), (1, 2, 2))
    x = unit(unit(x, "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    for name in i3d.BLOCKS:
      if name in i3d.POOLS:
        x = pool(x, *i3d.POOLS[name])
      x = block(x, name)
    x = F.avg_pool3d(x, (2, 7, 7), 1)[..., 0, 0].transpose(1, 2)
    logits = (x @ kernel + bias).mean(1)
    return {"logits": logits.numpy(), "avgpool": x.mean(1).numpy()}

  return features


def _variant(name):
  """A variant's function from uint8 clips to features."""
  if name.startswith("torch"):
    return _twin(name == "torch_channels_last")
  return _ours(name == "jax_plain")


def _check(names) -> dict:
  """Compares the features of all variants with those of the first; UserError if they differ."""
  import numpy as np

  clips, features, largest = _clips(1), {}, {}
  for name in names:
    features[name] = _variant(name)(clips)
    for output, value in features[name].items():
      first = features[names[0]][output]
      error = float(np.linalg.norm(value - first) / np.linalg.norm(first))
      largest[name] = max(error, largest.get(name, 0))
      if not error <= _TOLERANCE:
        raise UserError(f"relative difference of {output}: {error:.1e} ({name} and {names[0]})")
  return {"differences": largest}


def _measure(name) -> dict:
  """Times one variant in this process; "check" compares all of them."""
  if name == "check":
    return _check(_chosen())
  call, clips = _variant(name), _clips(_CLIPS.value)
  seconds, processor_seconds = [], []
  for _ in range(_WARM_UP.value + _CALLS.value):
    begin, processor_begin = time.perf_counter(), time.process_time()
    call(clips)
    seconds.append(time.perf_counter() - begin)
    processor_seconds.append(time.process_time() - processor_begin)
  result = {"seconds": seconds[_WARM_UP.value :], "processor_seconds": min(processor_seconds)}
  if not name.startswith("torch"):
    import jax

    result["device"] = jax.devices()[0].device_kind
  return result


def _chosen() -> list[str]:
  """The variants of --variants that can run here."""
  names = settings.chosen(_VARIANTS.value, VARIANTS, "variant")
  if _DEVICE.value != "cpu" and any(name.startswith("torch") for name in names):
    raise UserError("the PyTorch twin runs only on the CPU: use --variants=jax,jax_plain")
  return settings.chosen_variants(names, VARIANTS)


def _ratios(rounds) -> dict:
  """{"a/b": [clips per second of a / those of b, per round]}, a ours and b PyTorch's."""
  return {
    f"{ours}/{theirs}": [b / a for a, b in zip(rounds[ours], rounds[theirs], strict=True)]
    for ours in rounds
    for theirs in rounds
    if not ours.startswith("torch") and theirs.startswith("torch")
  }


def main():
  """Checks all variants, then measures them in turn, round by round."""
  chosen = _chosen()
  rounds, processor = {name: [] for name in chosen}, dict.fromkeys(chosen, math.inf)
  device = _DEVICE.value
  with tempfile.TemporaryDirectory() as cache:
    environment = {"JAX_COMPILATION_CACHE_DIR": cache}
    if _DEVICE.value == "cpu":
      environment["JAX_PLATFORMS"] = "cpu"
    run = lambda worker: settings.in_fresh_process(__file__, worker, environment)
    differences = run("check")["differences"]
    for name, difference in differences.items():
      door.report(f"features of {name} differ from those of {chosen[0]} by {difference:.1e}")
    for number in range(_ROUNDS.value):
      for name in chosen:
        result = run(name)
        device = result.get("device", device)
        rounds[name].append(statistics.median(result["seconds"]))
        processor[name] = min(processor[name], result["processor_seconds"] / _CLIPS.value)
        rate = _CLIPS.value / rounds[name][-1]
        door.report(f"round {number + 1}, {name}: {rate:.3g} clips/s")
  ratios = _ratios(rounds)
  table = [["variant", "clips/s", "of the rounds", "clips/min", "processor s/clip"]]
  for name, seconds in rounds.items():
    rates = [_CLIPS.value / each for each in seconds]
    rate = statistics.median(rates)
    span = f"{min(rates):.3g} to {max(rates):.3g}"
    table.append([name, f"{rate:.3g}", span, f"{60 * rate:.0f}", f"{processor[name]:.2f}"])
  result = {
    "device": device,
    "clips": _CLIPS.value,
    "calls": _CALLS.value,
    "rounds": _ROUNDS.value,
    "seconds_of_rounds": rounds,
    "processor_seconds_per_clip": processor,
    "ratios": ratios,
    "differences": differences,
  }
  door.report(f"\n{settings.cpu_name()}, {settings.cores()} cores; device {device}")
  settings.show(table)
  settings.show_ratios({name: (statistics.median(of), of) for name, of in ratios.items()})
  settings.append(flags.FLAGS.results, "features", result)


if __name__ == "__main__":
  settings.run(main, _measure)
