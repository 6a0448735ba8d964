"""The report page: its content, its escaping, and that a browser shows it without errors.

The values are made up.
"""

import base64
import html.parser
import importlib.resources
import io
import json
import re
import shutil
import subprocess

import jinja2
import numpy as np
import pytest
from PIL import Image

from vidgan_jax.analysis.samples import power_spectrum, smoothness
from vidgan_jax.evaluation.metrics import registry as metrics
from vidgan_jax.evaluation.report import analyses as report_analyses
from vidgan_jax.evaluation.report import charts, media, rendering
from vidgan_jax.evaluation.report import columns as report_columns
from vidgan_jax.evaluation.report import page as report
from vidgan_jax.runtime.files import video_files

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m&amp;"
VOID = {"meta", "link", "img", "br", "wbr", "input"}
NETWORK = "moving_shapes_classifier"


class Page(html.parser.HTMLParser):
  """Elements of a page as (tag, attributes, texts within); fails if tags are not nested."""

  def __init__(self, text):
    super().__init__()
    self.elements, self._open, self.source = [], [], text
    self.feed(text)
    self.close()
    assert not self._open, [tag for tag, _, _ in self._open]

  def handle_starttag(self, tag, attrs):
    element = (tag, dict(attrs), [])
    assert len(dict(attrs)) == len(attrs)
    self.elements.append(element)
    if tag not in VOID:
      self._open.append(element)

  def handle_startendtag(self, tag, attrs):
    self.elements.append((tag, dict(attrs), []))

  def handle_endtag(self, tag):
    assert self._open.pop()[0] == tag

  def handle_data(self, data):
    for element in self._open:
      element[2].append(data)

  def all(self, tag, **attributes):
    """(attributes, text) of elements."""
    return [
      (a, "".join(t))
      for name, a, t in self.elements
      if name == tag and all(a.get(k) == v for k, v in attributes.items())
    ]


def record(metric, value, step=1200, digits="0123456789ab", **changes):
  content = {
    "step": step, "metric": metric, "network": NETWORK, "output": "features", "value": value,
    "values": [value], "std": None, "interval": [0.9 * value, 1.2 * value], "level": 0.95,
    "count_real": 2000, "count_generated": 1000, "truncation": 1.0, "ema": True,
    "floor": {"value": 0.11 * value, "interval": None, "what": "two halves of the real clips"},
    "fingerprint": digits, "warnings": [], "fields": {"metric": metric, "seed": 0, "step": step},
  }  # fmt: skip
  return {**content, **changes}


@pytest.fixture(scope="module")
def results():
  """Two columns of FID, with different counts; curves over iterations and truncations."""
  records = [record("fid", 900.5 / step, step) for step in (300, 600, 1200)]
  records += [record("is", 7.25 * step / 1200, step, "cccccccccccc") for step in (300, 600, 1200)]
  for at in (0.3, 0.7):
    records += [
      record("fid", 2.123 / at, truncation=at),
      record("is", 8 - at, digits="cccccccccccc", truncation=at),
    ]
  damaged = [
    record("fid", 7.5, control="frozen", against="500 other real clips"),
    record("fid", 7.5, control=HOSTILE),  # older files do not name the reference
  ]
  few = {"metric": "fid", "seed": 0, "count_generated": 64, "trial": True}
  warned = [f"N < d in {HOSTILE}"]
  records.append(record("fid", 31.625, digits="ffffffffffff", fields=few, warnings=warned))
  per_class = [
    {"step": 1200, "truncation": 1.0, "metric": "fid", "class": i, "name": name, "value": 2.5 + i,
     "count_real": 9, "count_generated": 8, "fingerprint": "0123456789ab"}
    for i, name in enumerate(("disk", HOSTILE))
  ]  # fmt: skip
  return {
    "format": 1,
    "created": "2026-01-01T00:00:00+00:00",
    "versions": {"jax": "0.0"},
    "run": {"workdir": f"/runs/{HOSTILE}", "name": HOSTILE, "step": 1200},
    "protocol": {"name": "moving_shapes", "source": HOSTILE, "notes": [HOSTILE]},
    "reference": {"description": HOSTILE, "hash": "aa", "count": 2000},
    "records": records,
    "paper": [{"metric": "fid", "value": "31.1 +- .8", "source": f"Table 2 {HOSTILE}"}],
    "per_class": per_class,
    "controls": damaged,
    "truncation_curve": [],
  }


