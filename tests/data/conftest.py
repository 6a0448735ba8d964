import os

import numpy as np
import pytest


@pytest.fixture(scope="session")
def ramp():
  """A function (frames, height, width) of a clip with the channels row, column and time."""

  def make(frames, height, width):
    time, row, column = np.mgrid[:frames, :height, :width]
    return np.stack([row, column, time], axis=-1).astype(np.uint8)

  return make


@pytest.fixture(scope="session")
def textured():
  """A function (frames, height, width, seed) that returns a clip with edges and noise."""

  def make(frames, height, width, seed=0):
    generator = np.random.default_rng(seed)
    time, row, column = np.mgrid[:frames, :height, :width]
    slopes = generator.integers(1, 6, size=(3, 3))
    clip = np.stack([a * time + b * row + c * column for a, b, c in slopes], axis=-1)
    return (clip + generator.integers(20, size=clip.shape)).astype(np.uint8)

  return make


@pytest.fixture
def unreadable(monkeypatch):
  """A function that makes a folder unreadable, even for the superuser."""
  hidden, scandir, listdir = set(), os.scandir, os.listdir

  def refusing(read):
    def call(path="."):
      if os.path.abspath(path) in hidden:
        raise PermissionError(13, "Permission denied", os.fspath(path))
      return read(path)

    return call

  monkeypatch.setattr(os, "scandir", refusing(scandir))
  monkeypatch.setattr(os, "listdir", refusing(listdir))
  return lambda path: hidden.add(os.path.abspath(path))
