r"""Writes the pins anew: numbers, fingerprints and names that a change of the code must not move.

  python -m tests.pins.write             refuses where pins exist, and tells what differs
  python -m tests.pins.write --replace   replaces them, and tells what differed

Replace pins only for a change that is meant to move them, and name it in the commit. Numbers that
move by rounding alone differ by less than 1e-12 of their arrays' norms.
"""

import argparse
import sys
import tempfile

from tests.pins import compare, compute, kept


def main() -> int:
  """Computes, compares with what is kept, and writes."""
  parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.pins.write")
  parser.add_argument("--replace", action="store_true", help="replace the pins that are there")
  replace = parser.parse_args().replace
  with tempfile.TemporaryDirectory() as folder:
    found = compute.run(folder)
  if kept.exists():
    for line in compare.report(kept.read(), found):
      print(line)
    if not replace:
      print("error: pins exist; nothing is written. --replace replaces them", file=sys.stderr)
      return 2
  for path in kept.write(found):
    print(f"written: {path}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
