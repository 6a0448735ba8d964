"""A server that speaks the part of Google Cloud Storage's JSON API that this project's clients use.

It keeps objects in memory. `Server` starts it on a free port; `environment` returns the variables
that make TensorStore, gcsfs and google-cloud-storage use it. To try commands by hand:

  python tests/fake_gcs.py 4443

runs it, and prints these variables for a shell.
"""

import base64
import email.parser
import email.policy
import hashlib
import http.server
import json
import re
import sys
import threading
import time
import urllib.parse

import google_crc32c

_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)")
_OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)/?")
_UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")
_COPY = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/(?:rewriteTo|copyTo)/b/([^/]+)/o/([^/]+)")
_MOVE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/moveTo/o/([^/]+)")
_UNMET = 412  # HTTP status of a condition on the generation that does not hold


def forget_copies() -> None:
  """Makes this process forget its local copies of objects, as on another machine."""
  # Imported here, because the server alone needs no package.
  from vidgan_jax.runtime.buckets import staged
  from vidgan_jax.runtime.files import temporary

  if staged._folder.path:
    temporary.remove(staged._folder.path)
  staged._folder = staged._Folder()


class Refused(Exception):
  """An HTTP status instead of an answer."""


class Server(http.server.ThreadingHTTPServer):
  """The server; it runs in a thread while a `with` block runs.

  Attributes:
    objects: {(bucket, name): (bytes, generation)}.
    requests: "METHOD path" of each request, in order.
    broken: called with (method, path, query) before a request is answered; a true result is the
      HTTP status to answer with instead.
  """

  daemon_threads = True

  def __init__(self, port: int = 0):
    super().__init__(("127.0.0.1", port), _Handler)
    self.objects, self.requests, self.sessions = {}, [], {}
    self.lock, self.generation = threading.RLock(), time.time_ns() // 1000
    self.broken = lambda method, path, query: None

  @property
  def url(self):
    return f"http://127.0.0.1:{self.server_address[1]}"

  def environment(self) -> dict[str, str]:
    return {
      "TENSORSTORE_GCS_HTTP_URL": self.url,
      "STORAGE_EMULATOR_HOST": self.url,
      "GOOGLE_CLOUD_PROJECT": "test",
      "GCE_METADATA_ROOT": "127.0.0.1:1",  # no machine of Google's: do not look for one
      "NO_GCE_CHECK": "true",
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks about the bucket by gRPC
      "GOOGLE_AUTH_SUPPRESS_CREDENTIALS_WARNINGS": "true",
    }

  def names(self, prefix: str = "", bucket: str = "bucket") -> list[str]:
    """The names of a bucket's objects that begin with `prefix`."""
    with self.lock:
      return sorted(name for b, name in self.objects if b == bucket and name.startswith(prefix))

  def read(self, name: str, bucket: str = "bucket") -> bytes:
    return self.objects[bucket, name][0]

  def put(self, name: str, content: bytes, bucket: str = "bucket", query: dict | None = None):
    with self.lock:
      self.check(bucket, name, query or {})
      self.generation += 1
      self.objects[bucket, name] = (content, self.generation)
      return self.describe(bucket, name)

  def check(self, bucket, name, query):
    """Raises Refused if a condition of the request on the object's generation does not hold."""
    generation = self.objects[bucket, name][1] if (bucket, name) in self.objects else 0
    wanted, other = query.get("ifGenerationMatch"), query.get("ifGenerationNotMatch")
    if wanted is not None and int(wanted) != generation:
      raise Refused(_UNMET)
    if other is not None and int(other) == generation:
      raise Refused(304)

  def describe(self, bucket, name):
    content, generation = self.objects[bucket, name]
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(generation / 1e6))
    quoted = urllib.parse.quote(name, safe="")
    return {
      "kind": "storage#object", "id": f"{bucket}/{name}/{generation}", "name": name,
      "bucket": bucket, "generation": str(generation), "metageneration": "1",
      "size": str(len(content)), "timeCreated": moment, "updated": moment,
      "contentType": "application/octet-stream", "storageClass": "STANDARD",
      "crc32c": _crc32c(content),
      "md5Hash": base64.b64encode(hashlib.md5(content).digest()).decode(),
      "etag": str(generation), "selfLink": f"{self.url}/storage/v1/b/{bucket}/o/{quoted}",
      "mediaLink": f"{self.url}/download/storage/v1/b/{bucket}/o/{quoted}?alt=media",
    }  # fmt: skip

  def handle_error(self, request, client_address):
    """Says nothing about clients that were killed within a request."""
    if not isinstance(sys.exception(), ConnectionError):
      super().handle_error(request, client_address)

  def __enter__(self):
    threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
    return self

  def __exit__(self, *error):
    self.shutdown()
    self.server_close()


