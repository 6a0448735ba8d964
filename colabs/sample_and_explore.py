# %% [markdown]
# # Sample from a video GAN, and explore what it has learned
#
# This notebook draws clips from a trained generator and changes one thing at a time: the class, the
# truncation, the latent, a mixture of classes, and the length. It takes less than five minutes on
# two CPU cores; with a trained run of yours, less than two.

# %%
import os
import pathlib

import numpy as np

import vidgan_jax
from vidgan_jax.configs import quickstart
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError
from vidgan_jax.runtime.files import video_writers
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.sampling import interpolation
from vidgan_jax.training import loop

RUN = ""  # folder of a run or an exported model of yours; "" takes the model of the package
FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: too short to see anything

compilation.enable_cache()  # the next session does not compile the same networks again

# %% [markdown]
# ## Open a model
#
# `vidgan_jax.load` opens the folder of a training run, or one that `vidgan export` wrote. If you
# name none and the package has no model, the next cell trains a small DVD-GAN on the built-in
# moving shapes: 32x32 pixels, 6 frames, eight classes. A second run of the cell finds it trained.


# %%
def small_model():
  """Trains a small model in runs/quickstart, unless it is trained; returns the folder."""
  config = quickstart.get_config()
  config.num_iterations = 2 if FAST else 500
  if FAST:  # tiny networks, which compile in seconds
    tiny = {"resolution": 8, "savings": False, "generator.multipliers": (2, 1)}
    schema.set_fields(config.model, tiny | {"discriminator.multipliers": (1, 2)})
  loop.Trainer(config, "runs/quickstart").run()
  return "runs/quickstart"


try:
  run = vidgan_jax.load(RUN or "moving_shapes")
except UserError as error:
  if RUN:
    raise
  print(f"The package has no model ({error}). A small one is trained here.")
  run = vidgan_jax.load(small_model())

classes = max(1, run.gan.num_classes)
names = list(run.class_names) or [f"class {label}" for label in range(classes)]
size = f"{run.gan.frames} frames of {run.gan.resolution} pixels"
print(f"trained for {run.step} iterations: {size}, {classes} classes")

# %% [markdown]
# ## Classes
#
# Four clips of each class (at most eight classes). The number 0 is the seed: the same seed gives
# the same bytes. Within a row only the latent differs, so you see how varied a class is. Between
# rows you see what the class decides; here that is the shape and its motion. A model that is
# trained for only 500 iterations confuses shapes; the motion is right earlier.

# %%
shown = list(range(min(8, classes)))
clips = run.sample(0, labels=np.repeat(shown, 4))
vidgan_jax.show(clips, rows=[names[label] for label in shown])

# %% [markdown]
# ## Truncation
#
# Truncation multiplies the latents. Small values stay near the middle of what the generator knows:
# the clips of a row resemble each other, and have fewer faults. At 1, as in training, they differ
# most. All rows have the same latents apart from this factor.

# %%
truncations = [0.2, 0.5, 1.0] if not FAST else [0.5]
label = min(1, classes - 1)
rows = [run.sample(0, labels=[label] * 6, truncation=truncation) for truncation in truncations]
vidgan_jax.show(np.stack(rows), rows=[f"truncation {truncation:g}" for truncation in truncations])

# %% [markdown]
# ## Interpolation between two latents
#
# Each row goes in eight equal steps from one random latent to another; the class stays. The clips
# at both ends are ordinary samples. If the clips between them change evenly, the generator has not
# memorised single clips.

# %%
key = streams.key(1, streams.SAMPLING)
latents, labels = interpolation.latent_walk(run.gan, key, shown[:3], steps=8)
vidgan_jax.show(
  run.generate(latents, labels), columns=8, rows=[names[label] for label in shown[:3]]
)

# %% [markdown]
# ## Mixing classes
#
# A class is a vector (its embedding), so classes can be mixed. Each row has one latent; its class
# goes from the first to the second in eight steps. What the latent decides, such as the colour,
# should stay. (Leave the next two cells out for a model without classes.)

# %%
pairs = [(0, 1), (0, classes // 2), (1, classes - 1)]
latents, weights = interpolation.class_walk(run.gan, key, np.ravel(pairs), steps=8)
rows = [f"{names[begin]} to {names[end]}" for begin, end in pairs]
vidgan_jax.show(run.generate(latents, weights), columns=8, rows=rows)

# %% [markdown]
# You may also write the weights yourself: one number for each class. These clips are half of the
# first class and half of the second.

# %%
weights = np.zeros((8, classes), np.float32)
weights[:, :2] = 0.5
vidgan_jax.show(run.sample(2, labels=weights), columns=8)

# %% [markdown]
# ## Longer clips
#
# The generator is recurrent, so it can go on after the length that it was trained on. The first
# frames are as good as above. Watch when the shapes lose their form: a model that was trained on 6
# frames does so soon afterwards.

# %%
longer = 2 * run.gan.frames
clips = run.sample(0, labels=shown[:4], frames=longer)
vidgan_jax.show(clips, columns=4)

# %% [markdown]
# ## Keep clips
#
# As a video, and as an array that NumPy reads. In a terminal, `vidgan sample --workdir=RUN
# --output=FOLDER --labels=0,3 --truncation=0.5` writes the same and more.

# %%
folder = pathlib.Path("clips")
folder.mkdir(exist_ok=True)
video_writers.write_mp4(folder / "first.mp4", clips[0], frame_rate=8, scale=4)
np.savez(folder / "clips.npz", clips=clips, labels=shown[:4])
print(f"{len(clips)} clips {clips.shape} of {clips.dtype} are in {folder.resolve()}")
