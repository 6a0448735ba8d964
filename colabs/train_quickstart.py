# %% [markdown]
# # Train a video GAN from nothing
#
# This notebook trains a small class-conditional DVD-GAN on generated videos of moving shapes, and
# looks at the data, the losses and the clips on the way. It takes less than five minutes on two CPU
# cores, and less on a GPU. The same code trains the models of the papers; only the config differs.

# %%
import os
import pathlib

import numpy as np
from IPython.display import Image

import vidgan_jax
from vidgan_jax.configs import quickstart
from vidgan_jax.data import build
from vidgan_jax.runtime.checkpoints import Checkpoints
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.training import curves, loop
from vidgan_jax.training import state as states

compilation.enable_cache()  # the next session does not compile the same networks again

FOLDER = "runs/quickstart"
FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: too short to see anything
ITERATIONS = 2 if FAST else 500

# %% [markdown]
# ## The config
#
# A config has every setting of an experiment. `quickstart` is one of those that come with the
# package; docs/settings.md explains the fields.

# %%
config = quickstart.get_config()
config.num_iterations = ITERATIONS
config.checkpoint_every = max(1, ITERATIONS // 5)
config.checkpoints_kept = 5
config.log_every = max(1, ITERATIONS // 50)
if FAST:  # tiny networks, which compile in seconds
  tiny = {"resolution": 8, "savings": False, "generator.multipliers": (2, 1)}
  schema.set_fields(config.model, tiny | {"discriminator.multipliers": (1, 2)})
print(config.model.to_json_best_effort(indent=2))

# %% [markdown]
# ## The data
#
# Eight classes: four shapes times two directions. Each row is one class. Size and colour are random
# and the shapes move at different speeds. The clips are drawn when they are needed, so there is
# nothing to download.

# %%
source = build.build_source(
  config.data,
  frames=config.model.frames,
  resolution=config.model.resolution,
  num_classes=config.model.num_classes,
)
classes = len(source.class_names)
real = [
  source.example(n * classes + c, np.random.default_rng(0))[0]
  for c in range(classes)
  for n in range(4)
]
vidgan_jax.show(np.stack(real), rows=source.class_names)

# %% [markdown]
# ## Train
#
# The first minute goes into compiling one iteration: an update of two discriminators (one looks at
# single frames, the other at motion) and one of the generator. Then a line appears at least once
# per minute.
#
# Checkpoints are in `runs/quickstart`. If you interrupt the cell while it trains, it saves one and
# stops; the same cell continues from it, bit for bit on a CPU. (If you interrupt it while it
# compiles, the session ends.) A larger `num_iterations` goes on from here.

# %%
state = loop.Trainer(config, FOLDER).run()

# %% [markdown]
# ## Losses
#
# Both losses of a GAN stay near a constant; a loss that falls to zero is a bad sign. "mean score"
# is more telling: what the discriminators think of real and of generated clips. As long as the two
# curves are apart but do not run away from each other, both sides learn.

# %%
curves.plot(f"{FOLDER}/log.jsonl", f"{FOLDER}/curves.png")
Image(filename=f"{FOLDER}/curves.png", width=1000)

# %% [markdown]
# ## Clips on the way
#
# Each row is a checkpoint, each column the same latent and class at all checkpoints. At first there
# is a blot of colour. Then it moves in the right direction. The shapes become clear only later:
# after 500 iterations most of them are not, after 1200 they are, and the last frames are still
# blurred after 1200 (the README has figures).

# %%
steps = Checkpoints(pathlib.Path(FOLDER) / states.CHECKPOINTS).steps()
rows = [vidgan_jax.load(FOLDER, step=step).sample(0, labels=range(classes)) for step in steps]
vidgan_jax.show(np.stack(rows), rows=[f"iteration {step}" for step in steps])

# %% [markdown]
# ## What next
#
# * Longer: `ITERATIONS = 3000` above takes about 16 minutes on two cores and gives clear shapes.
# * Scores: `vidgan evaluate --workdir=runs/quickstart` in a terminal, or the notebook
#   `score_your_videos`.
# * Your videos: a folder with one folder of videos per class. Set `config.data.name =
#   "video_folder"`, `config.data.directory = "MY_VIDEOS"` and `config.model.num_classes` before the
#   cell that shows the data, and another `FOLDER`.
# * The papers' models: `vidgan train --config=dvd_gan:kinetics600_64x12 --workdir=DIR`. First look
#   at what it costs: `vidgan summarize --config=dvd_gan:kinetics600_64x12`.
# * More samples of this run: the notebook `sample_and_explore` with `MODEL = "runs/quickstart"`.
