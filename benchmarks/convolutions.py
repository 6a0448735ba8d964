"""Times the convolutions of DVD-GAN at 64x64x12 in two forms and compares them with the roofline.

  python benchmarks/convolutions.py                                # ch 128, 32 clips, bfloat16
  python benchmarks/convolutions.py --channels=16 --clips=1 --dtype=float32 --tflops=0.14 \
      --bandwidth=0.02                                             # a CPU with two cores

Each row of the table is one layer in one form of `ops`: "plain", as the paper writes it, or the
form for this device. Times are in milliseconds, medians of --calls after warm-up: forward_ms of the
forward pass, both_ms of the forward pass and both gradients. TFLOP/s counts the work as written, so
that the forms can be compared. The roofline is a lower bound of the time of a form: the larger of
its FLOPs / --tflops and its bytes / --bandwidth, if input, output and kernel are each read or
written once. With gradients, FLOPs and bytes are three times as many. roof_ms is this bound with
gradients; %_roof is 100 roof_ms / both_ms. One line of JSON is appended to --results.

Exit codes: 0 done, 2 bad input.
"""

import statistics
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime.errors import UserError

# Name, kind, size of the input map (height, width; 3-D layers: frames, height, width), input and
# output channels in units of ch (0: RGB), examples per clip (frames; 1 for 3-D layers).
_LAYERS = (
  ("G 8x8", "same", (8, 8), 8, 8, 12),
  ("G 8->16 up", "up", (8, 8), 8, 8, 12),
  ("G 16->32 up", "up", (16, 16), 8, 4, 12),
  ("G 32x32", "same", (32, 32), 4, 4, 12),
  ("G 32->64 up", "up", (32, 32), 4, 2, 12),
  ("G 64x64", "same", (64, 64), 2, 2, 12),
  ("G 32->64 shortcut", "up1", (32, 32), 4, 2, 12),
  ("D_S from RGB", "same", (64, 64), 0, 2, 8),
  ("D_S 64->32 pool", "pool", (64, 64), 2, 2, 8),
  ("D_S 32x32", "same", (32, 32), 2, 4, 8),
  ("D_S 32->16 pool", "pool", (32, 32), 4, 4, 8),
  ("D_S 16->8 pool", "pool", (16, 16), 8, 8, 8),
  ("D_S 8->4 pool", "pool", (8, 8), 16, 16, 8),
  ("D_T from RGB", "same3", (12, 32, 32), 0, 2, 1),
  ("D_T 12x32x32 pool", "pool3", (12, 32, 32), 2, 2, 1),
  ("D_T 6x16x16", "same3", (6, 16, 16), 2, 4, 1),
  ("D_T 6x16x16 pool", "pool3", (6, 16, 16), 4, 4, 1),
)

_CLIPS = flags.DEFINE_integer("clips", 32, "Clips per call.", lower_bound=1)
_CHANNELS = flags.DEFINE_integer("channels", 128, "ch of the networks.", lower_bound=1)
_DTYPE = flags.DEFINE_enum("dtype", "bfloat16", ["bfloat16", "float32"], "Type of activations.")
_CALLS = flags.DEFINE_integer("calls", 20, "Timed calls.", lower_bound=1)
_TFLOPS = flags.DEFINE_float(
  "tflops", 790.0, "Peak speed of the device in TFLOP/s; default an H200's bfloat16."
)
_BANDWIDTH = flags.DEFINE_float(
  "bandwidth", 4.3, "Memory bandwidth of the device in TB/s; default an H200's."
)
_ONLY = flags.DEFINE_string("only", "", "Measure only layers whose name contains this text.")
settings.above_zero("tflops", "bandwidth")
settings.define_results()