def clips(seed, count=6):
  drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8, 3), np.uint8)
  return report.Clips(drawn, np.arange(count) % 2, ("disk", HOSTILE))


def png():
  buffer = io.BytesIO()
  Image.new("RGB", (40, 20), "red").save(buffer, "PNG")
  return buffer.getvalue()


@pytest.fixture(scope="module")
def analyses():
  """Results of all analyses."""
  spectra = np.random.default_rng(0).uniform(1, 2, (3, 2, 9)) / (1 + np.arange(9)) ** 2
  ratio = {"count": 4, "median_ratio": 0.51, "interval": [0.4, 0.6], "closer_to_train": 0.9}
  walk = smoothness.walk_record(np.linspace(0, 1, 12)[:, None])
  spaces = {"pixel": {"summary": smoothness.summary([walk]), "walks": [walk]}}
  nearest = [[{"index": 3, "distance": 1.0}] * 3] * 2
  levels = {channel: [0.4, 0.3, 0.2] for channel in ("red", "green", "blue", "dark")}
  return {
    "neighbours": {
      "names": ["disk", HOSTILE], "searched": {"train": 40}, "pictures": {"pixel": png()},
      "spaces": {"pixel": {"nearest": nearest, "held_out": ratio, "control": ratio,
                           "shown": [1, 0]}},
    },
    "spectra": {
      "frequency": (np.arange(9) / 16).tolist(), "clips": 30, "sets": 3,
      "records": power_spectrum.compare(spectra, spectra[::-1] * 0.5, [1, 6]),
    },
    "curves": {
      "step": 1200, "dark_level": 0.1, "overall": {"generated": {"dark": 0.25}},
      "training": {"step": [10, 20, 30], "real": levels, "generated": levels},
    },
    "smoothness": {
      "steps": 12, "pictures": {"latent": png()}, "records": [{"kind": "latent", "spaces": spaces}],
    },
  }  # fmt: skip


@pytest.fixture(scope="module")
def written(results, analyses, tmp_path_factory):
  path = tmp_path_factory.mktemp("report") / "out" / "report.html"
  assert report.write(results, path, clips(0), clips(1), **analyses) == path
  return path


@pytest.fixture(scope="module")
def page(written):
  return Page(written.read_text())


def test_nothing_is_loaded_from_elsewhere(written, page):
  text = written.read_text()
  assert len(text) < 3_000_000
  assert not re.search(r"https?:|//[a-z]|@import|url\(", text.split("<body>")[0])
  addresses = [
    value for _, a, _ in page.elements for name, value in a.items()
    if name in ("src", "href", "poster", "srcset", "data", "action", "xlink:href")
  ]  # fmt: skip
  assert addresses
  assert all(address.startswith(("data:", "#")) for address in addresses)
  assert len(page.all("video")) == 2
  for attributes, _ in page.all("video"):
    content = base64.b64decode(attributes["src"].removeprefix("data:video/mp4;base64,"))
    assert content[4:8] == b"ftyp"
    assert "controls" in attributes and "loop" in attributes and "muted" in attributes
  (policy,) = [a["content"] for a, _ in page.all("meta") if "http-equiv" in a]
  assert policy.startswith("default-src 'none';")


def test_hostile_text_is_text(written, page):
  text = written.read_text()
  assert len(page.all("script")) == 1
  assert not [a for _, a, _ in page.elements for name in a if name.startswith("on")]
  assert "\x1b" not in text
  assert "<script>alert" not in text
  shown = HOSTILE.replace("\x1b", "\\x1b")
  assert page.all("h1")[0][1] == f"Evaluation of {shown}"
  for tag in ("li", "td", "th", "p", "code"):
    assert any(shown in words for _, words in page.all(tag)), tag
  assert "alert" not in "".join(words for _, words in page.all("title")).replace(shown, "")


