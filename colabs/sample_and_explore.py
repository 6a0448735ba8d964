# %% [markdown]
# # Sample from a video GAN, and explore what it has learned
#
# This notebook draws clips from a trained generator and changes one thing at a time: the class, the
# truncation, the latent, the length, a mixture of classes. It takes less than two minutes on two
# CPU cores.

# %%
import os
import pathlib

import numpy as np

import vidgan_jax
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.files import video_writers
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.sampling import interpolation

compilation.enable_cache()  # the next session does not compile the same network again

MODEL = "moving_shapes"  # comes with the package; or the folder of a run or of an exported model
FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: fewer clips

# %% [markdown]
# ## Open a model
#
# `moving_shapes` is a small DVD-GAN. It generates clips of 6 frames of 32x32 pixels, in eight
# classes: four shapes that move to the left and right, or up and down. A model of yours is the
# folder of a training run, or one that `vidgan export` wrote.

# %%
run = vidgan_jax.load(MODEL)
classes = max(1, run.gan.num_classes)
names = list(run.class_names) or [f"class {label}" for label in range(classes)]
size = f"{run.gan.frames} frames of {run.gan.resolution}x{run.gan.resolution} pixels"
print(f"trained for {run.step} iterations; generates {size} in {classes} classes")

# %% [markdown]
# ## Classes
#
# Each row is a class (at most eight are shown). The clips of a row differ in their latent, a vector
# of random numbers. So a row shows how varied a class is, and the rows show what the class decides:
# here the shape and its motion. The number 0 is the seed: the same seed gives the same clips.

# %%
shown = list(range(min(8, classes)))
clips = run.sample(0, labels=np.repeat(shown, 6))
vidgan_jax.show(clips, rows=[names[label] for label in shown])

# %% [markdown]
# ## Truncation
#
# Truncation multiplies the latents. With small values, clips resemble each other, and have fewer
# faults. With 1, as in training, they differ most. Each column has the same latent apart from this
# factor. (Before it draws the first clip with another truncation, the model collects its batch
# statistics anew, which takes some seconds.)

# %%
truncations = [0.2, 0.5, 1.0] if not FAST else [0.5]
label = min(1, classes - 1)
rows = [run.sample(0, labels=[label] * 8, truncation=truncation) for truncation in truncations]
vidgan_jax.show(np.stack(rows), rows=[f"truncation {truncation:g}" for truncation in truncations])

# %% [markdown]
# ## From one latent to another
#
# Each row goes in eight equal steps from one random latent to another; the class stays. The first
# and the last clip are ordinary samples. If the clips between them change evenly, the generator has
# not memorised single clips.

# %%
key = streams.key(1, streams.SAMPLING)
latents, labels = interpolation.latent_walk(run.gan, key, shown[:4], steps=8)
clips = run.generate(latents, labels)
vidgan_jax.show(clips, rows=[names[label] for label in shown[:4]])

# %% [markdown]
# ## Longer clips
#
# The generator is recurrent, so it can go on after the length that it was trained on. Here it
# generates twice as many frames. Watch what happens in the second half.

# %%
longer = 2 * run.gan.frames
clips = run.sample(0, labels=shown, frames=longer)
vidgan_jax.show(clips, columns=4)

# %% [markdown]
# ## Keep clips
#
# As a video, and as an array that NumPy reads. In a terminal, `vidgan sample --workdir=MODEL
# --output=FOLDER --labels=0,3 --truncation=0.5` writes the same and more.

# %%
folder = pathlib.Path("clips")
folder.mkdir(exist_ok=True)
video_writers.write_mp4(folder / "first.mp4", clips[0], frame_rate=8, scale=4)
np.savez(folder / "clips.npz", clips=clips, labels=shown)
print(f"{len(clips)} clips {clips.shape} of {clips.dtype} are in {folder.resolve()}")

# %% [markdown]
# ## Mix classes
#
# This needs a model with classes. A class is a vector (its embedding), so classes can be mixed.
# Each row has one latent; its class goes from the first to the second in eight steps. What the
# latent decides, such as the colour, should stay.

# %%
pairs = [(0, 1), (0, classes // 2), (1, classes - 1)]
latents, weights = interpolation.class_walk(run.gan, key, np.ravel(pairs), steps=8)
clips = run.generate(latents, weights)
vidgan_jax.show(clips, rows=[f"{names[begin]} to {names[end]}" for begin, end in pairs])

# %% [markdown]
# You may also write the weights yourself: one number for each class. These clips are half of the
# first class and half of the second.

# %%
weights = np.zeros((16, classes), np.float32)
weights[:, :2] = 0.5
vidgan_jax.show(run.sample(2, labels=weights), columns=8)
