import struct

import numpy as np
import pytest

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.files.protobuf import varint
from vidgan_jax.weights.readers import snappy, sstable


def some_entries(count=300, seed=0):
  random = np.random.default_rng(seed)
  name = lambda: "/".join(random.choice(["Mixed", "Branch", "conv", "w", "é"], 5)).encode()
  return {name() + b"%d" % n: random.bytes(int(random.integers(0, 60))) for n in range(count)}


def test_snappy_decodes_every_kind_of_element(compressed):
  words = [b"Mixed_3b/", b"Branch_0/", b"conv_3d/w", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]
  random = np.random.default_rng(0)
  for seed in range(20):
    data = b"".join(words[i] for i in random.integers(0, 4, 300)) + random.bytes(200)
    encoded = compressed(data, seed)
    assert len(encoded) < len(data)
    assert snappy.decompress(encoded, len(data)) == data
  # By hand, from the description of the format: "ab", then an overlapping copy of six bytes.
  assert snappy.decompress(b"\x08\x04ab\x09\x02", 8) == b"abababab"
  assert snappy.decompress(b"\x00", 0) == b""


@pytest.mark.parametrize(
  "data, says",
  [
    (b"\x09\x04ab\x09\x02", "8 bytes instead of 9"),
    (b"\x07\x04ab\x09\x02", "a copy refers"),
    (b"\x08\x04ab\x09\x03", "a copy refers"),
    (b"\x08\x04ab\x09\x00", "a copy refers"),
    (b"\x08\x04ab\x09", "cut off"),
    (b"\x08\x1cab", "a literal exceeds"),
    (b"\x01\x04ab", "a literal exceeds"),
    (b"\x08\xf4", "cut off"),
    (b"\xff\xff\xff\xff\x0f", "4294967295 bytes exceeds the limit of 100"),
    (b"", "cut off"),
    (b"\xff" * 11, "ten bytes"),
  ],
)
def test_snappy_refuses_what_is_damaged(data, says):
  with pytest.raises(ValueError, match=says):
    snappy.decompress(data, 100)


@pytest.mark.parametrize("block_bytes, small", [(200, False), (10**6, False), (500, True)])
def test_a_table_comes_back(compressed, block_bytes, small):
  entries = some_entries()
  content = sstable.write(entries, block_bytes, compressed if small else None)
  assert sstable.read(content) == entries
  assert list(sstable.read(content)) == sorted(entries)
  assert sstable.read(sstable.write({})) == {}


def test_every_damaged_byte_is_noticed():
  entries = some_entries(20)
  content = sstable.write(entries, 200)
  footer = len(content) - sstable.FOOTER_BYTES
  (meta, size), _ = sstable._read_handle(memoryview(content)[footer:], 0)
  idle = {*range(meta, meta + size + 5), *range(footer, len(content) - 8)}
  for position in range(len(content)):
    damaged = bytearray(content)
    damaged[position] ^= 0x41
    try:
      assert sstable.read(bytes(damaged)) == entries and position in idle
    except ValueError:
      continue


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 100, -1])
def test_what_is_cut_off_is_refused(cut):
  with pytest.raises(ValueError):
    sstable.read(sstable.write(some_entries(20))[:cut])


def crafted(*blocks: bytes, handles=None) -> bytes:
  """A table of the given blocks, or with the given values in the index block."""
  content, valid = b"", []
  put = lambda block: block + b"\0" + struct.pack("<I", masked_crc(block + b"\0"))
  for block in blocks:
    valid.append(varint(len(content)) + varint(len(block)))
    content += put(block)
  handles = valid if handles is None else handles
  index = sstable._encode_block({b"%d" % n: handle for n, handle in enumerate(handles)})
  footer = varint(0) + varint(0) + varint(len(content)) + varint(len(index))
  return content + put(index) + footer.ljust(40, b"\0") + sstable.MAGIC.to_bytes(8, "little")


def entry(shared, key, value=b""):
  return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


END = struct.pack("<II", 0, 1)


def test_a_crafted_table_is_read():
  assert sstable.read(crafted(entry(0, b"ab", b"1") + entry(1, b"c", b"2") + END)) == {
    b"ab": b"1",
    b"ac": b"2",
  }


@pytest.mark.parametrize(
  "content, says",
  [
    (crafted(entry(0, b"b") + entry(0, b"a") + END), "ascend"),
    (crafted(entry(0, b"a") + entry(0, b"a") + END), "ascend"),
    (crafted(entry(0, b"a") + END, handles=[varint(0) + varint(12)] * 2), "ascend"),
    (crafted(entry(1, b"a") + END), "exceeds its block"),
    (crafted(varint(0) + varint(2**40) + varint(0) + END), "exceeds its block"),
    (crafted(varint(0) + varint(1) + varint(2**62) + b"a" + END), "exceeds its block"),
    (crafted(entry(0, b"a" * 5000) + END), "a key of 5000"),
    (crafted(struct.pack("<I", 2**31)), "restart points"),
    (crafted(b"ab"), "cut off"),
    (crafted(END, handles=[varint(0) + varint(2**63)]), "exceeds the table"),
    (crafted(END, handles=[varint(2**63) + varint(8)]), "exceeds the table"),
    (crafted(END, handles=[varint(1) + varint(8)]), "checksum"),
  ],
)
def test_crafted_tables_are_refused(content, says):
  with pytest.raises(ValueError, match=says):
    sstable.read(content)


def test_shared_keys_do_not_take_memory_without_end():
  # 12 bytes each, but a key of 4 kB: 5000 of them would be 20 MB.
  block = entry(0, b"a" * 4000)
  block += b"".join(entry(4000, struct.pack(">I", n)) for n in range(5000)) + END
  with pytest.raises(ValueError, match="keys have more than"):
    sstable.read(crafted(block))
