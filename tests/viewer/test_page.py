"""The page in a server of its own: its functions over HTTP, and its controls in a browser."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from tests.viewer.conftest import ARABIC, SCRIPT
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.viewer import listening
from vidgan_jax.viewer.request import Request

ROOT = pathlib.Path(__file__).resolve().parents[2]
REASON = "needs Gradio: pip install -r requirements-web.txt"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def start(workdirs, folder):
  """Starts the command in a process with a temporary folder; returns it and the page's address."""
  process = subprocess.Popen(
    [sys.executable, "-m", "vidgan_jax.web", f"--workdir={','.join(workdirs)}", "--port=0"]
    + ["--standing_passes=2"],
    cwd=ROOT,
    env={**os.environ, "TMPDIR": str(folder), "HTTP_PROXY": "http://127.0.0.1:1"},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  lines = []
  for line in process.stdout:
    lines.append(line)
    match = re.fullmatch(r"the page is at (http://127\.0\.0\.1:\d+/) until Ctrl-C\n", line)
    if match:
      return process, match[1]
  raise AssertionError("".join(lines))


@pytest.fixture(scope="module")
def address(workdirs, tmp_path_factory):
  pytest.importorskip("gradio", reason=REASON)
  process, address = start(workdirs, tmp_path_factory.mktemp("temporary"))
  yield address
  process.kill()
  process.communicate()


@pytest.fixture(scope="module")
def call(address):
  """A function (name of the function, *arguments) -> what the page shows."""
  import gradio_client

  # The first answer takes longer than the 5 s that the client waits by default on a busy machine.
  client = gradio_client.Client(address, verbose=False, httpx_kwargs={"timeout": 120})
  return lambda name, *arguments: client.predict(*arguments, api_name=f"/{name}")


def get(address, **headers):
  opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  return opener.open(urllib.request.Request(address, headers=headers), timeout=60)


SHARED = (["0:4", "1:2"], 8, 0, 1.0, "as in training")  # generators, frame rate, seed, truncation


def test_clips_over_http(address, call):
  html = call("clips", *SHARED, [SCRIPT, "disk"], 1)
  (first, *others) = re.findall(r'src="(clips/[0-9a-f]+\.mp4)"', html)
  assert len(others) == 3 and "<script" not in html
  whole = get(address + first)
  content = whole.read()
  assert whole.headers["Content-Type"] == "video/mp4" and content[4:8] == b"ftyp"
  part = get(address + first, Range="bytes=4-7")
  assert (part.status, part.read()) == (206, b"ftyp")
  for name in ("none.mp4", "..%2fsecret", "../web.py"):
    with pytest.raises(urllib.error.HTTPError, match="404"):
      get(f"{address}clips/{name}").read()
  assert "vidgan sample --workdir=" in html and html == call("clips", *SHARED, [SCRIPT, "disk"], 1)


def test_interpolations_scores_and_curves_over_http(call):
  assert call("mixtures", *SHARED, SCRIPT, "disk", 3).count("<video") == 6
  assert call("walk", *SHARED, "disk", 2).count("<video") == 4
  assert "No scores yet" in call("scores")
  assert "<svg" in call("curves", ["loss/generator"])


def test_a_visit_of_the_curves_reads_the_logs_again(workdirs, call):
  log = pathlib.Path(workdirs[0]) / "log.jsonl"
  before = log.read_text()
  try:
    log.write_text(before + '{"step": 3, "loss/generator": 0.2, "later": 1.0}\n')
    update, html = call("visit_curves", ["loss/generator"])
    assert "later" in str(update["choices"]) and update["value"] == ["loss/generator"]
    assert "<svg" in html
    assert "<svg" in call("curves", ["later"])
  finally:
    log.write_text(before)


@pytest.mark.parametrize(
  ("shared", "classes", "words"),
  [
    ([["0:4"], 8, 2**32, 1.0, "as in training"], ["disk"], "4294967296"),
    ([["0:4"], 8, 0, 1.0, "as in training"], [], "choose a class"),
    ([[], 8, 0, 1.0, "as in training"], ["disk"], "choose a generator"),
  ],
)
def test_errors_over_http(call, shared, classes, words):
  import gradio_client

  try:
    html = call("clips", *shared, classes, 1)
  except gradio_client.exceptions.AppError as error:  # what Gradio itself refuses
    html = f"error: {error}"
  assert "error: " in html and words in html and "Traceback" not in html


def test_the_page_names_no_other_host(address):
  response = get(address)
  policy = response.headers["Content-Security-Policy"]
  assert "default-src 'self'" in policy and "http" not in policy and "*" not in policy
  assert "fonts.googleapis" not in response.read().decode("utf-8")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_and_remove_the_clips(workdirs, tmp_path, number, code):
  pytest.importorskip("gradio", reason=REASON)
  process, _ = start(workdirs[:1], tmp_path)
  (folder,) = tmp_path.glob("vidgan_web_*")
  process.send_signal(number)
  output = process.communicate(timeout=60)[0]
  assert process.returncode == code, output
  assert "Traceback" not in output and not folder.exists()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
  """A function (width) that opens a browser; selenium drives Chromium."""
  pytest.importorskip("gradio", reason=REASON)
  webdriver = pytest.importorskip(
    "selenium.webdriver", reason="needs Selenium: pip install -r requirements-web-test.txt"
  )
  driver = shutil.which("chromedriver")
  if not (CHROMIUM and driver):
    pytest.skip("needs the programs chromium and chromedriver, which Selenium controls")
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  for flag in (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
  ).split():
    options.add_argument(flag)
  options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
  options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
  service = webdriver.ChromeService(driver)
  with webdriver.Chrome(options=options, service=service) as chrome:
    yield chrome


def until(condition, what, seconds=120):
  """Waits until a condition holds."""
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, what
    time.sleep(0.1)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(address, browser, width):
  size = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
  browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
  browser.get(address)
  script = browser.execute_script
  visible = "[...document.querySelectorAll('video')].filter(v => v.offsetWidth)"
  ready = f"return {visible}.length && {visible}.every(v => v.readyState >= 2 && v.videoWidth)"
  until(lambda: script(ready), "clips")
  script(f"{visible}[0].scrollIntoView()")  # Chromium plays only what is in the window
  until(lambda: script(f"return {visible}[0].currentTime > 0"), "a clip that plays", 30)
  text = script("return document.body.innerText")
  for name in (SCRIPT, ARABIC, "${1+1} {{value}}", '"><img src=x>', "<b>other, iteration 4"):
    assert name in text
  assert not script("return document.querySelector('figure img, figure script, h3 script')")
  assert script("return document.documentElement.scrollWidth") <= width

  def press(words, selector="button"):
    pressed = (
      "for (const b of document.querySelectorAll(arguments[1])) if (b.offsetWidth && "
      "b.innerText.trim() == arguments[0]) { b.click(); return true } return false"
    )
    assert script(pressed, words, selector), words

  before = script(f"return {visible}[0].src")
  press("Another seed")
  until(lambda: script(f"return {visible}.length && {visible}[0].src != {before!r}"), "new clips")
  until(lambda: "--seed=" in script("return document.body.textContent"), "the seed")
  if width > 600:  # on a narrow page, the other tabs are in a menu
    press("Between latents", "button[role=tab]")
    press("Generate")
    until(lambda: script(f"return {visible}.length == 16"), "an interpolation")
    press("Curves", "button[role=tab]")
    until(lambda: script("return document.querySelector('.vidgan-chart svg')"), "curves")
  events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
  asked = {
    event["params"]["request"]["url"]
    for event in events
    if event["method"] == "Network.requestWillBeSent"
    and event["params"]["documentURL"].startswith(address)  # not the browser's own first page
  }
  assert len(asked) > 10
  assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def test_refusals_before_anything_is_opened(monkeypatch):
  with pytest.raises(UserError, match="--workdir is empty"):
    listening.check(Request(("",)))
  with pytest.raises(UserError, match="names a twice"):
    listening.check(Request(("b", "a", "./a")))
  with pytest.raises(UserError, match=r"--port"):
    listening.check(Request(("a",), port=70_000))
  monkeypatch.setattr(listening.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(UserError, match=r"pip install -r requirements-web\.txt"):
    listening.check(Request(("a",)))


def test_ports_and_hosts():
  with listening.opened("127.0.0.1", 0) as listener:
    port = listener.getsockname()[1]
    assert listening.address(listener) == f"http://127.0.0.1:{port}/"
    assert listening.is_loopback(listener)
    with (
      pytest.raises(UserError, match=r"--port=\d+: Address already in use; --port=0 takes"),
      listening.opened("127.0.0.1", port),
    ):
      pass
  with listening.opened("0.0.0.0", 0) as listener:
    assert socket.gethostname() in listening.address(listener)
    assert not listening.is_loopback(listener)
  with pytest.raises(UserError, match="--host=no such host"), listening.opened("no such host", 0):
    pass
