"""The README's six commands from UCF-101 to an exported model, run in an emptied environment.

The videos are synthetic and in UCF-101's layout. The I3D is a stand-in: a checkpoint in DeepMind's
form with the weights of --weights=random, so that the FVD means nothing. Flags make the sizes
small.
"""

import json
import os
import shlex
import subprocess
import sys

import av
import numpy as np
import pytest

from tests import docs_commands
from vidgan_jax.evaluation.features import random_weights
from vidgan_jax.evaluation.features.architectures import i3d
from vidgan_jax.weights import known
from vidgan_jax.weights.readers import tensor_bundle

# What is added to each command, in their order.
SMALL = {
  "pip install": "--quiet --no-deps",
  "vidgan prepare": "",
  "vidgan evaluate --convert": "--allow_unknown",  # random weights are no published file
  "vidgan train": "--config.num_iterations=2 --config.batch_size=2 --config.checkpoint_every=2 "
  "--config.sample_every=0 --config.model.latent_dim=8 --config.model.generator.image_channels=16 "
  "--config.model.generator.temporal_channels='(16,8,8,8)' --config.model.discriminator.channels=4",
  "vidgan evaluate --workdir": "--count=4 --real_count=4 --bootstrap=0 --batch_size=2 "
  "--standing_passes=1",
  "vidgan export": "--standing_passes=1",
}


def six_commands():
  """The commands of the README's section, as lists of words."""
  text = (docs_commands.ROOT / "README.md").read_text(encoding="utf-8")
  (section,) = (s for s in text.split("\n## ") if s.startswith("UCF-101 from folder to FVD"))
  block = section.split("```sh\n")[1].split("```")[0]
  return [shlex.split(line) for line in block.splitlines()]


def write_ucf101(folder):
  """Two classes of videos of 320x240, and the official lists' files."""
  names = {"ApplyEyeMakeup": 1, "Archery": 2}
  lists = {"trainlist01": [], "testlist01": []}
  for label, name in enumerate(names, start=1):
    (folder / "UCF-101" / name).mkdir(parents=True)
    for group in range(1, 5):
      video = f"{name}/v_{name}_g{group:02}_c01.avi"
      blocks = np.random.default_rng([label, group]).integers(
        256, size=(20, 6, 8, 3), dtype=np.uint8
      )
      with av.open(str(folder / "UCF-101" / video), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for image in blocks.repeat(40, axis=1).repeat(40, axis=2):
          file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        file.mux(stream.encode())
      if group == 1:
        lists["testlist01"].append(video)
      else:
        lists["trainlist01"].append(f"{video} {label}")
  lists["classInd"] = [f"{number} {name}" for name, number in names.items()]
  (folder / "ucfTrainTestlist").mkdir()
  for name, lines in lists.items():
    text = "".join(f"{line}\r\n" for line in lines)
    (folder / "ucfTrainTestlist" / f"{name}.txt").write_text(text, newline="")


def write_stand_in_i3d(folder):
  """A checkpoint with the names and shapes of rgb_scratch, and random numbers."""
  variables = random_weights.variables("i3d_kinetics400")
  arrays = {}
  for name in known.i3d_checksums()["rgb_scratch"]:
    array = variables[i3d.path_of(name)]
    shape = (1,) * (5 - array.ndim) + array.shape if name.endswith("/w") else array.shape
    arrays[f"RGB/inception_i3d/{name}"] = array.reshape(shape)
  tensor_bundle.write(folder / "model.ckpt", arrays)


def install(outside, folder, extra):
  """Installs a copy of the project as its README says; returns the folder of the package.

  Without a package index pip cannot build it, and the copy itself is used.
  """
  target = folder / "installed"
  words = [f"{outside.project}{extra}", *shlex.split(SMALL["pip install"]), "--target", target]
  done = subprocess.run(
    [sys.executable, "-m", "pip", "install", *words], capture_output=True, text=True, timeout=300
  )
  if "No matching distribution found for setuptools" in done.stderr:
    return outside.project
  assert done.returncode == 0, done.stderr
  return target


@pytest.fixture
def folder(tmp_path):
  write_ucf101(tmp_path)
  checkpoint = tmp_path / "kinetics-i3d" / "data" / "checkpoints" / "rgb_scratch"
  checkpoint.mkdir(parents=True)
  write_stand_in_i3d(checkpoint)
  return tmp_path


def test_the_six_commands(outside, folder):
  lines = six_commands()
  assert len(lines) == len(SMALL) == 6
  pip, *rest = lines
  assert pip[:2] == ["pip", "install"] and pip[2].startswith(".")
  package = install(outside, folder, pip[2][1:])
  variables = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": package}
  if cache := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
    variables["JAX_COMPILATION_CACHE_DIR"] = cache
  for words, (start, added) in zip(rest, list(SMALL.items())[1:], strict=True):
    assert shlex.join(words).startswith(start)
    command = [sys.executable, "-m", "vidgan_jax", *words[1:], *shlex.split(added)]
    result = outside.run(*command, cwd=folder, **variables)
    if start.endswith("--convert"):
      assert "is unknown" in result.stdout
  results = json.loads(
    (folder / "runs/ucf101/evaluation/fvd_unterthiner2018/results.json").read_text()
  )
  assert "fvd" in json.dumps(results) and "not verified" in json.dumps(results)
  assert (folder / "ucf101_model" / "export.json").exists()
  sample = ("sample", "--workdir=ucf101_model", "--output=out", "--standing_passes=1")
  outside.run(sys.executable, "-m", "vidgan_jax", *sample, cwd=folder, **variables)
  assert (folder / "out" / "grid.mp4").exists()