def test_a_value_that_is_no_number_is_escaped(tmp_path):
  """It is not in the last row, whose values are drawn as well."""
  value = HOSTILE.replace("'", "")
  old = record("kvd", 0.5, 300, interval=None) | {"value": value}
  records = [old, record("kvd", 0.5)]
  path = report.write({"records": records}, tmp_path / "report.html")
  page = Page(path.read_text())
  assert len(page.all("script")) == 1 and not page.all("img")


def test_motion_controls_are_shown_and_unlimited_scores_named(results, page, tmp_path):
  (table,) = [words for _, words in page.all("table") if "frozen" in words]
  assert "7.5" in table and HOSTILE.replace("\x1b", "\\x1b") in table
  assert "Compared with 500 other real clips; the reference, which holds the same" in table
  bare = report.write({"records": [record("fvd_infinity", 3.0)]}, tmp_path / "report.html")
  text = bare.read_text()
  assert "no description of this number" not in text
  assert "FVD∞" in text and "lower is better" in text
  assert "Motion controls" not in text


def test_every_value_is_in_the_column_of_its_fingerprint(results, page):
  shown = {}
  for attributes, _ in page.all("span"):
    if "data-value" in attributes:
      value = float(attributes["data-value"])
      shown[value] = shown.get(value, 0) + 1
  assert shown == {value: 1 for value in {r["value"] for r in results["records"]}}
  (table,) = re.findall(r"<table[^>]*>(?:(?!</table>).)*All numbers.*?</table>", page.source, re.S)
  rows = Page(table)
  heads = [a["data-fingerprint"] for a, _ in rows.all("th") if "data-fingerprint" in a]
  assert heads == ["0123456789ab", "cccccccccccc", "ffffffffffff"]
  lines = re.findall(r"<tr>(.*?)</tr>", table, re.S)[1:]
  assert len(lines) == 5  # 3 iterations, and 2 truncations of the last
  by_value = {r["value"]: r["fingerprint"] for r in results["records"]}
  for line in lines:
    cells = Page(line).all("td")
    assert [a["data-fingerprint"] for a, _ in cells] == heads
    for part in re.findall(r"<td.*?</td>", line, re.S):
      for value in re.findall(r'data-value="(.*?)"', part):
        assert f'data-fingerprint="{by_value[float(value)]}"' in part


def test_columns_differ_by_their_fields_too():
  """Equal fingerprints alone, forged or cut short, do not put values into one column."""
  one, other = record("fid", 1.0), record("fid", 2.0)
  other["fields"] = {**other["fields"], "seed": 1}
  later = record("fid", 3.0, step=2400)
  columns = report_columns.columns([one, other, later])
  assert [[r["value"] for r in column.records] for column in columns] == [[1.0, 3.0], [2.0]]
  assert len(report_columns.columns([one, {**one, "fingerprint": "0" * 12}])) == 2
  assert len(report_columns.columns([one, {**one, "output": "logits"}])) == 2


def test_the_main_record_and_the_curves(results):
  column = report_columns.columns(results["records"])[0]
  assert column.main["step"] == 1200 and column.main["truncation"] == 1.0
  assert [r["step"] for r in column.over_steps()] == [300, 600, 1200]
  assert [r["truncation"] for r in column.over_truncations()] == [0.3, 0.7, 1.0]


def test_warnings_floors_paper_and_meanings_are_visible(page):
  (warnings,) = [w for a, w in page.all("section") if a.get("class") == "warnings"]
  assert "N < d" in warnings and "other numbers of clips" in warnings
  cards = [words for a, words in page.all("article")]
  assert len(cards) == 3
  assert "two halves of the real clips" in cards[0]
  assert "31.1 +- .8" in cards[0] and "paper, as printed" in cards[0]
  assert "95 % interval" in cards[1] and "higher is better" in cards[1]
  for metric in ("fid", "is"):
    assert any(metrics.number(metric).meaning in card for card in cards)
  (pre,) = page.all("pre")
  assert pre[1].splitlines()[0].startswith("% model & FID (0123456789ab) & Inception Score")
  assert r" \\" in pre[1]


