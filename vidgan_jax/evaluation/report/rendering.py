"""Renders the templates of the report page. All text is escaped where a template prints it."""

import base64
import functools
import hashlib
import importlib.resources
from typing import Any

import jinja2
from markupsafe import Markup

from vidgan_jax.runtime.text import printable


def _read(name: str) -> str:
  """Text of a file in the folder `templates`, also where the package is in a zip file."""
  folder = importlib.resources.files(__package__) / "templates"
  return (folder / name).read_text(encoding="utf-8")


def _one_line(value: Any) -> Any:
  """Text without line breaks and control characters; HTML (`Markup`) is unchanged."""
  return value if isinstance(value, Markup) else printable(str(value))


@functools.cache
def _environment() -> jinja2.Environment:
  return jinja2.Environment(
    loader=jinja2.FunctionLoader(_read),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_one_line,
    trim_blocks=True,
    lstrip_blocks=True,
  )


def render(template: str, **values: Any) -> Markup:
  """HTML of a section.

  Args:
    template: name of a file in the folder `templates`.
    **values: what the template prints. Text is escaped; `Markup` is printed as it is.

  Raises:
    jinja2.UndefinedError: the template needs a value that is missing.
  """
  return Markup(_environment().get_template(template).render(values))


def page(**values: Any) -> Markup:
  """The whole document with its style and script; see `render` and `templates/page.html`."""
  script = _read("script.js")
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  return render(
    "page.html",
    style=Markup(_read("style.css")),
    script=Markup(script),
    script_digest=digest,
    **values,
  )
