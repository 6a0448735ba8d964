"""The clips of the page, without a browser and without Gradio."""

import re
import threading
import time

import av
import numpy as np
import pytest

from tests.runs import write_run
from tests.viewer.conftest import ARABIC, SCRIPT
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.sampling import cli, files, generation, request
from vidgan_jax.viewer import curves, drawing, markup, opened, scores
from vidgan_jax.viewer.drawing import Wanted
from vidgan_jax.viewer.kept_clips import KeptClips
from vidgan_jax.viewer.studio import Studio


@pytest.fixture(scope="module")
def runs(workdirs):
  return opened.Opened(workdirs, standing_passes=2, report=lambda line: None)


@pytest.fixture
def studio(runs, tmp_path):
  return Studio(runs, KeptClips(tmp_path))


def answer(studio, keys, **wanted):
  return str(studio.answer(keys, 8, lambda: Wanted(**wanted)))


def videos(html):
  return re.findall(r'<video src="clips/([0-9a-f]{32}\.mp4)"', html)


def test_clips_are_those_of_the_command_sample(runs):
  run = runs.run("0:4")
  wanted = Wanted("clips", (SCRIPT, "6", "disk"), 3, seed=5, truncation=0.5)
  drawn = drawing.draw(run, wanted, runs.labels("0:4", wanted.classes))
  labels = np.repeat([0, 2, 7], 3)
  expected = run.sample(5, labels=labels, truncation=0.5)
  assert drawn.clips.shape == expected.shape
  assert np.abs(drawn.clips.astype(int) - expected).max() <= 1
  assert drawn.captions == [name for name in wanted.classes for _ in range(3)]
  flags = dict(flag.removeprefix("--").split("=") for flag in drawn.flags.split())
  assert flags == {"labels": "0,2,7", "per_label": "3", "seed": "5", "truncation": "0.5"}
  assert drawing._labels(run, [6]) == "index:6"  # "6" is the name of class 2
  assert files.parse_labels(flags["labels"], run.class_names, 8) == [0, 2, 7]


def test_both_ends_of_interpolations(runs):
  run = runs.run("0:4")
  wanted = Wanted("classes", (SCRIPT, "disk"), 3, seed=1)
  mixed = drawing.draw(run, wanted, [0, 7])
  assert mixed.captions == [SCRIPT, "50 : 50", "disk"]
  for clip, label in ((mixed.clips[0], 0), (mixed.clips[-1], 7)):
    expected = run.sample(1, labels=[label])[0]
    assert np.abs(clip.astype(int) - expected).max() <= 1
  walk = drawing.draw(run, Wanted("latents", ("disk",), 4, seed=1), [7])
  assert walk.captions == ["0 %", "33 %", "67 %", "100 %"]
  assert "--labels=7 --interpolate=latent --interpolation_steps=4 --seed=1" == walk.flags


@pytest.mark.parametrize("kind", ["clips", "latents"])
def test_the_command_makes_what_is_shown_of_a_run_without_classes(kind, lean_config, tmp_path):
  folder = tmp_path / "run"
  folder.mkdir()
  write_run(folder, lean_config(**{"model.num_classes": 0}), [])
  shown = opened.Opened([str(folder)], standing_passes=2, report=lambda line: None)
  drawn = drawing.draw(shown.run("0:4"), Wanted(kind, count=3, seed=1), [])
  fields = dict(flag.removeprefix("--").split("=") for flag in drawn.flags.split())
  numbers = {name: int(text) if text.isdigit() else text for name, text in fields.items()}
  output = str(tmp_path / "out")
  cli.fulfil(request.Request(str(folder), output, standing_passes=2, **numbers), lambda line: None)
  with np.load(f"{output}/samples.npz") as archive:
    assert archive["clips"].shape == drawn.clips.shape
    assert np.abs(archive["clips"].astype(int) - drawn.clips).max() <= 1


def test_one_program_for_any_number_of_clips(runs):
  run = runs.run("0:4")
  drawing.draw(run, Wanted(count=1), [0])
  before = generation.generate._cache_size()
  for count in (2, 7, 9):
    assert len(drawing.draw(run, Wanted(count=count), [0]).clips) == count
  assert generation.generate._cache_size() == before


def test_names_are_text_and_files_are_videos(studio):
  html = answer(studio, ["0:4", "1:2"], kind="clips", classes=(SCRIPT, ARABIC), count=2)
  assert "<script" not in html and "<b>" not in html and ARABIC in html
  assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "&lt;b&gt;other, iteration 2" in html
  assert html.count("no such class") == 2  # the second run has no class of the Arabic name
  names = videos(html)
  assert len(names) == 6 and len(set(names)) == 6
  with av.open(str(studio.kept.path(names[0]))) as container:
    assert sum(1 for _ in container.decode(video=0)) == 4
  assert "--workdir=&#39;" in html  # quoted for a shell: the path has a space


