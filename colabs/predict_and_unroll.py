# %% [markdown]
# # Predict frames, and generate long clips in stages
#
# This notebook trains two tiny models and shows what is special about them. The first continues
# given frames (DVD-GAN-FP). The second generates a clip in two stages (SSW-GAN): one makes a small
# clip, the next one doubles its frames, height and width, and unrolls to clips longer than in
# training. Each trains for less than a minute, so expect blurred shapes: look at the motion. The
# notebook takes less than five minutes on two CPU cores, most of them for compilation.

# %%
import os

import numpy as np

import vidgan_jax
from vidgan_jax.configs import dvd_gan_fp, ssw_gan
from vidgan_jax.runtime import streams
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.hardware import compilation
from vidgan_jax.sampling import conditioning, files, generation
from vidgan_jax.training import loop

FAST = bool(os.environ.get("VIDGAN_JAX_FAST"))  # set by tests: too short to see anything
FIELDS = {"savings": False}  # layers that compile faster and compute the same
if FAST:  # tiny networks, and no discriminator that looks at motion
  FIELDS |= {"generator.multipliers": (2, 1), "discriminator.multipliers": (1, 2)}
  FIELDS |= {"discriminator.temporal": False}

compilation.enable_cache()  # the next session does not compile the same networks again


def train(config, folder, iterations):
  """Trains a tiny model on plain moving shapes, unless it is trained; returns its folder."""
  model = config.model
  while model:  # then the first stage, in the second part of this notebook
    schema.set_fields(model, FIELDS)
    model = model.get("earlier")
  config.num_iterations = 2 if FAST else iterations
  config.batch_size = 8
  config.log_every = config.checkpoint_every = max(1, config.num_iterations // 4)
  config.data.num_examples = 10_000
  loop.Trainer(config, folder).run()
  return folder


# %% [markdown]
# ## Frame prediction
#
# `shapes_fp` gets three frames and generates the five that follow. `runlocal` shrinks it to 16x16
# pixels. An encoder reads the given frames, and its result is the first state of the recurrent
# generator; the rest is DVD-GAN.

# %%
config = dvd_gan_fp.get_config("shapes_fp,runlocal")
if FAST:
  schema.set_fields(config.model, {"resolution": 8, "frames": 4})
folder = train(config, "runs/prediction", 250)
run = vidgan_jax.load(folder)
print(f"{run.gan.given_frames} given frames, {run.gan.frames} frames in all")

# %% [markdown]
# Each row is one clip of the test set, which the model has never seen. The first clip of a row is
# the true one. The others continue its first three frames, which have a coloured border; each has
# other latents. A good model keeps colour and shape and goes on in the same direction. Where the
# future is open, its continuations differ. Here almost everything is decided by three frames, so
# they should nearly agree.

# %%
run.conditioning = conditioning.of_split(run.config, run.gan, "test")
given = run.conditioning(0, 4)
futures = run.predict(given, futures=4)
clips = np.concatenate([given[:, None], futures], axis=1)
marked = [files.marked(row, run.gan.given_frames) for row in clips]
vidgan_jax.show(np.stack(marked), rows=[f"clip {number}" for number in range(4)])

# %% [markdown]
# How far is the prediction from the truth, frame by frame? The second line is what "nothing moves
# any more" would get: the last given frame, repeated. A prediction is worth something where it is
# smaller. After so little training it often is not.

# %%
many = run.conditioning(0, 64)
truth = many.astype(np.float32)
predicted = run.predict(many, futures=1)[:, 0].astype(np.float32)
repeated = np.repeat(
  truth[:, run.gan.given_frames - 1 : run.gan.given_frames], run.gan.frames, axis=1
)
for name, frames in {"predicted": predicted, "repeated": repeated}.items():
  errors = np.sqrt(np.mean((frames - truth) ** 2, axis=(0, 2, 3, 4)))[run.gan.given_frames :]
  print(f"{name:10}", " ".join(f"{error:6.1f}" for error in errors), " (root mean square, of 255)")

# %% [markdown]
# The recurrent generator goes on after the length of training, here to twice as many frames.

# %%
longer = run.predict(given, futures=2, length=2 * run.gan.frames)
marked = [files.marked(row, run.gan.given_frames) for row in longer]
vidgan_jax.show(np.stack(marked), rows=[f"clip {number}" for number in range(4)])

# %% [markdown]
# ## Clips in stages
#
# The first stage generates 24 frames of 8x8 pixels. It is trained first, and then frozen. The
# second stage gets windows of 6 of its frames and makes 12 frames of 16x16 pixels of them. The
# published second stage also has a discriminator for motion. It is left out here, because it would
# take another half minute to compile.

# %%
first = train(ssw_gan.get_config("shapes_stage1,runlocal"), "runs/stage1", 150)

# %%
config = ssw_gan.get_config("shapes_stage2,runlocal")
config.model.earlier_run = first
config.model.discriminator.temporal = False
if FAST:
  config.model.discriminator.matching = False
second = train(config, "runs/stage2", 100)
run = vidgan_jax.load(second)

# %% [markdown]
# Now the whole cascade: the second stage runs over all 24 frames of the first stage, and generates
# 48, four times as many as it was trained on. In each clip the first stage is on the left,
# enlarged, with each frame shown twice, and the second one on the right. The right side follows the
# left one: what moves and where is decided by the first stage, and the second one adds detail.

# %%
labels, frames = np.arange(4), 2 * config.model.earlier.frames
key = streams.key(0, streams.SAMPLING)
latents = generation.draw_latents(run.gan, key, len(labels), frames=frames)
stages = run.generate(latents, labels, key=key, frames=frames, show_stages=True)
vidgan_jax.show(stages, rows=[run.class_names[label] for label in labels], columns=1)

# %% [markdown]
# ## What next
#
# * `launch/cascade.sh` of the project trains all stages of a cascade with one command, and
#   docs/ssw_gan.md explains them.
# * `vidgan sample --workdir=runs/prediction --output=FOLDER --conditioning=test --futures=4` writes
#   predictions as files. docs/frame_prediction.md has the configs of BAIR and Kinetics-600.
# * Longer training: raise the iterations above; the runs continue.
