"""Detects video files that are cut off, by the length that their container states.

A file whose last seconds are missing often decodes without an error. Most containers state their
length in bytes. That is more reliable than counting frames or seconds, because an edit list may
hide frames, and a frame may be shown late or for a very long time.
"""

import dataclasses
import os
import re
import struct
from collections.abc import Callable
from typing import BinaryIO

import av

_TAIL = 2**17  # bytes at the end of a file that are read
_MASTER = {b"\x1a\x45\xdf\xa3": "EBML", b"\x18\x53\x80\x67": "Segment"}
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_PACKETS = ((188, 0), (192, 4), (204, 0))  # MPEG-TS: bytes of a packet, offset of its sync byte

# FFmpeg computes the duration of these from the last times in the file, so it cannot reveal a cut.
_WITHOUT_DURATION = ("mpeg", "mpegts")
_WITH_SIZE = ("asf", "matroska,webm")  # these state the size of the whole file


@dataclasses.dataclass
class Progress:
  """What has been read of a file.

  Attributes:
    packets: packets of the video stream that are not empty.
    discarded: those of them that an edit list hides: decoded, but never shown.
    video_end: when the last video packet ends, in seconds.
    end: when the last packet of any stream ends, in seconds.
    position: byte where the last packet ends.
    gap: seconds between the last two video packets, in decoding order.
    last: decoding time of the last video packet, in seconds.
  """

  packets: int = 0
  discarded: int = 0
  video_end: float = 0.0
  end: float = 0.0
  position: int = 0
  gap: float = 0.0
  last: float | None = None

  def add(self, packet: av.Packet, is_video: bool) -> None:
    """Counts one packet."""
    if packet.pts is not None and packet.time_base:
      end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
      self.end = max(self.end, end)
      self.video_end = max(self.video_end, end if is_video else 0.0)
    if is_video and packet.size and packet.dts is not None and packet.time_base:
      time = float(packet.dts * packet.time_base)
      self.gap = time - self.last if self.last is not None else 0.0
      self.last = time
    self.position = max(self.position, (packet.pos or 0) + packet.size)
    self.packets += is_video and packet.size > 0
    self.discarded += is_video and packet.is_discard


def moving_stream(container):
  """The main video stream of a file, or None.

  Cover pictures and thumbnails do not count, although FFmpeg lists them as videos of one frame.
  """
  best, moving = container.streams.best("video"), container.streams.video
  still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
  moving = [stream for stream in moving if not stream.disposition & still]
  if best in moving or not moving:
    return best if best in moving else None
  return max(moving, key=lambda stream: stream.width * stream.height)


