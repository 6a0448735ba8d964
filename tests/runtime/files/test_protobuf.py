import numpy as np
import pytest

from vidgan_jax.runtime.files import protobuf


def test_numbers_are_read_as_written():
  random = np.random.default_rng()
  for bits in range(65):
    value = 2**bits - 1 if bits % 2 else int(random.integers(0, 2**bits, dtype=np.uint64))
    encoded = protobuf.varint(value)
    assert len(encoded) == max(1, -(-value.bit_length() // 7))
    assert protobuf.read_varint(memoryview(b"x" + encoded + b"y"), 1) == (value, 1 + len(encoded))
  assert protobuf.varint(300) == b"\xac\x02"  # the example in the format's guide
  assert [protobuf.signed(n) for n in (0, 2**63 - 1, 2**63, 2**64 - 1)] == [
    0,
    2**63 - 1,
    -(2**63),
    -1,
  ]


def test_fields_of_every_kind_are_read_as_written():
  message = protobuf.tag(1, protobuf.VARINT) + protobuf.varint(150)
  message += protobuf.prefix(2, 7) + b"testing"
  message += protobuf.tag(3, protobuf.FIXED32) + b"abcd" + protobuf.tag(4, protobuf.FIXED64)
  message += b"abcdefgh"
  assert message.startswith(b"\x08\x96\x01\x12\x07testing")  # the examples in the format's guide
  fields = [(field, content) for field, content in protobuf.fields(memoryview(message))]
  assert fields == [(1, 150), (2, b"testing"), (3, b"abcd"), (4, b"abcdefgh")]
  for cut in range(1, len(message)):
    if cut not in (3, 12, 17):  # between fields
      with pytest.raises(ValueError):
        list(protobuf.fields(memoryview(message[:cut])))


@pytest.mark.parametrize(
  "message, says",
  [
    (b"\x80" * 11, "more than ten bytes"),
    (b"\x0b", "wire type 3"),
    (b"\x0a\xff\xff\xff\xff\x0f", "states 4294967295 bytes"),
    (b"\x08", "cut off"),
  ],
)
def test_bytes_that_are_not_a_message_are_refused(message, says):
  with pytest.raises(ValueError, match=says):
    list(protobuf.fields(memoryview(message)))
