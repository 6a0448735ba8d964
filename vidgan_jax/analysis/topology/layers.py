"""The layer that an operation of a compiled program comes from, by the names that JAX gives."""

import dataclasses
import re

# Parts of a name that say how JAX reached an operation, not where in the network it is.
_TRANSFORMED = re.compile(r"(?:jvp|transpose|vmap|checkpoint|remat)\((.*)\)")
_CALLED = re.compile(r"(?:jit|pjit|custom_\w+|closed_call)(?:\(.*\))?|branch_\d+_fun")
_WRAPPERS = {
  "",
  "body",
  "checkpoint",
  "cond",
  "closed_call",
  "rematted_computation",
  "remat",
  "shard_map",
  "while",
}
_COPIES = ("copy", "bitcast", "get-tuple-element", "copy-start", "copy-done", "tuple")
_INSTRUCTION = re.compile(
  r"^\s*(?:ROOT )?%?(?P<name>[\w.\-]+) = (?:\([^=]*?\)|\S+) (?P<operation>[\w\-]+)\("
  r"(?:%?(?P<operand>[\w.\-]+))?"
)
_COMPUTATION = re.compile(r"(?:ENTRY )?%?(?P<name>[\w.\-]+) \(.*\{")
_DEEPEST = 8  # instructions that `Sources.of` follows


@dataclasses.dataclass(frozen=True)
class Layer:
  """Where an operation comes from.

  Attributes:
    path: modules of the network, such as "Generator/block0/conv1", or the name of an argument.
    operation: JAX's primitive, such as "conv_general_dilated".
    backward: whether it belongs to a backward pass.
    recomputed: whether it repeats a part of a forward pass (rematerialisation).
  """

  path: str
  operation: str = ""
  backward: bool = False
  recomputed: bool = False


def layer(source: str) -> Layer:
  """Reads JAX's name of an operation, such as "jit(f)/jvp()/shard_map/Generator/to_rgb/add"."""
  if not source.startswith("jit("):  # the name of an argument, or XLA's own name
    return Layer(source)
  parts = []
  for part in _split(source):
    while match := _TRANSFORMED.fullmatch(part):
      part = match[1]
    parts += [one for one in part.split("/") if _names_module(one)]
  *path, operation = parts or [""]
  path = [part for i, part in enumerate(path) if not i or part != path[i - 1]]  # once per transform
  backward = "transpose(" in source
  return Layer("/".join(path), operation, backward, "rematted_computation" in source)


def _names_module(part: str) -> bool:
  """Whether a part of a name is a module or an operation; "ab,bc->ac" names an `einsum`."""
  return not (part in _WRAPPERS or _CALLED.fullmatch(part) or "->" in part)


def _split(source: str) -> list[str]:
  """The parts of a name; a slash within parentheses or brackets does not end one."""
  parts, depth = [""], 0
  for letter in source:
    depth += (letter in "([") - (letter in ")]")
    if letter == "/" and depth <= 0:
      parts.append("")
    else:
      parts[-1] += letter
  return parts


class Sources:
  """JAX's names of the operations in the text of an optimised HLO module."""

  def __init__(self, text: str):
    self._names: dict[str, str] = {}  # {instruction: its own name}
    self._inside: dict[str, str] = {}  # {computation: the last name inside}
    self._follow: dict[str, tuple[str, str]] = {}  # {instruction: (computation, operand)}
    computation = ""
    for line in text.splitlines():
      if start := _COMPUTATION.match(line):
        computation = start["name"]
      match = _INSTRUCTION.match(line)
      if match is None:
        continue
      source = re.search(r'op_name="((?:[^"\\]|\\.)*)"', line)
      if source and source[1]:
        name = re.sub(r"\\(.)", r"\1", source[1])  # state.params[\'kernel\']
        self._names[match["name"]] = self._inside[computation] = name
        continue
      called = re.search(r" fusion\(.*calls=%?([\w.\-]+)", line)
      if called and called[1] in self._inside:  # computations stand before those that call them
        self._inside[computation] = self._inside[called[1]]
      operand = match["operand"] if match["operation"] in _COPIES else None
      self._follow[match["name"]] = (called[1] if called else "", operand or "")

  def of(self, instruction: str) -> str:
    """The name of an instruction; that of what it calls or copies if it has none; else ""."""
    for _ in range(_DEEPEST):
      if instruction in self._names:
        return self._names[instruction]
      called, operand = self._follow.get(instruction, ("", ""))
      if called in self._inside:
        return self._inside[called]
      instruction = operand
    return ""
