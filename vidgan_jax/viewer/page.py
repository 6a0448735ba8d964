"""The page itself, made with Gradio: controls, and HTML that answers them."""

import importlib.resources
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from vidgan_jax.runtime.errors import UserError
from vidgan_jax.viewer import curves, markup, scores
from vidgan_jax.viewer.drawing import MOST_CLIPS, Wanted
from vidgan_jax.viewer.studio import Studio

_LENGTHS = {"as in training": 1, "twice as many": 2, "four times as many": 4}
_FIRST_CLASSES = 8  # shown when the page is opened
_PLAY = """() => {
  const clips = [...document.querySelectorAll("video")];
  const playing = clips.some((clip) => !clip.paused);
  for (const clip of clips) { playing ? clip.pause() : clip.play(); }
}"""

# Clicks the button "Generate" of the open tab.
_GENERATE = """() => {
  const buttons = [...document.querySelectorAll("button.generate")];
  buttons.find((button) => button.offsetParent)?.click();
}"""
_WAIT = "The first clips take longer than others, because programs are compiled for them."


def style() -> str:
  """The style sheet of the page."""
  return (importlib.resources.files(__package__) / "style.css").read_text("utf-8")


def _answered(make: Callable[..., markup.Markup]) -> Callable[..., str]:
  """A handler that shows every error on the page as one line; bugs print a traceback too."""

  def handle(*values: Any) -> str:
    try:
      return str(make(*values))
    except UserError as error:
      return str(markup.error(str(error)))
    except Exception as error:
      traceback.print_exc(file=sys.stderr)
      first = (str(error).splitlines() or [""])[0][:200]
      message = f"{type(error).__name__}: {first} (the terminal shows where)"
      return str(markup.error(message))

  return handle


def _whole(value: Any, what: str) -> int:
  """A number from a control as an integer."""
  if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
    raise UserError(f"{what} is {value}, must be an integer")
  return int(value)


class Handlers:
  """What the controls do. All methods return HTML.

  Args:
    studio: generates the clips.
  """

  def __init__(self, studio: Studio):
    self.studio, self.opened = studio, studio.opened

  def clips(self, keys, rate, seed, truncation, length, classes, count) -> markup.Markup:
    """Clips by class."""
    return self._answer("clips", keys, rate, seed, truncation, length, classes, count)

  def mixtures(self, keys, rate, seed, truncation, length, first, last, count) -> markup.Markup:
    """Clips from one class to another, with the same latents."""
    return self._answer("classes", keys, rate, seed, truncation, length, [first, last], count)

  def walk(self, keys, rate, seed, truncation, length, name, count) -> markup.Markup:
    """Clips on the line between two latents."""
    return self._answer("latents", keys, rate, seed, truncation, length, name and [name], count)

  def _answer(self, kind, keys, rate, seed, truncation, length, classes, count) -> markup.Markup:
    def wanted() -> Wanted:
      names = tuple(classes or ())
      if self.opened.classes() and not (names and all(names)):
        raise UserError("choose a class")
      if length not in _LENGTHS:
        raise UserError(f"there is no number of frames {length!r}")
      number, clips = _whole(seed, "the seed"), _whole(count, "the number of clips")
      return Wanted(kind, names, clips, number, truncation, _LENGTHS[length])

    return self.studio.answer(keys or [], rate, wanted)

  def scores(self) -> markup.Markup:
    """Scores of all runs."""
    return scores.page(self.opened.workdirs, self.opened.names)

  def curves(self, values) -> markup.Markup:
    """Curves of logged values."""
    return curves.page(self.opened.workdirs, self.opened.names, values or [])

  def logged(self, values) -> tuple[list[str], list[str]]:
    """(names of all values that the logs have now, those to show).

    Shown are the chosen `values` that exist, or the first ones if there are none.
    """
    known, first = curves.names_of_values(self.opened.workdirs)
    return known, [value for value in values or [] if value in known] or first

  def choices(self) -> list[tuple[str, str]]:
    """(name, key) of all generators."""
    return [(choice.name, choice.key) for choice in self.opened.choices()]