def _layer(kind, ops):
  """The function (x, kernel) of a layer in the form `ops`, and its window."""
  from vidgan_jax.ops import forms

  form = forms.get(ops)
  window = {"up1": (1, 1), "same3": (3, 3, 3), "pool3": (3, 3, 3)}.get(kind, (3, 3))

  def call(x, kernel):
    if kind in ("up", "up1"):
      return form.upsampled_convolution(x, kernel)
    if kind in ("pool", "pool3"):
      return form.pooled_convolution(x, kernel, (2,) * len(window))
    return form.same_convolution(x, kernel)

  return call, window


def _timed(function, *arguments) -> float:
  """Median seconds of a call, after warm-up."""
  import jax

  seconds = []
  for call in range(_CALLS.value + 2):
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    if call > 1:
      seconds.append(time.perf_counter() - begin)
  return statistics.median(seconds)


def _measure(layer, ops) -> dict:
  """Times one layer in one form."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from vidgan_jax.runtime.hardware import flops

  name, kind, size, inputs, outputs, frames = layer
  inputs, outputs = (n * _CHANNELS.value or 3 for n in (inputs, outputs))
  call, window = _layer(kind, ops)
  random, dtype = np.random.default_rng(0), jnp.dtype(_DTYPE.value)
  shape = (_CLIPS.value * frames, *size, inputs)
  x = jnp.asarray(random.standard_normal(shape, np.float32), dtype)
  kernel = jnp.asarray(random.standard_normal((*window, inputs, outputs), np.float32))
  forward = jax.jit(call)
  out = forward(x, kernel)

  @jax.jit
  def both(x, kernel, cotangent):
    out, pullback = jax.vjp(call, x, kernel)
    return out, pullback(cotangent)

  moved = x.nbytes + out.nbytes + kernel.size * dtype.itemsize
  roof = lambda work, bytes: max(work / _TFLOPS.value, bytes / _BANDWIDTH.value) / 1e12
  executed = flops.count(call, x, kernel)
  return {
    "layer": name,
    "form": ops,
    "input": list(shape),
    "output": list(out.shape),
    "forward_seconds": _timed(forward, x, kernel),
    "both_seconds": _timed(both, x, kernel, out),
    "as_written_flops": flops.count(_layer(kind, "plain")[0], x, kernel),
    "executed_flops": executed,
    "roofline_forward_seconds": roof(executed, moved),
    "roofline_both_seconds": roof(3 * executed, 3 * moved),
  }


def main():
  """Measures all layers in both forms."""
  import jax

  from vidgan_jax.ops import forms
  from vidgan_jax.runtime import mesh as meshes

  layers = [layer for layer in _LAYERS if _ONLY.value in layer[0]]
  if not layers:
    raise UserError(f"no layer's name contains {_ONLY.value!r}")
  columns = "layer form in out forward_ms both_ms TFLOP/s both_TFLOP/s roof_ms %_roof"
  table, results = [columns.split()], []
  for layer in layers:
    for ops in ("plain", forms.choose(meshes.platform())):
      result = _measure(layer, ops)
      results.append(result)
      work, both = result["as_written_flops"], result["both_seconds"]
      table.append(
        [
          result["layer"],
          result["form"],
          "x".join(map(str, result["input"][1:])),
          "x".join(map(str, result["output"][1:])),
          f"{1e3 * result['forward_seconds']:.3f}",
          f"{1e3 * both:.3f}",
          f"{work / result['forward_seconds'] / 1e12:.3g}",
          f"{3 * work / both / 1e12:.3g}",
          f"{1e3 * result['roofline_both_seconds']:.3f}",
          f"{100 * result['roofline_both_seconds'] / both:.0f}",
        ]
      )
  circumstances = {
    "device": jax.devices()[0].device_kind,
    "clips": _CLIPS.value,
    "dtype": _DTYPE.value,
    "channels": _CHANNELS.value,
    "tflops": _TFLOPS.value,
    "bandwidth": _BANDWIDTH.value,
  }
  settings.finish("convolutions", circumstances, table, {"layers": results})


if __name__ == "__main__":
  settings.run(main)
