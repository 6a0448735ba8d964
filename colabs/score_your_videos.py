# %% [markdown]
# # Score generated videos against real ones
#
# This notebook compares two folders of videos: real ones, and those that a model generated (with
# any code, not only with this). It prints distances, precision and recall, and shows what such
# numbers see and what they do not. It takes less than two minutes on two CPU cores.

# %%
import os
import pathlib

import numpy as np

import vidgan_jax
from vidgan_jax import evaluation
from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.evaluation import motion_controls
from vidgan_jax.evaluation.report import results
from vidgan_jax.evaluation.statistics import controls
from vidgan_jax.runtime.files import video_files, video_writers
from vidgan_jax.runtime.hardware import compilation

REAL = ""  # folder of real videos; "" makes an example
GENERATED = ""  # folder of generated videos; "" makes an example
PROTOCOL = (
  "moving_shapes"  # see "Your videos" below: FVD needs a network that is not part of the package
)
FRAMES, SIZE = 12, 32  # the first frames of each video are used, cut to a square of SIZE pixels

FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: too few clips for meaningful numbers
COUNT = 32 if FAST else 400  # videos of each example folder

compilation.enable_cache()  # the next session does not compile the same networks again

# %% [markdown]
# ## An example
#
# Real: clips of the built-in moving shapes. Generated: other clips of the same kind with two
# faults, as models have them. Every fifth clip stands still, and all are a little blurred. Both are
# written as MP4 files, like those of a model.


# %%
def write_example(folder, split, damaged):
  """Writes COUNT videos of moving shapes; with `damaged`, blurred, and every fifth one frozen."""
  source = MovingShapes(COUNT, FRAMES, SIZE, 8, seed=0, split=split, variety=0.0)
  clips = np.stack([source.example(n, np.random.default_rng(0))[0] for n in range(COUNT)])
  if damaged:
    wide = np.pad(clips.astype(np.float32), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    blurred = sum(wide[:, :, y : y + SIZE, x : x + SIZE] for y in range(3) for x in range(3)) / 9
    clips = np.round(blurred).astype(np.uint8)
    clips[::5] = clips[::5, :1]
  folder.mkdir(parents=True, exist_ok=True)
  for number, clip in enumerate(clips):
    video_writers.write_mp4(folder / f"{number:05d}.mp4", clip, frame_rate=8)
  return folder


real_folder = REAL or write_example(pathlib.Path("videos/real"), "train", damaged=False)
generated_folder = GENERATED or write_example(
  pathlib.Path("videos/generated"), "test", damaged=True
)

# %% [markdown]
# ## Read the videos
#
# All clips get the same number of frames and the same size; videos that are too short are left out.
# A file that is damaged is refused with its name.


# %%
def read_folder(folder):
  """All videos in a folder and the folders in it, as uint8 [N, FRAMES, SIZE, SIZE, 3]."""
  clips = []
  for path in sorted(pathlib.Path(folder).rglob("*")):
    if path.suffix.lower() in (".mp4", ".avi", ".mov", ".mkv", ".webm", ".gif"):
      frames, _ = video_files.read_video(path, short_side=SIZE)
      top, left = (frames.shape[1] - SIZE) // 2, (frames.shape[2] - SIZE) // 2
      if len(frames) >= FRAMES:
        clips.append(frames[:FRAMES, top : top + SIZE, left : left + SIZE])
  print(f"{folder}: {len(clips)} clips")
  return np.stack(clips)


real, generated = read_folder(real_folder), read_folder(generated_folder)
vidgan_jax.show(np.stack([real[:8], generated[:8]]), rows=["real", "generated"])

# %% [markdown]
# ## Scores
#
# A network turns each clip into a vector of features; the scores compare the two clouds of vectors.
#
# * **fid**, or **fvd** with a video network: the distance of the clouds, if both were Gaussian. 0
#   is best. It depends on the number of clips, so compare only numbers with equally many.
# * **precision**: the share of generated clips that are near real ones. Low: clips look wrong.
# * **recall**: the share of real clips that are near generated ones. Low: something is never made.
# * "real clips" is the score of real clips against other real ones: what a perfect model would get.
#
# Square brackets hold 95 % intervals. The clips have no labels here, so accuracy and diversity are
# left out.

# %%
protocol = evaluation.get_protocol(PROTOCOL)
extractors = evaluation.load_extractors(protocol)
evaluator = evaluation.Evaluator(protocol, extractors, report=lambda line: None)
reference = evaluator.reference(evaluation.ArrayClips(real))
scores = evaluator.score(
  evaluation.ArrayClips(generated), reference, count=len(generated), labelled=False
)
print("\n".join(results.table({"records": scores.records})))

# %% [markdown]
# ## Do these scores see motion?
#
# A score that ignores motion is no score of videos. So real clips are damaged in their motion
# alone, and scored like generated ones: frozen (one frame repeated), shuffled (frames in random
# order), reversed. "unharmed" is the score of undamaged real clips. A distance that sees motion is
# much larger for frozen and shuffled clips. Shapes that move to and fro look the same backwards, so
# "reversed" should stay low in this example.

# %%
real_clips = evaluation.ArrayClips(real)
damaged = np.stack(
  [real[:6], *(controls.apply(name, real[:6], None, 0, 0) for name in controls.MOTIONS)]
)
vidgan_jax.show(damaged, rows=["unharmed", *controls.MOTIONS])

# %%
records = motion_controls.score(evaluator, real_clips, reference, count=len(generated))
print("\n".join(results.control_lines(records)))

# %% [markdown]
# ## Fewer clips, larger distance
#
# The same generated clips, but fewer of them: the distance grows, although the model is the same.
# So a distance is only comparable at equal numbers. Papers take 2,048 clips or more.

# %%
distances = [metric for metric in scores.records if metric["metric"] in ("fid", "fvd")]
name = distances[0]["metric"]
for count in (len(generated) // 4, len(generated) // 2, len(generated)):
  fewer = evaluator.score(
    evaluation.ArrayClips(generated[:count]), reference, count=count, labelled=False, floor=False
  )
  value = next(record["value"] for record in fewer.records if record["metric"] == name)
  print(f"{name} of {count:4d} clips: {value:.1f}")

# %% [markdown]
# ## Your videos
#
# Name your folders as `REAL` and `GENERATED`, and choose a network that knows such videos. The
# network in the package was trained on the moving shapes alone: for other videos its numbers mean
# nothing.
#
# FVD uses I3D, trained on Kinetics-400. Its file is not part of the package. Convert it once in a
# terminal, then set `PROTOCOL = "fvd_unterthiner2018"`, and `FRAMES = 16`, `SIZE = 64` or larger:
#
# ```
# vidgan evaluate --convert=i3d_kinetics400 --source=FILE_OR_FOLDER
# vidgan evaluate --list
# ```
#
# The second command lists all protocols. Scores for a paper are best made in a terminal, with
# `vidgan evaluate --clips=FILE.npz --real=FILE.npz --protocol=NAME --output=DIR`: it writes a
# report, and a fingerprint of all settings beside each number.