def build(studio: Studio) -> Any:
  """The page, a `gradio.Blocks`."""
  import gradio as gr

  handlers = Handlers(studio)
  classes = studio.opened.classes()
  with gr.Blocks(title="vidgan", analytics_enabled=False, fill_width=True) as page:
    gr.HTML("<h1>Generated clips</h1>", elem_classes="heading")
    with gr.Row():
      with gr.Column(scale=1, min_width=300, elem_classes="controls"):
        shared = _shared_controls(gr, handlers)
      with gr.Column(scale=3, min_width=320):
        with gr.Tab("Clips"):
          runs = [_clips_tab(gr, handlers, shared, classes)]
        if len(classes) > 1:
          with gr.Tab("Between classes"):
            runs.append(_mixtures_tab(gr, handlers, shared, classes))
        with gr.Tab("Between latents"):
          runs.append(_walk_tab(gr, handlers, shared, classes))
        with gr.Tab("Scores") as scores_tab:
          scored = gr.HTML()
        with gr.Tab("Curves") as curves_tab:
          known, first = handlers.logged([])
          values = gr.Dropdown(known, value=first, multiselect=True, label="Logged values")
          plotted = gr.HTML()
    generators = shared[0]
    refreshed = lambda: gr.update(choices=handlers.choices())
    page.load(refreshed, None, generators, api_name=False).then(**runs[0], api_name=False)
    scores_tab.select(_answered(handlers.scores), None, scored, api_name="scores")
    curves_tab.select(_visited(gr, handlers), values, [values, plotted], api_name="visit_curves")
    values.change(_answered(handlers.curves), values, plotted, api_name="curves")
  return page


def _visited(gr: Any, handlers: Handlers) -> Callable[[Any], tuple[Any, str]]:
  """The handler of a visit of the tab of curves: (new list of logged values, curves).

  A run that trains may have written its first records, or other ones, since the page was opened.
  """

  def visit(values: Any) -> tuple[Any, str]:
    known, shown = handlers.logged(values)
    return gr.update(choices=known, value=shown), _answered(handlers.curves)(shown)

  return visit


def _shared_controls(gr: Any, handlers: Handlers) -> list[Any]:
  """Controls of all tabs: generators, frame rate, seed, truncation, number of frames."""
  newest = handlers.opened.newest()
  generators = gr.Dropdown(
    handlers.choices(), value=newest, multiselect=True, label="Runs and checkpoints, side by side"
  )
  with gr.Group():
    seed = gr.Number(0, label="Seed", precision=0)
    other = gr.Button("Another seed", size="sm")
  truncation = gr.Slider(
    0.05, 2, value=1, step=0.05, label="Truncation",
    info="Factor on the latents: below 1, clips are more alike and more typical.",
  )  # fmt: skip
  with gr.Accordion("Playback and length", open=False):
    rate = gr.Slider(1, 30, value=8, step=1, label="Frames per second")
    length = gr.Dropdown(list(_LENGTHS), value="as in training", label="Frames")
    pause = gr.Button("Play or pause all clips")
  pause.click(None, None, None, js=_PLAY)
  drawn = other.click(lambda: random.randrange(10_000), None, seed, api_name=False)
  drawn.then(None, None, None, js=_GENERATE)
  seed.submit(None, None, None, js=_GENERATE)
  truncation.release(None, None, None, js=_GENERATE)
  return [generators, rate, seed, truncation, length]


def _button(gr: Any) -> Any:
  return gr.Button("Generate", variant="primary", elem_classes="generate")


def _made(gr: Any, make: Callable, inputs: Sequence[Any], name: str, button: Any) -> dict[str, Any]:
  """Connects the button of a tab; returns the arguments of its event."""
  answer = gr.HTML(str(markup.note(_WAIT)), elem_classes="answer", min_height=120)
  event = dict(fn=_answered(make), inputs=list(inputs), outputs=answer)
  button.click(**event, api_name=name, concurrency_id="generator", concurrency_limit=1)
  return event


def _clips_tab(gr: Any, handlers: Handlers, shared: list[Any], classes: list[str]) -> dict:
  with gr.Row():
    chosen = gr.Dropdown(
      classes, value=classes[:_FIRST_CLASSES], multiselect=True, label="Classes",
      elem_classes="classes",
      visible=bool(classes), scale=3, min_width=260,
    )  # fmt: skip
    label = "Clips per class" if classes else "Clips"
    count = gr.Slider(
      1,
      MOST_CLIPS if not classes else 16,
      value=1 if classes else 8,
      step=1,
      label=label,
      scale=1,
      min_width=160,
    )
  button = _button(gr)
  return _made(gr, handlers.clips, [*shared, chosen, count], "clips", button)


def _mixtures_tab(gr: Any, handlers: Handlers, shared: list[Any], classes: list[str]) -> dict:
  with gr.Row():
    first = gr.Dropdown(classes, value=classes[0], label="From class", min_width=160)
    last = gr.Dropdown(classes, value=classes[1], label="To class", min_width=160)
    count = gr.Slider(2, 16, value=8, step=1, label="Clips", min_width=160)
  button = _button(gr)
  return _made(gr, handlers.mixtures, [*shared, first, last, count], "mixtures", button)


def _walk_tab(gr: Any, handlers: Handlers, shared: list[Any], classes: list[str]) -> dict:
  with gr.Row():
    name = gr.Dropdown(
      classes,
      value=classes[0] if classes else None,
      label="Class",
      visible=bool(classes),
      min_width=160,
    )
    count = gr.Slider(2, 16, value=8, step=1, label="Clips", min_width=160)
  button = _button(gr)
  return _made(gr, handlers.walk, [*shared, name, count], "walk", button)
