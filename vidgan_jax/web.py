r"""Shows what trained runs and exported models generate, on a page in the browser.

  vidgan web --workdir=DIR
  vidgan web --workdir=DIR,DIR --port=0
  vidgan web --workdir=DIR --host=0.0.0.0

Several runs, exported models and checkpoints stand side by side, with the same seed and the same
classes. The page plays clips by class, mixtures of classes and interpolations between latents, at
any truncation; each clip can be downloaded as MP4. It also shows the scores that `evaluate` wrote
to WORKDIR/evaluation, and the curves of log.jsonl.

The page is served by this machine until Ctrl-C, by default to its own browsers alone (127.0.0.1).
It loads nothing from other hosts. Nothing is written to the folders. It has no password: whoever
reaches the address of --host can use it.

Needs Gradio: pip install -r requirements-web.txt, or the extra vidgan_jax[web].

Exit codes: 0 done; 1 a network or a bucket failed (try again), or a bug; 2 bad input; 130 Ctrl-C.
"""

from vidgan_jax.runtime import door
from vidgan_jax.runtime.config import base_switches, requests, schema
from vidgan_jax.viewer.request import Request

requests.define(Request)
_CACHE = schema.define("compilation_cache", base_switches.COMPILATION_CACHE)


def main(argv):
  """Serves the page until the process is stopped."""
  del argv
  from vidgan_jax.viewer import listening

  request = requests.read(Request)
  listening.check(request)  # imports neither JAX nor Gradio
  with listening.opened(request.host, request.port) as listener:
    from vidgan_jax.runtime.hardware import compilation  # imports JAX
    from vidgan_jax.viewer import cli

    compilation.enable_cache(_CACHE.value, door.report)
    cli.serve(request, listener, report=door.report)


if __name__ == "__main__":
  door.run(main)
