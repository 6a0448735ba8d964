"""The server of the page: Gradio's application, with the clips and without other hosts."""

import os
import socket
from collections.abc import Sequence
from typing import Any

# Gradio reads these when it is imported. Without them it asks its makers' hosts for its newest
# version and reports that it was started.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import fastapi
import gradio
import uvicorn
from fastapi.responses import FileResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from vidgan_jax.viewer import markup, page
from vidgan_jax.viewer.studio import Studio

# The browser then refuses every request to another host, whatever Gradio's scripts ask for.
_POLICY = (
  "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' "
  "blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: "
  "blob:; font-src 'self' data:; connect-src 'self' data: blob:; frame-ancestors 'self'"
)
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_CODE_FONT = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]


def make(studio: Studio, *, hosts: Sequence[str] = ("*",)) -> fastapi.FastAPI:
  """The application that serves the page and its clips.

  Args:
    studio: what the page shows.
    hosts: names of this machine that a browser may use; "*" is any. A page of another site whose
      name leads to 127.0.0.1 must not read this one.
  """
  app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
  app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

  @app.middleware("http")
  async def restrict(request: fastapi.Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response

  @app.get(f"/{markup.FOLDER}/{{name}}")
  def clip(name: str) -> FileResponse:
    path = studio.kept.path(name)
    if path is None:
      raise fastapi.HTTPException(404, "this clip was removed; generate it again")
    return FileResponse(path, media_type="video/mp4")  # answers requests for parts, as iOS needs

  theme = gradio.themes.Default(font=_FONT, font_mono=_CODE_FONT)
  return gradio.mount_gradio_app(
    app,
    page.build(studio),
    path="/",
    footer_links=[],
    theme=theme,
    css=page.style(),
    ssr_mode=False,
    mcp_server=False,
    enable_monitoring=False,
    max_file_size=0,
  )


def run(app: fastapi.FastAPI, listener: socket.socket) -> None:
  """Serves until a signal ends the process."""
  config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
  uvicorn.Server(config).run(sockets=[listener])
