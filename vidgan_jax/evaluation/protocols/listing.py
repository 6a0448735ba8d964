"""The list that `evaluate --list` prints: all settings of each protocol, then all metrics."""

from vidgan_jax.evaluation.metrics.registry import METRICS, direction
from vidgan_jax.evaluation.protocols import registry


def lines() -> list[str]:
  """Lines of the list."""
  text = []
  for protocol in registry.all_protocols().values():
    text += [f"{protocol.name}: {protocol.source}", *clip_lines(protocol)]
    text += [line for metric in protocol.metrics for line in _metric_lines(protocol, metric)]
    text += [f"  - {note}" for note in protocol.notes]
  text += [f"{alias}: stands for {name}" for alias, name in registry.ALIASES.items()]
  text.append("metrics that --metrics can add to a protocol, with default settings:")
  for name, metric in METRICS.items():
    for number in metric.numbers:
      names = name if number.name == name else f"{name}, {number.name}"
      text.append(f"  {names}: {number.title} ({direction(number.name)[1]}). {number.meaning}")
  return text


def clip_lines(protocol) -> list[str]:
  """Lines about the clips of a protocol: their length and size, and how many are taken where."""
  frames = f"{protocol.frames} frames" if protocol.frames else "frames as in training"
  stride = f"stride {protocol.stride}" if protocol.stride else "stride as in training"
  real = f"{protocol.real_count:,}" if protocol.real_count else "all"
  windows = f"{protocol.windows} windows"
  if protocol.windows_per_video > 1:
    windows += f", {protocol.windows_per_video} of each video"
  mirrored = ", half of them mirrored" if protocol.flip else ""
  repeats = f", {protocol.repeats} times" if protocol.repeats > 1 else ""
  sides = f", {' or '.join(f'{side}x{side}' for side in protocol.resolutions)} pixels"
  return [
    f"  clips: {frames}{sides if protocol.resolutions else ''}; {protocol.quantisation}",
    f"  real: {real} of the {protocol.split} split; {windows}, {stride}, {protocol.crop} crop"
    f"{mirrored}",
    f"  generated: {protocol.generated_count:,}{repeats}; {_floor(protocol)}",
  ]


def _floor(protocol) -> str:
  """Number of real clips on each side of the floor, in words."""
  if protocol.real_count is None:
    return "real against real with the same number on each side, or half of the real clips if fewer"
  count = min(protocol.generated_count, protocol.real_count // 2)
  return f"real against real with {count:,} clips on each side"


def _metric_lines(protocol, metric) -> list[str]:
  settings = metric.settings()
  if protocol.per_class and metric.scores_classes:
    settings.append("also by class")
  interval = metric.has_interval(protocol.repeats, protocol.bootstrap)
  settings.append("95 % interval" if interval else "no interval")
  if metric.input == "pixels":
    return [f"  {metric.name} of predicted and true frames: {', '.join(settings)}"]
  operations = "; ".join(map(_operation, metric.preprocess))
  return [
    f"  {metric.name} of {metric.network}.{metric.output}: {', '.join(settings)}",
    f"    after {operations}",
  ]


def _operation(operation) -> str:
  """Text of one operation on pixels in 0..255, see `preprocessing.apply`."""
  name, *arguments = operation
  if name == "scale":
    return "times {:.6g}, plus {:.6g}".format(*arguments)
  return " ".join([name, *map(_plain, arguments)])


def _plain(value) -> str:
  """Text of one argument of an operation."""
  if isinstance(value, tuple):
    return ",".join(map(_plain, value))
  return f"{value:.6g}" if isinstance(value, float) else str(value)
