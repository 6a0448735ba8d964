"""Convolutions, moves and recomputed results in the text of a compiled program.

Each instruction counts once, also inside loops and fused operations.
"""

import collections
import re

from vidgan_jax.analysis.cost.collectives import array_bytes, arrays_of

# "%name = shape operation(", where the shape of several results is in parentheses.
_INSTRUCTION = re.compile(
  r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = "
  r"(?P<shape>\((?:/\*.*?\*/|[^=])*?\)|\S+) (?P<operation>[\w\-]+)\("
)
_LABELS = re.compile(r"dim_labels=([\w?]+)_[\w?]+->[\w?]+")
_PRODUCT = re.compile(r'op_name="[^"]*dot_general[^"/]*"')
_MOVES = ("transpose", "copy", "pad")
# The end of XLA's name of an instruction that computes a result again: "fusion.3.remat2",
# "fusion.3.remat.1" and "fusion.3.remat.1.remat" repeat "fusion.3".
_AGAIN = re.compile(r"(\.remat\d*(\.\d+)?)+$")
_VIEWS = ("bitcast", "get-tuple-element", "tuple")


def convolutions(text: str) -> dict[str, int]:
  """How many convolutions a program has, by form.

  Args:
    text: of an optimised HLO module.

  Returns:
    {form: number}, the most frequent first. On a GPU these are calls of cuDNN, and a form says
    along how many axes the kernel moves and how the image lies in memory: "2-D, channels last" or
    "2-D, channels first", or else the order of its axes in HLO's letters. On a TPU the order of
    axes says nothing about memory, so a form is "2-D". TPUs also compute products of matrices as
    convolutions: "matrix products".
  """
  forms = collections.Counter()
  for line in text.splitlines():
    match = _INSTRUCTION.match(line)
    if match is None:
      continue
    called = match["operation"] == "custom-call" and "__cudnn$conv" in line
    if called or match["operation"] == "convolution":
      labels = _LABELS.search(line)
      if _PRODUCT.search(line) or (labels and not re.search(r"\d", labels[1])):
        forms["matrix products"] += 1
      else:
        forms[_form(labels[1], called) if labels else "unknown"] += 1
  return dict(forms.most_common())


def _form(image: str, ordered: bool) -> str:
  """The form of a convolution whose image has these axes: "b01f" is batch, 0, 1, features."""
  form = f"{sum(axis.isdigit() for axis in image)}-D"
  if not ordered:
    return form
  if image.startswith("b") and image.endswith("f"):
    return f"{form}, channels last"
  return f"{form}, channels first" if image.startswith("bf") else f"{form}, {image}"


def moves(text: str) -> dict[str, dict[str, int]]:
  """Operations that compute nothing: transposes, copies and paddings.

  Args:
    text: of an optimised HLO module.

  Returns:
    {"transpose", "copy" or "pad": {"count": number, "bytes": sum of their results}}. Compilers fuse
    many of them into the operation that reads the result, which then takes longer. Asynchronous
    copies between memories do not count.
  """
  found = {name: {"count": 0, "bytes": 0} for name in _MOVES}
  for line in text.splitlines():
    match = _INSTRUCTION.match(line)
    if match and match["operation"] in found:
      total = found[match["operation"]]
      total["count"] += 1
      total["bytes"] += sum(array_bytes(*array) for array in arrays_of(match["shape"]))
  return found


def recomputed(text: str) -> dict[str, int]:
  """Results that the compiler computes twice, because keeping them would take too much memory.

  Args:
    text: of an optimised HLO module.

  Returns:
    {"count": number, "bytes": sum of their sizes}. Those that config.model.remat asks for do not
    count. Nor does an instruction whose original is gone: it is computed once, but later.
  """
  names, again = set(), collections.defaultdict(list)
  for line in text.splitlines():
    match = _INSTRUCTION.match(line)
    if match is None:
      continue
    original = _AGAIN.sub("", match["name"])
    if original == match["name"]:
      names.add(original)
    elif match["operation"] not in _VIEWS:
      again[original].append(sum(array_bytes(*array) for array in arrays_of(match["shape"])))
  total = {"count": 0, "bytes": 0}
  for original, sizes in again.items():
    repeated = sizes if original in names else sizes[1:]
    total["count"] += len(repeated)
    total["bytes"] += sum(repeated)
  return total
