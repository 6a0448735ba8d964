"""Reads and writes sorted tables of LevelDB, the format of the index of a TensorFlow checkpoint.

A table consists of blocks and a footer that locates the index of the blocks
(tensorflow/core/lib/io/format.cc; leveldb's doc/table_format.md). A block consists of entries, each
of whose keys omits the prefix it shares with the key before, then restart points, the kind of
compression and a masked CRC32C. Tables are not trusted: the reader compares offsets, sizes and
counts with the available bytes before it allocates memory, checks the checksum of every block, and
requires ascending keys, so that it reads no block twice.
"""

import struct
from collections.abc import Callable, Iterator

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.files.protobuf import read_varint, varint
from vidgan_jax.weights.readers import snappy

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
MAX_BLOCK_BYTES = 2**24  # decompressed
MAX_KEY_BYTES = 4096
MAX_KEYS_BYTES = 2**24  # of all keys; a shared prefix is stored once, but takes memory for each key

_PLAIN, _SNAPPY = 0, 1
_TRAILER_BYTES = 5  # after a block: kind of compression (1 byte), checksum (4 bytes)
_RESTART_EVERY = 16
_NUMBER = struct.Struct("<I")


def read(content: bytes) -> dict[bytes, bytes]:
  """Parses a table; returns its values by key, in the order of the keys.

  Raises:
    ValueError: the bytes are not a table, or it is damaged.
  """
  if len(content) < FOOTER_BYTES or content[-8:] != MAGIC.to_bytes(8, "little"):
    raise ValueError("not a LevelDB table (its last bytes differ)")
  footer = memoryview(content)[-FOOTER_BYTES:]
  _, position = _read_handle(footer, 0)  # the block of metadata, which is not needed
  index, _ = _read_handle(footer, position)
  entries, last, left = {}, None, MAX_KEYS_BYTES
  for _, handle in _entries(_block(content, index)):
    for key, value in _entries(_block(content, _read_handle(memoryview(handle), 0)[0])):
      if last is not None and key <= last:
        raise ValueError("its keys are not in ascending order")
      left -= len(key)
      if left < 0:
        raise ValueError(f"its keys have more than {MAX_KEYS_BYTES} bytes")
      entries[key] = value
      last = key
  return entries


def write(
  entries: dict[bytes, bytes],
  block_bytes: int = 4096,
  compress: Callable[[bytes], bytes] | None = None,
) -> bytes:
  """Returns the bytes of a table that `read` parses to `entries`.

  Args:
    entries: values by key, in any order.
    block_bytes: a block ends with the entry that reaches this size.
    compress: a function that compresses a block to snappy's format; None does not compress.
  """
  content, handles, block = bytearray(), {}, {}

  def put(block: dict[bytes, bytes]) -> bytes:
    data, kind = _encode_block(block), _PLAIN
    if compress is not None:
      data, kind = compress(data), _SNAPPY
    handle = varint(len(content)) + varint(len(data))
    data += bytes([kind])
    content.extend(data + _NUMBER.pack(masked_crc(data)))
    return handle

  for key in sorted(entries):
    block[key] = entries[key]
    if sum(len(k) + len(v) for k, v in block.items()) >= block_bytes:
      handles[key] = put(block)
      block = {}
  if block:
    handles[max(block)] = put(block)
  footer = put({}) + put(handles)
  return bytes(content) + footer.ljust(FOOTER_BYTES - 8, b"\0") + MAGIC.to_bytes(8, "little")


def _encode_block(entries: dict[bytes, bytes]) -> bytes:
  """Encodes a block without its trailer."""
  out, restarts, last = bytearray(), [], b""
  for number, (key, value) in enumerate(entries.items()):
    shared = 0
    if number % _RESTART_EVERY == 0:
      restarts.append(len(out))
    else:
      while shared < min(len(key), len(last)) and key[shared] == last[shared]:
        shared += 1
    out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
    last = key
  restarts = restarts or [0]
  return bytes(out) + b"".join(map(_NUMBER.pack, restarts)) + _NUMBER.pack(len(restarts))


def _read_handle(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
  """Returns the (offset, size) of a block, and the position after the handle."""
  offset, position = read_varint(data, position)
  size, position = read_varint(data, position)
  return (offset, size), position


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
  """Returns the entries and restart points of a block, after checking its checksum."""
  offset, size = handle
  if offset + size + _TRAILER_BYTES > len(content) - FOOTER_BYTES:
    raise ValueError(f"a block of {size} bytes at byte {offset} exceeds the table")
  data = content[offset : offset + size + 1]
  (crc,) = _NUMBER.unpack_from(content, offset + size + 1)
  if masked_crc(data) != crc:
    raise ValueError(f"the checksum of the block at byte {offset} differs")
  if data[-1] == _SNAPPY:
    return snappy.decompress(data[:-1], MAX_BLOCK_BYTES)
  if data[-1] != _PLAIN:
    raise ValueError(f"the compression of a block has the unknown kind {data[-1]}")
  return data[:-1]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields the (key, value) pairs of a block."""
  if len(block) < _NUMBER.size:
    raise ValueError("a block is cut off")
  (restarts,) = _NUMBER.unpack_from(block, len(block) - _NUMBER.size)
  end = len(block) - _NUMBER.size * (1 + restarts)
  if end < 0:
    raise ValueError("a block has more restart points than bytes")
  view, position, key = memoryview(block)[:end], 0, b""
  while position < end:
    shared, position = read_varint(view, position)
    unshared, position = read_varint(view, position)
    size, position = read_varint(view, position)
    if shared > len(key) or unshared + size > end - position:
      raise ValueError("an entry exceeds its block")
    if shared + unshared > MAX_KEY_BYTES:
      raise ValueError(f"a key of {shared + unshared} bytes exceeds the limit of {MAX_KEY_BYTES}")
    key = key[:shared] + bytes(view[position : position + unshared])
    position += unshared
    yield key, bytes(view[position : position + size])
    position += size