def test_screen_readers_get_a_text_for_every_picture_and_table(page):
  for attributes, _ in page.all("img"):
    assert attributes["alt"]
  for attributes, _ in page.all("svg"):
    assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
  for attributes, _ in page.all("video"):
    assert attributes["aria-label"]
  for attributes, _ in page.all("th"):
    assert attributes["scope"] in ("row", "col")
  identifiers = [a["id"] for _, a, _ in page.elements if "id" in a]
  assert len(identifiers) == len(set(identifiers))
  links = [a["href"][1:] for a, _ in page.all("a")]
  assert set(links) <= set(identifiers)
  assert page.all("html")[0][0]["lang"] == "en"


def test_grids_show_the_same_classes_side_by_side(tmp_path):
  flat = np.zeros((40, 2, 32, 32, 3), np.uint8)
  flat += np.arange(40, dtype=np.uint8)[:, None, None, None, None] * 6
  one = report.Clips(flat, np.arange(40) % 20)
  other = report.Clips(flat[:12], np.arange(12))
  assert media.chosen_labels(one, other) == [0, 1, 3, 4, 6, 7, 9, 10]
  assert media.chosen_labels(one, report.Clips(flat)) == []
  assert media.chosen_labels(None, other) == media.chosen_labels(other)
  grid = media.grid(one, [0, 7, 10])
  assert grid.rows == ("class 0", "class 7", "class 10") and grid.count == 6
  (tmp_path / "a.mp4").write_bytes(base64.b64decode(grid.video.split(",")[1]))
  frames, rate = video_files.read_video(tmp_path / "a.mp4")
  # Two columns of tiles of 32 pixels, thrice enlarged.
  assert frames.shape[1:3] == grid.size[::-1] == (3 * (3 * 34 - 2), 3 * (2 * 34 - 2))
  assert len(frames) == 2 and rate == 8
  for row, label in enumerate((0, 7, 10)):
    for column, clip in enumerate((label, label + 20)):
      middle = frames[0, 3 * (row * 34 + 16), 3 * (column * 34 + 16)]
      np.testing.assert_allclose(middle, clip * 6, atol=3)