def shortfall(container, stream, path: str, frames: int, read: Progress) -> str | None:
  """Compares what was read with what the container states.

  Args:
    container: PyAV's container, read to its end.
    stream: its video stream.
    path: its file.
    frames: number of decoded frames of the video.
    read: what was read.

  Returns:
    A message about what is missing, or None if nothing is.
  """
  rate = float(stream.average_rate or 25)
  if stream.frames:
    stated, reached = stream.frames, read.packets
    if container.format.name == "avi":
      # AVI counts repeated frames, which have no packet. The end time of the last packet includes
      # repeated frames before it, and its gap to the previous packet estimates those after it.
      reached = max(reached, round((read.video_end + max(0, read.gap - 1 / rate)) * rate))
    elif len(getattr(stream, "index_entries", ())):
      # An edit list may leave out a part of the file.
      stated = min(stated, len(stream.index_entries))
    if reached < stated - 1:
      return f"cut off: {reached} of {stated} frames are there"
  elif container.duration:
    reason = _early_end(container, path, rate, read)
    if reason:
      return reason
  # A few packets of a video may have no picture ("not coded" frames of MPEG-4).
  expected = read.packets - read.discarded
  if frames < expected - max(1, expected // 50):
    return f"damaged: {frames} of {expected} frames decode"
  return None


def _early_end(container, path: str, rate: float, read: Progress) -> str | None:
  """A message if a file without a number of frames ends before its stated duration, else None."""
  name = container.format.name
  if name in _WITHOUT_DURATION:
    return None
  # The duration of Matroska and Flash starts at time 0, even if the first frame is shown later. In
  # other containers it starts at the first frame, so a complete file ends after `stated`.
  stated = container.duration / av.time_base
  if read.end >= stated - 2.0 * max(1.0 / rate, read.gap):
    return None
  # The last frame may be shown for a long time. If the container states its size, `missing_bytes`
  # has compared it with the file's; only check that the packets reach the end of the file.
  size = os.path.getsize(path)
  if (
    stated_end(path, name) and name in _WITH_SIZE and size - read.position <= max(2**16, size // 10)
  ):
    return None
  return f"cut off: ends at {read.end:.2f} s of {stated:.2f} s"


def missing_bytes(path: str, format_name: str) -> int:
  """The number of bytes that are missing at the end of a file.

  Args:
    path: the file.
    format_name: FFmpeg's names of its container, such as "mov,mp4,m4a,3gp,3g2,mj2".

  Returns:
    The number; 1 if the end is missing but its length is unknown; 0 if nothing is missing, or if
    the container does not state its length (a stream such as MPEG-TS may end after any packet).

  Raises:
    OSError: the file cannot be read.
  """
  end = stated_end(path, format_name)
  return max(0, end - os.path.getsize(path)) if end else 0


def stated_end(path: str, format_name: str) -> int:
  """The byte at which a file should end; 0 if its container does not state it."""
  for name in format_name.split(","):
    if name in _CHECKS:
      with open(path, "rb") as file:
        return _CHECKS[name](file, os.fstat(file.fileno()).st_size)
  return 0


def _matroska(file: BinaryIO, size: int) -> int:
  """End of the segment of Matroska and WebM; 0 for live streams, which do not state it."""
  del size
  end = 0
  for _ in range(2):
    file.seek(end)
    head = file.read(12)
    if head[:4] not in _MASTER or len(head) < 5:
      return end
    # The number of leading zero bits of the first byte, plus one, is the length of the number.
    length = next((n for n in range(1, 9) if head[4] >> (8 - n)), 0)
    value = int.from_bytes(head[4 : 4 + length]) & (1 << 7 * length) - 1
    if not length or value == (1 << 7 * length) - 1:
      return 0  # all bits set mean "unknown"
    end += 4 + length + value
  return end


def _mp4(file: BinaryIO, size: int) -> int:
  """End of the last box of MP4, MOV and related formats."""
  end = 0
  while end + 8 <= size:
    file.seek(end)
    length, kind, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
    length = {0: size - end, 1: large}.get(length, length)
    if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
      return size  # not a box: some programs append data after the last one
    end += length
  return end


def _asf(file: BinaryIO, size: int) -> int:
  """The size that the header of WMV and ASF states; that of broadcasts is not valid."""
  head = file.read(_TAIL)
  at = head.find(_ASF_FILE_PROPERTIES)
  if at < 0 or at + 92 > len(head):
    return size
  (stated,) = struct.unpack_from("<Q", head, at + 40)
  is_broadcast = head[at + 88] & 1
  return size if is_broadcast else stated


def _flash(file: BinaryIO, size: int) -> int:
  """FLV ends with the length of its last tag in four bytes; some writers put 0 there."""
  file.seek(max(0, size - 4))
  length = int.from_bytes(file.read(4))
  file.seek(max(0, size - 4 - length))
  tag = file.read(4)
  is_tag = tag[0] & 0x1F in (8, 9, 18) and int.from_bytes(tag[1:4]) == length - 11
  return size if is_tag or not length else size + 1


def _gif(file: BinaryIO, size: int) -> int:
  """End of GIF, whose last byte is a semicolon; one byte more than the file if it is missing."""
  return size if _tail(file, size).rstrip(b"\0\r\n ").endswith(b";") else size + 1


def _ogg(file: BinaryIO, size: int) -> int:
  """End of the last page of Ogg."""
  tail = _tail(file, size)
  at = tail.rfind(b"OggS")
  if at < 0:
    return size
  head = tail[at : at + 27]
  table = tail[at + 27 : at + 27 + head[26]] if len(head) == 27 else b""
  if len(head) < 27 or len(table) < head[26]:
    return size + 1
  return size - len(tail) + at + 27 + len(table) + sum(table)


def _program_stream(file: BinaryIO, size: int) -> int:
  """End of the last packet of MPEG-PS."""
  tail = _tail(file, size)
  packets = list(re.finditer(rb"\x00\x00\x01[\xbb-\xef](..)", tail, re.DOTALL))
  if not packets:
    return size
  length = int.from_bytes(packets[-1][1])
  return size - len(tail) + packets[-1].end() + length if length else size


def _transport_stream(file: BinaryIO, size: int) -> int:
  """End of the last packet of MPEG-TS."""
  head = file.read(3 * 204)
  for length, sync in _PACKETS:
    if all(head[n * length + sync : n * length + sync + 1] == b"G" for n in range(3)):
      return -(-size // length) * length
  return size


def _tail(file: BinaryIO, size: int) -> bytes:
  file.seek(max(0, size - _TAIL))
  return file.read(_TAIL)


_CHECKS: dict[str, Callable[[BinaryIO, int], int]] = {
  "asf": _asf,
  "flv": _flash,
  "gif": _gif,
  "matroska": _matroska,
  "mov": _mp4,
  "mpeg": _program_stream,
  "mpegts": _transport_stream,
  "ogg": _ogg,
}
