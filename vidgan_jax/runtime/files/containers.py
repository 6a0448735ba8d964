"""Whether a video file is cut off, by what its container says about its own length.

A file whose last seconds are missing often decodes without an error. Most containers state their
length in bytes, which is surer than counting frames or seconds: frames may be hidden by an edit
list, shown late, or for very long.
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
_PACKETS = ((188, 0), (192, 4), (204, 0))  # MPEG-TS: length of a packet, where its 0x47 is

# Containers of whose duration only the last times in the file tell, so that it means nothing.
_WITHOUT_DURATION = ("mpeg", "mpegts")
_BY_BYTES = ("asf", "matroska,webm")  # state the size of the whole file


@dataclasses.dataclass
class Seen:
  """What has been read of a file: packets of the video stream, and times in seconds."""

  packets: int = 0
  discarded: int = 0  # before the start of an edit list: decoded, never shown
  video_end: float = 0.0
  end: float = 0.0
  position: int = 0  # byte where the last packet ends
  gap: float = 0.0  # distance between the last two packets of the video
  last: float | None = None  # time of its last packet, in the order of decoding

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
  """The video stream of a file that is meant to be watched; None where there is none.

  Covers of music and thumbnails count as videos of one picture to the library.
  """
  best, moving = container.streams.best("video"), container.streams.video
  still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
  moving = [stream for stream in moving if not stream.disposition & still]
  if best in moving or not moving:
    return best if best in moving else None
  return max(moving, key=lambda stream: stream.width * stream.height)


def shortfall(container, stream, path: str, frames: int, seen: Seen) -> str | None:
  """In what less arrived than the container announces; None where all did.

  Args:
    container: PyAV's, read to its end.
    stream: its video.
    path: its file.
    frames: how many frames of the video were decoded.
    seen: what was read.
  """
  rate = float(stream.average_rate or 25)
  if stream.frames:
    announced, reached = stream.frames, seen.packets
    if container.format.name == "avi":
      # It counts repeated frames that hold no packet; the time of the last one accounts for them,
      # and its distance to the one before for those behind it.
      reached = max(reached, round((seen.video_end + max(0, seen.gap - 1 / rate)) * rate))
    elif len(getattr(stream, "index_entries", ())):
      # An edit list may leave out a part of what the file holds.
      announced = min(announced, len(stream.index_entries))
    if reached < announced - 1:
      return f"cut off: {reached} of {announced} frames are there"
  elif container.duration:
    late = _early_end(container, path, rate, seen)
    if late:
      return late
  # A few packets per video may show nothing of their own ("not coded" pictures of MPEG-4).
  expected = seen.packets - seen.discarded
  if frames < expected - max(1, expected // 50):
    return f"damaged: {frames} of {expected} frames decode"
  return None


def _early_end(container, path: str, rate: float, seen: Seen) -> str | None:
  """How a file that does not count its frames ends before it announces."""
  name = container.format.name
  if name in _WITHOUT_DURATION:
    return None
  # Matroska's duration and Flash's count from 0, however late the first picture is shown; others
  # begin with the first picture, and end later still.
  announced = container.duration / av.time_base
  if seen.end >= announced - 2.0 * max(1.0 / rate, seen.gap):
    return None
  # The last picture may be shown for long. Where the container states how many bytes it has, these
  # were looked at before; what is left to know is whether they were read.
  size = os.path.getsize(path)
  if (
    stated_end(path, name) and name in _BY_BYTES and size - seen.position <= max(2**16, size // 10)
  ):
    return None
  return f"cut off: ends at {seen.end:.2f} s of {announced:.2f} s"


def missing_bytes(path: str, format_name: str) -> int:
  """How many bytes of a file are missing at its end.

  Args:
    path: the file.
    format_name: FFmpeg's names of its container, such as "mov,mp4,m4a,3gp,3g2,mj2".

  Returns:
    The number, at least 1 where it is not known but the end is missing; 0 where nothing is missing
    or the container does not say (streams such as MPEG-TS end anywhere between two packets).

  Raises:
    OSError: the file cannot be read.
  """
  end = stated_end(path, format_name)
  return max(0, end - os.path.getsize(path)) if end else 0


def stated_end(path: str, format_name: str) -> int:
  """Byte where a file should end; 0 where its container does not say."""
  for name in format_name.split(","):
    if name in _CHECKS:
      with open(path, "rb") as file:
        return _CHECKS[name](file, os.fstat(file.fileno()).st_size)
  return 0


def _matroska(file: BinaryIO, size: int) -> int:
  """End of the segment of Matroska and WebM; live streams do not know it."""
  del size
  end = 0
  for _ in range(2):
    file.seek(end)
    head = file.read(12)
    if head[:4] not in _MASTER or len(head) < 5:
      return end
    length = next((n for n in range(1, 9) if head[4] >> (8 - n)), 0)  # leading zeros and a one
    value = int.from_bytes(head[4 : 4 + length]) & (1 << 7 * length) - 1
    if not length or value == (1 << 7 * length) - 1:
      return 0  # unknown
    end += 4 + length + value
  return end


def _mp4(file: BinaryIO, size: int) -> int:
  """End of the last box of MP4, MOV and their kin."""
  end = 0
  while end + 8 <= size:
    file.seek(end)
    length, kind, large = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
    length = {0: size - end, 1: large}.get(length, length)
    if length < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in kind):
      return size  # no box: what others put behind the last one
    end += length
  return end


def _asf(file: BinaryIO, size: int) -> int:
  """Size that the header of WMV and ASF states; broadcasts do not know it."""
  head = file.read(_TAIL)
  at = head.find(_ASF_FILE_PROPERTIES)
  if at < 0 or at + 92 > len(head):
    return size
  (stated,) = struct.unpack_from("<Q", head, at + 40)
  is_broadcast = head[at + 88] & 1
  return size if is_broadcast else stated


def _flash(file: BinaryIO, size: int) -> int:
  """The last four bytes of FLV are the length of the tag before them, 0 of careless writers."""
  file.seek(max(0, size - 4))
  length = int.from_bytes(file.read(4))
  file.seek(max(0, size - 4 - length))
  tag = file.read(4)
  is_tag = tag[0] & 0x1F in (8, 9, 18) and int.from_bytes(tag[1:4]) == length - 11
  return size if is_tag or not length else size + 1


def _gif(file: BinaryIO, size: int) -> int:
  """A GIF ends with a semicolon."""
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