def test_large_clips_make_smaller_grids(monkeypatch):
  noise = np.random.default_rng(0).integers(0, 256, (16, 2, 16, 16, 3), np.uint8)
  clips = report.Clips(noise, np.repeat(np.arange(8), 2))
  whole = media.grid(clips, range(8))
  monkeypatch.setattr(media, "_MAX_BYTES", len(whole.video) // 2)
  part = media.grid(clips, range(8))
  assert whole.count == 16 and part.count == 8
  assert part.rows == whole.rows[:4]


def contrast(one, other):
  """WCAG's contrast of two colours #rrggbb or #rgb."""

  def luminance(color):
    digits = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
    channels = np.array([int(digits[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]

  dark, light = sorted(map(luminance, (one, other)))
  return (light + 0.05) / (dark + 0.05)


def test_colours_have_contrast_in_the_light_and_the_dark_theme():
  style = importlib.resources.files(rendering.__package__) / "templates" / "style.css"
  themes = re.findall(r":root \{([^}]*)\}", style.read_text())
  assert len(themes) == 2
  for theme in themes:
    colors = dict(re.findall(r"--(\w+):\s*(#\w+)", theme))
    for ground in ("paper", "card", "chip"):
      for ink in ("ink", "soft", "real"):
        assert contrast(colors[ink], colors[ground]) >= 4.5, (ink, ground, theme)
    assert contrast(colors["warn"], colors["warnpaper"]) >= 4.5
    for line in ("generated", "real", "red", "green", "blue"):
      assert contrast(colors[line], colors["card"]) >= 3


def test_a_page_of_few_values(tmp_path):
  path = report.write({"records": []}, tmp_path / "a.html")
  assert Page(path.read_text()).all("h1")[0][1] == "Evaluation of clips"
  lone = record("unheard_of", -0.5, step=None, interval=None, floor=None, truncation=None)
  text = report.write({"records": [lone]}, tmp_path / "b.html").read_text()
  assert "unheard of" in text and "−0.5" in text
  assert 'class="bar"' not in text


@pytest.mark.parametrize(
  ("value", "text"),
  [(0.12345, "0.123"), (12.345, "12.3"), (1234.5, "1,234"), (3, "3"), (-2.5, "−2.50"), (0, "0"),
   (1.5e-5, "1.5·10⁻⁵"), (-3.4e-12, "−3.4·10⁻¹²"), (None, "–"), (float("nan"), "–"), ("x", "–")],
)  # fmt: skip
def test_numbers_for_reading(value, text):
  assert charts.number(value) == text


def test_ticks_of_tiny_values_are_powers_of_ten():
  """Kernel distances of normalised features are as small as this."""
  points = [(0, -2e-6), (1, 1.75e-5)]
  drawn = charts.chart([charts.Series("KVD", points)], title="t", x_label="x").svg
  texts = re.findall(r"<text[^>]*>([^<]*)</text>", str(drawn))
  assert {"0", "5·10⁻⁶", "10⁻⁵", "1.5·10⁻⁵"} <= set(texts) and not [t for t in texts if "^" in t]
  assert charts._tick(-2.5e-6) == "−2.5·10⁻⁶" and charts._tick(1.25e7) == "1.25·10⁷"
  lone = {"metric": "kvd", "fingerprint": "f", "value": 7.9e-6, "interval": [-3e-6, 1.5e-5]}
  row = report.latex_row({"records": [lone]})
  assert "7.9e-06" in row and row.isascii()


def test_points_of_a_chart_are_where_their_values_are():
  points = [(0, 1.0), (50, 10.0), (100, 100.0)]
  drawn = charts.chart([charts.Series("<a>", points)], title="t", x_label="x", log_y=True).svg
  circles = [(float(a["cx"]), float(a["cy"])) for a, _ in Page(drawn).all("circle")]
  (x0, y0), (x1, y1), (x2, y2) = circles
  assert x1 == pytest.approx((x0 + x2) / 2, abs=0.11)
  assert y1 == pytest.approx((y0 + y2) / 2, abs=0.11)
  assert x0 < x1 < x2 and y0 > y1 > y2
  assert charts.chart([charts.Series("a", [])], title="t", x_label="x") is None
  flat = charts.chart([charts.Series("a", [(1, 2.0)])], title="t", x_label="x").svg
  assert "nan" not in flat and Page(flat).all("circle")


@pytest.mark.parametrize(
  "part", ["title", "x_label", "y_label", "note", "name", "level", "tooltip"]
)
def test_text_of_charts_is_escaped(part):
  texts = dict.fromkeys(("title", "x_label", "y_label", "note", "name", "level", "tooltip"), "a")
  texts[part] = HOSTILE
  notes = [texts.pop("tooltip")] * 2
  line = charts.Series(texts.pop("name"), [(0, 1.0), (1, 2.0)], notes=notes)
  chart = charts.chart([line], level=(1.5, texts.pop("level")), **texts)
  page = Page(rendering.render("charts.html", introduction="", charts=[chart]))
  assert not page.all("script") and not page.all("img") and "\x1b" not in page.source
  shown = HOSTILE.replace("\x1b", "\\x1b")
  assert any(shown in text for tag in ("text", "span", "strong", "li", "title")
             for _, text in page.all(tag))  # fmt: skip


def test_a_missing_value_of_a_template_is_an_error():
  with pytest.raises(jinja2.UndefinedError):
    rendering.render("damaged.html")


def test_analyses_of_a_run_are_read_and_only_its_own_pictures(tmp_path, analyses):
  assert report_analyses.gather(tmp_path) == {}
  folder = tmp_path / "analysis"
  (folder / "neighbours_").mkdir(parents=True)
  (tmp_path / "neighbours_secret.png").write_bytes(png())
  content = {**analyses["neighbours"], "format": 1}
  content["spaces"] = {"pixel": {}, "../secret": {}, "/../../neighbours_secret": {}}
  del content["pictures"]
  (folder / "neighbours.json").write_text(json.dumps(content))
  (folder / "neighbours_pixel.png").write_bytes(png())
  (folder / "darkness.json").write_text("{broken")
  (folder / "power_spectrum.json").write_text('{"format": 2}')
  gathered = report_analyses.gather(tmp_path)
  assert list(gathered) == ["neighbours"]
  assert gathered["neighbours"]["pictures"] == {"pixel": png()}
  content["pictures"] = {"pixel": b"<svg onload=alert(1)>"}
  assert "<img" not in report_analyses.neighbours(content)


@pytest.fixture
def ask_browser(tmp_path):
  """A function (page, JavaScript expression, width) that returns (the value, stderr)."""
  browser = shutil.which("chromium") or shutil.which("chromium-browser")
  if browser is None:
    pytest.skip("needs chromium: apt-get install chromium")

  def ask(path, expression, width):
    # The policy of the page forbids other scripts, so the copy of the page allows this one too.
    script = (
      "addEventListener('load',()=>setTimeout(()=>{"
      f"document.body.dataset.value=JSON.stringify({expression})}},1500))"
    )
    allowed = path.read_text().replace(
      "script-src '", "script-src 'unsafe-hashes' 'nonce-probe' '", 1
    )
    probe = tmp_path / "probe.html"
    probe.write_text(allowed.replace("</body>", f'<script nonce="probe">{script}</script></body>'))
    command = [
      browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--enable-logging=stderr", f"--window-size={width},900", "--virtual-time-budget=8000",
      f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", probe.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(Page(done.stdout).all("body")[0][0]["data-value"]), done.stderr

  return ask


def test_a_browser_shows_the_page_without_errors(written, ask_browser):
  """Its console is empty, every video and picture loads, nothing is wider than a phone."""
  measured, log = ask_browser(
    written,
    "{videos:[...document.querySelectorAll('video')].map(x=>"
    "[x.readyState,x.videoWidth,x.error&&x.error.code]),"
    "images:[...document.images].map(x=>x.naturalWidth),"
    "wide:document.documentElement.scrollWidth,window:innerWidth,"
    "dialogs:!!document.querySelector('main script')}",
    width=500,
  )
  messages = [line for line in log.splitlines() if "CONSOLE" in line]
  assert not messages, messages
  assert [ready >= 2 and width and not error for ready, width, error in measured["videos"]]
  assert all(ready >= 2 and not error for ready, _, error in measured["videos"]), measured
  assert len(measured["videos"]) == 2 and all(measured["images"]) and measured["images"]
  assert measured["wide"] <= measured["window"], measured


def test_controls_are_below_the_clips_and_work(written, ask_browser):
  measured, _ = ask_browser(
    written,
    "[...document.querySelectorAll('.clips figure')].map(f=>{"
    "const v=f.querySelector('video'),b=f.querySelector('button'),r=f.querySelector('input');"
    "const covers=b.getBoundingClientRect().top<v.getBoundingClientRect().bottom;"
    "if(v.paused)b.click();const playing=!v.paused;b.click();const stopped=v.paused;"
    "r.value=500;r.dispatchEvent(new Event('input'));"
    "return [v.controls,covers,playing,stopped,v.currentTime/v.duration]})",
    width=500,
  )
  assert len(measured) == 2
  for controls, covers, playing, stopped, position in measured:
    assert not controls and not covers and playing and stopped
    assert position == pytest.approx(0.5, abs=0.02)


def test_clips_come_first_and_curves_are_part_of_the_page(results, tmp_path):
  content = png()
  path = report.write(results, tmp_path / "a.html", clips(0), clips(1), training_curves=content)
  page = Page(path.read_text())
  links = [
    a["href"] for a, _ in page.all("a") if a["href"].startswith("#") and "fp-" not in a["href"]
  ]
  assert links[:2] == ["#clips", "#numbers"] and "#log" in links
  assert any(base64.b64encode(content).decode() in a["src"] for a, _ in page.all("img"))
  assert not any("floor" in words.lower() for words in page.all("body")[0][1:])


def test_curves_are_gathered_from_the_run(tmp_path):
  assert "training_curves" not in report_analyses.gather(tmp_path)
  (tmp_path / "curves.png").write_bytes(png())
  assert report_analyses.gather(tmp_path)["training_curves"] == png()


@pytest.mark.parametrize(
  ("value", "interval", "floor", "place"),
  [
    (5.0, None, 0.0, 2 + 196 / 1.04),
    (-5.0, None, 0.0, 2 + 196 * 0.04 / 1.04),
    (1e-5, (-1e-5, 3e-5), -1e-5, 2 + 196 * (1e-5 + 1.16e-5) / (4 * 1.08e-5)),
  ],
)
def test_bars_show_values_of_any_size_and_sign(value, interval, floor, place):
  bar = charts.range_bar(value, interval, floor)
  (found,) = re.findall(r'<circle class="generated" cx="([-.0-9]+)"', bar)
  assert float(found) == pytest.approx(place, abs=0.06)
  every = [float(n) for n in re.findall(r'(?:cx|x)="([-.0-9]+)"', bar)]
  assert all(0 <= n <= 200 for n in every)


METRICS = (
  "is",
  "fid",
  "accuracy",
  "kvd",
  "precision",
  "recall",
  "density",
  "coverage",
  "diversity",
)


@pytest.mark.parametrize(("columns", "fits"), [(9, True), (15, False)])
def test_nine_columns_fit_a_desktop_and_more_scroll_beside_the_first(
  ask_browser, tmp_path, columns, fits
):
  records = [
    record(metric, 0.05678, digits=f"{index:012d}")
    for index, metric in enumerate((METRICS + METRICS)[:columns])
  ]
  path = report.write({"records": records}, tmp_path / "report.html")
  measured, _ = ask_browser(
    path,
    "(()=>{const t=document.querySelector('.numbers'),b=t.parentNode,"
    "h=t.querySelector('tbody th');b.scrollLeft=300;"
    "return {wide:b.scrollWidth,room:b.clientWidth,at:b.scrollLeft,"
    "first:h.getBoundingClientRect().left-b.getBoundingClientRect().left}})()",
    width=1280,
  )
  assert (measured["wide"] <= measured["room"]) == fits, measured
  assert (measured["at"] == 0) == fits
  assert 0 <= measured["first"] <= 2  # the border


def test_each_metric_says_which_values_are_good(tmp_path):
  records = [record(m, 0.5, digits=f"{i:012d}") for i, m in enumerate((*METRICS, "unheard_of"))]
  page = Page(report.write({"records": records}, tmp_path / "report.html").read_text())
  directions = [words for a, words in page.all("span") if a.get("class") == "direction"]
  assert directions == [
    "↑ higher is better", "↓ lower is better", "↑ higher is better", "↓ lower is better",
    *["↑ higher is better"] * 4, "≈ closer to real clips is better", "",
  ]  # fmt: skip
  heads = [words for a, words in page.all("th") if "data-fingerprint" in a]
  assert heads[1].startswith("FID\xa0↓") and heads[8].startswith("Diversity\xa0≈")


def test_a_warning_that_concerns_all_values_is_shown_once(tmp_path):
  trial = {"trial": True}
  records = [
    record("fid", 1.0, fields=trial, warnings=["few"]),
    record("is", 1.0, digits="c" * 12, fields=trial),
  ]
  page = Page(report.write({"records": records}, tmp_path / "report.html").read_text())
  assert page.source.count("other numbers of clips") == 1
  (warnings,) = [words for a, words in page.all("section") if a.get("class") == "warnings"]
  assert "all numbers: evaluated on other numbers of clips" in warnings and "FID: few" in warnings
  assert [words for a, words in page.all("p") if a.get("class") == "warned"] == ["⚠ few"]


def test_bars_of_classes_are_shares_of_the_largest(page):
  bars = [(a["style"], words) for a, words in page.all("td") if a.get("class") == "share"]
  assert bars == [("--share:1.000", "3.50"), ("--share:0.714", "2.50")]  # by name
