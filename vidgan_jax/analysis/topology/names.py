"""Names of topologies, such as "v5e:8x8" and "h100:8", and what is known of their hardware."""

import dataclasses
import math
import re

from vidgan_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class Hardware:
  """One kind of chip or card.

  Attributes:
    platform: "tpu", "gpu" or "cpu".
    memory: of one JAX device in bytes, as much of it as programs may use; None if it is unknown.
    dimensions: of the torus that TPU chips form; 0 where the devices are only counted.
    devices_per_chip: JAX devices of one chip.
  """

  platform: str
  memory: int | None
  dimensions: int = 0
  devices_per_chip: int = 1


def _gib(number: float) -> int:
  return int(number * 2**30)


# TPU: the limit that libtpu's compiler names when a program needs more. It lies below the memory of
# the chip by what the runtime reserves. GPU: the memory that the driver reports.
HARDWARE = {
  "v3": Hardware("tpu", _gib(15.48), 2, devices_per_chip=2),
  "v4": Hardware("tpu", _gib(30.75), 3),
  "v5e": Hardware("tpu", _gib(15.75), 2),
  "v5p": Hardware("tpu", _gib(95.74), 3),
  "v6e": Hardware("tpu", _gib(31.25), 2),
  "tpu7x": Hardware("tpu", _gib(94.75), 3, devices_per_chip=2),
  "a100": Hardware("gpu", 85_100_068_864),
  "h100": Hardware("gpu", 84_942_979_072),
  "h200": Hardware("gpu", 151_397_597_184),
  "rtx4090": Hardware("gpu", 25_393_692_672),
  "cpu": Hardware("cpu", None),
}
PROGRAMS = ("iteration", "initialisation", "sampling")
HELP = (
  "Compile the run's programs for this hardware, which need not be here, and print what they need: "
  "v3, v4, v5e, v5p, v6e or tpu7x with the shape of a TPU slice in chips, such as v5e:8x8; a100, "
  "h100, h200 or rtx4090 with the number of GPUs of one machine, such as h100:8; cpu:8. See "
  "docs/compile_only.md."
)
_FORM = re.compile(r"([a-z]+[0-9a-z]*):([0-9]+(?:x[0-9]+)*)")
_MOST_CHIPS = 16_384


@dataclasses.dataclass(frozen=True)
class Topology:
  """Devices that programs are compiled for.

  Attributes:
    kind: a key of `HARDWARE`.
    shape: chips along each axis of a TPU slice; (number,) for GPUs and CPUs.
  """

  kind: str
  shape: tuple[int, ...]

  @property
  def name(self) -> str:
    """As users write it."""
    return f"{self.kind}:{'x'.join(map(str, self.shape))}"

  @property
  def hardware(self) -> Hardware:
    """What is known of its chips."""
    return HARDWARE[self.kind]

  @property
  def devices(self) -> int:
    """Number of JAX devices."""
    return math.prod(self.shape) * self.hardware.devices_per_chip


def parse(text: str) -> Topology:
  """Reads the name of a topology.

  Raises:
    UserError: the name has another form, or its hardware is unknown.
  """
  match = _FORM.fullmatch(text.strip().lower())
  if match is None:
    raise UserError(f"--topology={text}: must be KIND:SHAPE, such as v5e:8x8 or h100:8")
  kind, shape = match[1], tuple(int(number) for number in match[2].split("x"))
  if kind not in HARDWARE:
    raise UserError(f"--topology={text}: unknown hardware {kind!r}; known: {', '.join(HARDWARE)}")
  axes = HARDWARE[kind].dimensions
  if len(shape) != max(1, axes):
    wanted = "x".join("248"[:axes]) if axes else "8"
    what = f"has {axes} axes" if axes else "is a number of devices"
    raise UserError(f"--topology={text}: the shape of {kind} {what}, such as {kind}:{wanted}")
  if not 1 <= math.prod(shape) <= _MOST_CHIPS:
    raise UserError(f"--topology={text}: must have from 1 to {_MOST_CHIPS:,} chips")
  return Topology(kind, shape)
