"""Joining other processes."""

import os

import jax
import pytest

from vidgan_jax.runtime import processes
from vidgan_jax.runtime.errors import UserError

PROXIES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTPS_PROXY", "no_proxy")


@pytest.mark.parametrize("arguments", [("localhost:1", 2, 1), ("auto", None, None)])
def test_processes_do_not_talk_through_a_proxy(monkeypatch, arguments):
  """It would swallow what they say, and each would wait for minutes."""
  for name in PROXIES:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
  seen = []
  monkeypatch.setattr(jax.distributed, "initialize", lambda *_: seen.append(dict(os.environ)))
  processes.start(*arguments)
  (environment,) = seen
  assert not set(PROXIES) & set(environment)


def test_a_process_by_itself_keeps_its_proxies(monkeypatch):
  monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
  processes.start(None, None, None)
  assert os.environ["https_proxy"] == "http://127.0.0.1:9"


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    ((None, 2, 0), "need --coordinator"),
    (("host", 2, 0), "must be host:port"),
    (("host:1", None, 0), "--num_processes"),
    (("host:1", 2, 2), "is not one of 2"),
    (("host:1", 2, -1), "is not one of 2"),
  ],
)
def test_wrong_arguments_are_one_line(arguments, words):
  with pytest.raises(UserError, match=words):
    processes.start(*arguments)