def test_clips_of_the_same_number_have_the_same_latents_in_all_runs(runs):
  wanted = Wanted("clips", (ARABIC, "disk"), 1)
  drawn = drawing.draw(runs.run("1:4"), wanted, runs.labels("1:4", wanted.classes))
  assert drawn.exists == [False, True]
  np.testing.assert_array_equal(
    drawn.clips[1], drawing.draw(runs.run("1:4"), wanted, [0, 7]).clips[1]
  )


def test_names_that_occur_twice_are_numbered(runs):
  assert runs.classes()[3:5] == ["same (3)", "same (4)"]
  assert runs.labels("0:4", ["same (4)"]) == [4]


def test_a_repeated_request_is_answered_at_once(studio, monkeypatch):
  before = answer(studio, ["0:4"], kind="clips", classes=("disk",))
  monkeypatch.setattr(drawing, "draw", None)
  assert answer(studio, ["0:4"], kind="clips", classes=("disk",)) == before
  (name,) = videos(before)
  studio.kept._most = 0
  studio.kept.write(np.zeros((2, 8, 8, 3), np.uint8), 8)
  assert studio.kept.path(name) is None
  with pytest.raises(TypeError):  # drawn again, as its file was removed
    answer(studio, ["0:4"], kind="clips", classes=("disk",))


@pytest.mark.parametrize(
  ("keys", "wanted", "words"),
  [
    ([], {}, "choose a generator"),
    (["0:3"], {}, "a run, iteration 3: no checkpoint"),
    (["7:4"], {}, "no generator"),
    (["x<b>"], {}, "no generator &#39;x&lt;b&gt;&#39;"),
    (["0:4"], {"truncation": 0}, "must be positive"),
    (["0:4"], {"truncation": 3}, "at most 2"),
    (["0:4"], {"seed": -1}, "the seed is -1"),
    (["0:4"], {"seed": 2**32}, "the seed is 4294967296"),
    (["0:4"], {"count": 0}, "0 clips"),
    (["0:4"], {"count": 65}, "65 clips"),
    (["0:4"], {"kind": "latents", "count": 1}, "2 to 64"),
    (["0:4"], {"length": 9}, "the length is 9"),
    (["0:4"], {"classes": ("<i>",)}, "no class &lt;i&gt;"),
    (["1:4"], {"kind": "classes", "classes": ("disk", ARABIC), "count": 2}, f"no class {ARABIC}"),
  ],
)
def test_errors_are_one_line(studio, keys, wanted, words):
  html = answer(studio, keys, **wanted)
  assert re.fullmatch(r'<p class="vidgan-refusal" role="alert">error: [^\n<]*</p>', html), html
  assert words in html


def test_one_request_at_a_time(studio, monkeypatch):
  inside, most = [], []
  draw = drawing.draw

  def slow(*arguments):
    inside.append(1)
    most.append(len(inside))
    time.sleep(0.05)
    inside.pop()
    return draw(*arguments)

  monkeypatch.setattr(drawing, "draw", slow)
  ask = lambda seed: answer(studio, ["0:4"], classes=("disk",), seed=seed)
  threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert most == [1, 1, 1, 1]


def test_choices(runs, workdirs):
  assert [choice.key for choice in runs.choices()] == ["0:4", "0:2", "1:4", "1:2"]
  assert runs.newest() == ["0:4", "1:4"]
  assert opened.distinct_names(["/a/run", "/b/run", "/b/c"]) == ["a/run", "b/run", "b/c"]
  with pytest.raises(UserError, match="no run in"):
    opened.Opened(["/nowhere"])


def test_runs_that_continue_frames_are_refused(tiny_prediction_config, tmp_path):
  write_run(tmp_path, tiny_prediction_config(), ())
  with pytest.raises(UserError, match="vidgan sample --conditioning=test"):
    opened.Opened([str(tmp_path)])


def test_curves(workdirs):
  assert curves.names_of_values(workdirs) == (["loss/generator"], ["loss/generator"])
  html = str(curves.page(workdirs, ["<a>", "b"], ["loss/generator"]))
  assert html.count("<svg") == 1 and "&lt;a&gt;" in html and "<a>" not in html
  assert "no log" in str(curves.page(workdirs[1:], ["b"], []))
  points = curves._thinned([(step, 2.0 * step) for step in range(1, 1001)])
  assert len(points) == 334 and points[0] == (2, 4) and points[-1] == (1000, 2000)


def test_a_damaged_file_of_scores_is_one_line(workdirs, tmp_path):
  assert "No scores yet" in str(scores.page(workdirs, ["a", "b"]))
  file = tmp_path / "evaluation" / "tiny" / "results.json"
  file.parent.mkdir(parents=True)
  file.write_text("{")
  html = str(scores.page([str(tmp_path)], ["a"]))
  assert html.startswith('<p class="vidgan-refusal"') and "results.json" in html


def test_elements_escape_text_once():
  html = markup.element("<p>{}{}</p>", "<&\n", markup.element("<b>{}</b>", "<"))
  assert html == "<p>&lt;&amp;\\n<b>&lt;</b></p>"
