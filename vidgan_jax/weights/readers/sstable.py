"""Sorted tables of LevelDB, which TensorFlow keeps the index of a checkpoint in.

A table is blocks, and a footer that says where the index of the blocks lies
(tensorflow/core/lib/io/format.cc; leveldb's doc/table_format.md). A block is entries whose keys
leave out what they share with the key before, then restart points, the compression's kind and a
masked CRC32C. The reader believes nothing: offsets, sizes and counts are compared with what is
there before memory is taken, every block's checksum is, and keys must ascend, so that no block is
read twice.
"""

import struct
from collections.abc import Iterator

from vidgan_jax.data.formats.records import masked_crc
from vidgan_jax.runtime.files.protobuf import read_varint, varint
from vidgan_jax.weights.readers import snappy

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
MAX_BLOCK_BYTES = 2**24  # decompressed
MAX_KEY_BYTES = 4096
MAX_KEYS_BYTES = 2**24  # what keys share is written once, but takes memory for each

_PLAIN, _SNAPPY = 0, 1
_TRAILER_BYTES = 5  # behind a block: kind of compression, checksum
_RESTART_EVERY = 16
_NUMBER = struct.Struct("<I")


def read(content: bytes) -> dict[bytes, bytes]:
  """Parses a table; returns its values by their keys, in order.

  Raises:
    ValueError: this is no table, or it is damaged.
  """
  if len(content) < FOOTER_BYTES or content[-8:] != MAGIC.to_bytes(8, "little"):
    raise ValueError("no LevelDB table (its last bytes differ)")
  footer = memoryview(content)[-FOOTER_BYTES:]
  _, place = _read_handle(footer, 0)  # the block of meta-data, which nobody needs
  index, _ = _read_handle(footer, place)
  entries, last, left = {}, None, MAX_KEYS_BYTES
  for _, handle in _entries(_block(content, index)):
    for key, value in _entries(_block(content, _read_handle(memoryview(handle), 0)[0])):
      if last is not None and key <= last:
        raise ValueError("its keys do not ascend")
      left -= len(key)
      if left < 0:
        raise ValueError(f"its keys have more than {MAX_KEYS_BYTES} bytes")
      entries[key] = value
      last = key
  return entries


def write(entries: dict[bytes, bytes], block_bytes: int = 4096, compress=None) -> bytes:
  """Returns a table of `entries`, as `read` takes it.

  Args:
    entries: values by keys, in any order.
    block_bytes: a block ends with the entry that exceeds it.
    compress: a function that compresses a block to snappy's format; None leaves blocks plain.
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
  """A block without its trailer."""
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


def _read_handle(data: memoryview, place: int) -> tuple[tuple[int, int], int]:
  """A block's (offset, size), and where the handle ends."""
  offset, place = read_varint(data, place)
  size, place = read_varint(data, place)
  return (offset, size), place


def _block(content: bytes, handle: tuple[int, int]) -> bytes:
  """A block's entries and restart points, its checksum compared."""
  offset, size = handle
  if offset + size + _TRAILER_BYTES > len(content) - FOOTER_BYTES:
    raise ValueError(f"a block of {size} bytes at byte {offset}, beyond what is there")
  data = content[offset : offset + size + 1]
  (crc,) = _NUMBER.unpack_from(content, offset + size + 1)
  if masked_crc(data) != crc:
    raise ValueError(f"the checksum of the block at byte {offset} differs")
  if data[-1] == _SNAPPY:
    return snappy.decompress(data[:-1], MAX_BLOCK_BYTES)
  if data[-1] != _PLAIN:
    raise ValueError(f"a block's compression is of unknown kind {data[-1]}")
  return data[:-1]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields a block's (key, value)."""
  if len(block) < _NUMBER.size:
    raise ValueError("a block is cut off")
  (restarts,) = _NUMBER.unpack_from(block, len(block) - _NUMBER.size)
  end = len(block) - _NUMBER.size * (1 + restarts)
  if end < 0:
    raise ValueError("a block has more restart points than bytes")
  view, place, key = memoryview(block)[:end], 0, b""
  while place < end:
    shared, place = read_varint(view, place)
    own, place = read_varint(view, place)
    size, place = read_varint(view, place)
    if shared > len(key) or own + size > end - place:
      raise ValueError("an entry reaches beyond its block")
    if shared + own > MAX_KEY_BYTES:
      raise ValueError(f"a key of {shared + own} bytes; at most {MAX_KEY_BYTES} are read")
    key = key[:shared] + bytes(view[place : place + own])
    yield key, bytes(view[place + own : place + own + size])
    place += own + size
