# %% [markdown]
# # Score generated videos against real ones
#
# This notebook compares two folders of videos: real ones, and those that a model generated (with
# any code, not only with this). It prints distances, precision and recall, and shows what such
# numbers see and what they do not. It takes less than two minutes on two CPU cores.

# %%
import os
import pathlib
import subprocess
import sys

import numpy as np

import vidgan_jax
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.evaluation.statistics import controls
from vidgan_jax.runtime.files import video_files, video_writers

REAL = ""  # folder of real videos; "" makes an example
GENERATED = ""  # folder of generated videos; "" makes an example
PROTOCOL = "moving_shapes"  # for your videos "fvd", see the end
FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: too few clips for meaningful numbers
COUNT = 32 if FAST else 400  # how many generated videos are scored
FRAMES = 12  # how many frames of each video are compared

# %% [markdown]
# ## An example
#
# Real: clips of the built-in moving shapes. Generated: other clips of the same kind with two
# faults, as models have them. Every fifth clip stands still, and all are a little blurred. Both are
# written as MP4 files, like those of a model.


# %%
def write_example(folder, split, damaged):
  """Writes COUNT videos of moving shapes; with `damaged`, blurred, and every fifth one frozen."""
  source = MovingShapes(COUNT, FRAMES, 32, 8, seed=0, split=split, variety=0.0)
  os.makedirs(folder, exist_ok=True)
  for number in range(COUNT):
    clip, _ = source.example(number, np.random.default_rng(0))
    if damaged:
      wide = np.pad(clip.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
      clip = sum(wide[:, y : y + 32, x : x + 32] for y in range(3) for x in range(3)) / 9
      clip = np.round(clip if number % 5 else clip[[0] * FRAMES]).astype(np.uint8)
    video_writers.write_mp4(f"{folder}/{number:05d}.mp4", clip, frame_rate=8)
  return folder


real = REAL or write_example("videos/real", "train", damaged=False)
generated = GENERATED or write_example("videos/generated", "test", damaged=True)


def first_clips(folder):
  """The first eight videos of a folder, as uint8 [8, FRAMES, H, W, 3]."""
  files = [path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()]
  return np.stack([video_files.read_video(path)[0][:FRAMES] for path in files[:8]])


# %% [markdown]
# Eight real videos:

# %%
vidgan_jax.show(first_clips(real), columns=8)

# %% [markdown]
# Eight generated ones:

# %%
vidgan_jax.show(first_clips(generated), columns=8)

# %% [markdown]
# ## Scores
#
# A network turns each clip into a vector of features; the scores compare the two clouds of vectors.
#
# * **fid**, or **fvd** with a video network: the distance of the clouds, if both were Gaussian. 0
#   is best. It depends on the number of clips, so compare only numbers with equally many.
# * **precision**: the share of generated clips that are near real ones. Low: clips look wrong.
# * **recall**: the share of real clips that are near generated ones. Low: something is never made.
# * **density** and **coverage**: the same two, less sensitive to single odd clips. **kvd**: another
#   distance. **is**: the Inception Score, which ignores the real clips.
# * "real against real" is the score of real clips compared with other real ones: what a perfect
#   model would get.
#
# Square brackets hold 95 % intervals. The example has no classes, so accuracy and diversity are
# left out; videos in `FOLDER/CLASS` have classes.
#
# The second table tells whether these scores see motion. Real clips are damaged in their motion
# alone, and scored like generated ones: frozen (one frame repeated), shuffled (frames in random
# order), reversed. "unharmed" is the score of undamaged real clips. A score that sees motion is
# much worse for frozen and shuffled clips. Shapes that move to and fro look the same backwards, so
# "reversed" is no worse here.


# %%
def evaluate(folder, count, *flags):
  """Runs `vidgan evaluate`, as in a terminal, and shows what it prints."""
  command = ["evaluate", f"--clips={generated}", f"--real={real}", f"--protocol={PROTOCOL}"]
  command += [f"--frames={FRAMES}", f"--count={count}", f"--output={folder}", *flags]
  print("vidgan", *command)
  done = subprocess.run(
    [sys.executable, "-m", "vidgan_jax", *command],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  print(*dict.fromkeys(done.stdout.splitlines()), sep="\n")  # equal lines once
  done.check_returncode()


evaluate("scores", COUNT, "--controls")

# %% [markdown]
# The same damage to the eight real clips from above:

# %%
clips = first_clips(real)
damaged = [clips, *(controls.apply(name, clips, None, 0, 0) for name in controls.MOTIONS)]
vidgan_jax.show(np.stack(damaged), rows=["unharmed", *controls.MOTIONS])

# %% [markdown]
# ## Fewer clips, larger distance
#
# The same generated videos, but a quarter of them: the distance grows, although the model is the
# same. So a distance is only comparable at equal numbers. Papers take 2,048 clips or more.

# %%
evaluate("scores_of_fewer", COUNT // 4)

# %% [markdown]
# ## Your videos
#
# Name your folders as `REAL` and `GENERATED`. Folders of videos, folders of pictures and zips of
# both are read. The network in the package was trained on the moving shapes alone: for other videos
# its numbers mean nothing. FVD uses I3D, trained on Kinetics-400, whose file is not part of the
# package. Convert it once in a terminal, then set `PROTOCOL = "fvd"`, `FRAMES = 16`,
# and as `COUNT` the number of your generated videos, at most 2,048:
#
# ```
# vidgan evaluate --convert=i3d_kinetics400 --source=FILE_OR_FOLDER
# vidgan evaluate --list
# ```
#
# The second command lists all protocols. Each evaluation writes `report.html` and `results.json` to
# its folder, with a fingerprint of all settings beside each number.
