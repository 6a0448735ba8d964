"""Compares numbers with the pins.

Bits of floats depend on the versions of JAX and NumPy and on the processor: its instruction set,
its cores, and the sizes of its caches, by which libraries divide matrix products. So tests allow
numbers in float64 to differ by `FLOAT64`, those computed from float32 features by `FLOAT32`,
relative to their size. `python -m tests.pins.write` compares bits.
"""

import numpy as np

FLOAT64, FLOAT32 = 1e-9, 2e-4
_HEX = ("0x", "-0x")


def _numbers(value) -> float | None:
  return float.fromhex(value) if isinstance(value, str) and value.startswith(_HEX) else None


def differences(pinned, found, tolerance: float = 0.0, where: str = "") -> list[str]:
  """Lines that name what differs in two trees of plain values.

  Args:
    pinned, found: trees; hexadecimal texts are floats.
    tolerance: of floats, relative; 0 compares bits.
    where: path of these trees.
  """
  if isinstance(pinned, dict) and isinstance(found, dict):
    lines = []
    for key in dict.fromkeys((*pinned, *found)):
      path = f"{where} / {key}" if where else str(key)
      if key not in found or key not in pinned:
        lines.append(f"{path}: {'is gone' if key not in found else 'is new'}")
      else:
        lines += differences(pinned[key], found[key], tolerance, path)
    return lines
  if isinstance(pinned, list) and isinstance(found, list) and len(pinned) == len(found):
    pairs = enumerate(zip(pinned, found, strict=True))
    return [line for i, (a, b) in pairs for line in differences(a, b, tolerance, f"{where}[{i}]")]
  if pinned == found:
    return []
  numbers = _numbers(pinned), _numbers(found)
  if None in numbers:
    return [f"{where}: {str(pinned)[:200]} is pinned, {str(found)[:200]} computed"]
  distance = abs(numbers[0] - numbers[1]) / max(abs(numbers[0]), 1e-3)
  if distance <= tolerance:
    return []
  return [f"{where}: {numbers[0]!r} is pinned, {numbers[1]!r} computed, {distance:.1e} apart"]


def distance(pinned: np.ndarray, found: np.ndarray) -> float:
  """How far arrays of (norm, product) are apart, relative to each array's norm."""
  if pinned.shape != found.shape:
    return np.inf
  scale = np.maximum(np.abs(pinned[:, :1]), 1e-3)
  return float(np.max(np.abs(pinned - found) / scale, initial=0.0))


def training(pinned, found, tolerance: float = 0.0) -> list[str]:
  """Lines that name what differs in one case's training.

  Args:
    pinned, found: (JSON of the case, {part: arrays}).
    tolerance: see `differences`.
  """
  (old, old_arrays), (new, new_arrays) = pinned, found
  lines = []
  for pixels in (False, True):  # statistics of pixels are float32
    metrics = [
      [{k: v for k, v in each.items() if k.startswith("pixel/") == pixels} for each in iterations]
      for iterations in (old["iterations"], new["iterations"])
    ]
    lines += differences(*metrics, FLOAT32 if tolerance and pixels else tolerance, "iterations")
  for part in dict.fromkeys((*old["state"], *new["state"])):
    if part not in old["state"] or part not in new["state"]:
      lines.append(f"{part}: in one of both")
      continue
    if old["state"][part]["names"] != new["state"][part]["names"]:
      lines.append(f"{part}: names, types or shapes of its arrays differ")
    apart = distance(old_arrays[part], new_arrays[part])
    moved = old["state"][part]["bytes"] != new["state"][part]["bytes"]
    if apart > tolerance or (not tolerance and moved):
      lines.append(f"{part}: its arrays are up to {apart:.1e} of their norms apart")
  return lines


def of_case(part, name: str):
  """(JSON, {part: arrays}) of one case of the training."""
  content, arrays = part
  begin = f"{name}/"
  return content[name], {k.removeprefix(begin): a for k, a in arrays.items() if k.startswith(begin)}


def report(pinned, found) -> list[str]:
  """All that differs from the pins, bit for bit, as lines."""
  lines = []
  for name in ("scores", "parameters"):
    lines += differences(pinned[name][0], found[name][0], 0.0, name)
  old, new = pinned["training"], found["training"]
  for name in dict.fromkeys((*old[0], *new[0])):
    if name in old[0] and name in new[0]:
      cases = of_case(old, name), of_case(new, name)
      lines += [f"{name}: {line}" for line in training(*cases)]
    else:
      lines.append(f"training: {name} is {'new' if name in new[0] else 'gone'}")
  return lines or ["nothing differs"]