def _crc32c(content):
  return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


class _Handler(http.server.BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"

  def log_message(self, *args):
    pass

  def _answer(self):
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    body = self._body()
    self.server.requests.append(f"{self.command} {self.path}")
    try:
      status = self.server.broken(self.command, url.path, query)
      if status:
        raise Refused(status)
      self._send(*self._dispatch(self.command, url.path, query, body))
    except Refused as refused:
      status = refused.args[0]
      content = json.dumps({"error": {"code": status, "message": f"refused with {status}"}})
      self._send(status, b"" if status == 304 else content.encode())

  do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _answer

  def _body(self):
    if "chunked" in self.headers.get("Transfer-Encoding", ""):
      parts = []
      while size := int(self.rfile.readline().split(b";")[0], 16):
        parts.append(self.rfile.read(size))
        self.rfile.readline()
      self.rfile.readline()
      return b"".join(parts)
    return self.rfile.read(int(self.headers.get("Content-Length") or 0))

  def _send(self, status, content=b"", headers=()):
    if isinstance(content, dict):
      content, headers = json.dumps(content).encode(), {"Content-Type": "application/json"}
    self.send_response(status)
    for name, value in dict(headers).items():
      self.send_header(name, value)
    if status not in (204, 304):
      self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    if self.command != "HEAD" and status not in (204, 304):
      self.wfile.write(content)

  def _dispatch(self, method, path, query, body):
    """Returns (status, content, headers) of a request; raises Refused."""
    server, unquote = self.server, urllib.parse.unquote
    if path.startswith("/batch/"):
      return self._batch(body)
    if match := _UPLOAD.fullmatch(path):
      return self._upload(method, match[1], query, body)
    if match := _COPY.fullmatch(path):
      with server.lock:
        content, _ = self._find(match[1], unquote(match[2]))
        done = server.put(unquote(match[4]), content, match[3], query)
      size = str(len(content))
      done = {"done": True, "resource": done, "objectSize": size, "totalBytesRewritten": size}
      return 200, done if "rewriteTo" in path else done["resource"]
    if match := _MOVE.fullmatch(path):
      with server.lock:
        content, _ = self._find(match[1], unquote(match[2]))
        del server.objects[match[1], unquote(match[2])]
        return 200, server.put(unquote(match[3]), content, match[1], query)
    if match := _OBJECT.fullmatch(path):
      bucket, name = match[1], unquote(match[2])
      with server.lock:
        content, generation = self._find(bucket, name)
        server.check(bucket, name, query)
        if query.get("generation") not in (None, str(generation)):
          raise Refused(404)
        if method == "DELETE":
          del server.objects[bucket, name]
          return 204, b""
        if query.get("alt") == "media" or path.startswith("/download"):
          return self._media(content, generation)
        return 200, server.describe(bucket, name)
    if (match := _OBJECTS.fullmatch(path)) and method == "GET":
      return 200, self._list(match[1], query)
    if match := _BUCKET.fullmatch(path):
      return 200, {"kind": "storage#bucket", "name": match[1], "id": match[1]}
    raise Refused(404)

  def _find(self, bucket, name):
    if (bucket, name) not in self.server.objects:
      raise Refused(404)
    return self.server.objects[bucket, name]

  def _media(self, content, generation):
    headers = {
      "Content-Type": "application/octet-stream",
      "x-goog-generation": str(generation),
      "x-goog-stored-content-length": str(len(content)),
      "x-goog-hash": f"crc32c={_crc32c(content)}",
      "ETag": str(generation),
    }
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
    if not wanted:
      return 200, content, headers
    size = len(content)
    if wanted[1]:
      begin, end = int(wanted[1]), min(int(wanted[2] or size - 1), size - 1) + 1
    else:
      begin, end = max(0, size - int(wanted[2])), size
    if begin >= size:
      raise Refused(416)
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    return 206, content[begin:end], headers

  def _list(self, bucket, query):
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    begin, end = query.get("startOffset", ""), query.get("endOffset")
    limit = min(int(query.get("maxResults", 1000)), 1000)
    items, prefixes, token = [], [], query.get("pageToken", "")
    with self.server.lock:
      for name in self.server.names(prefix, bucket):
        rest = name[len(prefix) :]
        entry = (
          prefix + rest.split(delimiter)[0] + delimiter if delimiter and delimiter in rest else None
        )
        if name < begin or (end and name >= end) or (entry or name) <= token or entry in prefixes:
          continue
        if len(items) + len(prefixes) == limit:
          break
        prefixes.append(entry) if entry else items.append(self.server.describe(bucket, name))
      else:
        limit = None
    last = max([*prefixes, *(item["name"] for item in items)], default="")
    more = {} if limit is None else {"nextPageToken": last}
    return {"kind": "storage#objects", "items": items, "prefixes": prefixes, **more}

  def _upload(self, method, bucket, query, body):
    kind, server = query.get("uploadType"), self.server
    if kind == "resumable" and method == "POST":
      name = query.get("name") or json.loads(body)["name"]
      session = str(len(server.sessions))
      server.sessions[session] = (name, query, bytearray())
      url = f"{server.url}/resumable/upload/storage/v1/b/{bucket}/o?upload_id={session}"
      return 200, b"", {"Location": url, "X-GUploader-UploadID": session}
    if "upload_id" in query:
      name, first, received = server.sessions[query["upload_id"]]
      received += body
      if self.headers.get("Content-Range", "").endswith("/*"):
        return 308, b"", {"Range": f"bytes=0-{len(received) - 1}"}
      return 200, server.put(name, bytes(received), bucket, first)
    if kind == "multipart":
      head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
      parts = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
      details, media = list(parts.iter_parts())
      boundary = b"--" + parts.get_boundary().encode()
      # The parser changes line ends of the media, so these bytes are cut out of the body.
      media = body.split(boundary)[2].lstrip(b"\r\n").partition(_blank_line(body))[2]
      media = media[:-2] if media.endswith(b"\r\n") else media[:-1]
      name = query.get("name") or json.loads(details.get_content())["name"]
      return 200, server.put(name, media, bucket, query)
    return 200, server.put(query["name"], body, bucket, query)

  def _batch(self, body):
    boundary = re.search(r'boundary="?([^";]+)"?', self.headers["Content-Type"])[1]
    answers = []
    for part in body.split(b"--" + boundary.encode())[1:-1]:
      request = re.search(rb"(GET|DELETE|POST|PATCH) (\S+)( HTTP/1.1)?\r?\n", part)
      url = urllib.parse.urlsplit(request[2].decode())
      query = dict(urllib.parse.parse_qsl(url.query))
      identity = re.search(rb"Content-ID: *<?([^>\r\n]+)>?", part, re.IGNORECASE)
      try:
        status = self.server.broken(request[1].decode(), url.path, query)
        if status:
          raise Refused(status)
        status, content, *_ = self._dispatch(request[1].decode(), url.path, query, b"")
      except Refused as refused:
        status, content = refused.args[0], b""
      content = json.dumps(content) if isinstance(content, dict) else content.decode()
      number = identity[1].decode() if identity else len(answers)
      answers.append(
        f"Content-Type: application/http\r\nContent-ID: <response-{number}>\r\n\r\n"
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n{content}\r\n"
      )
    text = "".join(f"--batch_x\r\n{answer}" for answer in answers) + "--batch_x--\r\n"
    return 200, text.encode(), {"Content-Type": 'multipart/mixed; boundary="batch_x"'}


def _blank_line(body):
  return b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"


if __name__ == "__main__":
  with Server(int(sys.argv[1])) as server:
    lines = [f"export {name}={value}" for name, value in server.environment().items()]
    print("\n".join(lines), flush=True)
    threading.Event().wait()
