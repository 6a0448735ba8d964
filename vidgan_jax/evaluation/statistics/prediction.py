"""How near predicted frames are to the true ones: PSNR and SSIM of uint8 clips.

Both are means over the predicted frames of a clip, without the given ones.

* PSNR of a frame is 10 log10(255^2 / MSE). MSE, the mean square error over pixels and channels, is
  taken as at least 1/12, the error of rounding to whole grey levels; so an exact copy has a PSNR of
  58.9 dB and not infinity.
* SSIM (Wang et al. 2004) is computed for each channel with a Gaussian window of 11x11 pixels and
  standard deviation 1.5, constants 0.01 and 0.03, without padding, and averaged.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_LEAST_ERROR = 1 / 12
LEAST_SIZE = _WINDOW = 11  # of the window of SSIM, and so the smallest height of frames
_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


@functools.partial(jax.jit, static_argnums=2)
def quality(clips: jax.Array, true: jax.Array, given: int) -> dict[str, jax.Array]:
  """PSNR and SSIM of predicted clips, and of clips that repeat the last given frame.

  Args:
    clips: uint8 [N, T, H, W, 3], predictions.
    true: uint8 [N, T, H, W, 3], the clips that were continued.
    given: number of given frames at the start.

  Returns:
    {"psnr", "ssim", "psnr_repeat", "ssim_repeat": float32 [N]}.
  """
  last = jnp.broadcast_to(true[:, given - 1 : given], true[:, given:].shape)
  values = {}
  for suffix, predicted in (("", clips[:, given:]), ("_repeat", last)):
    # Frame by frame, because the sums of SSIM in float32 need several times a clip's memory.
    frames = jax.lax.map(
      lambda pair: (psnr(*pair), ssim(*pair)),
      (jnp.moveaxis(predicted, 1, 0), jnp.moveaxis(true[:, given:], 1, 0)),
    )
    values["psnr" + suffix], values["ssim" + suffix] = (jnp.mean(v, axis=0) for v in frames)
  return values


def psnr(predicted: jax.Array, true: jax.Array) -> jax.Array:
  """PSNR in dB of frames uint8 [N, H, W, C]: float32 [N]; see the module's docstring."""
  error = predicted.astype(jnp.float32) - true.astype(jnp.float32)
  mse = jnp.maximum(jnp.mean(error**2, axis=(1, 2, 3)), _LEAST_ERROR)
  return 10 * jnp.log10(255**2 / mse)


def ssim(predicted: jax.Array, true: jax.Array) -> jax.Array:
  """SSIM of frames uint8 [N, H, W, C]: float32 [N]; see the module's docstring."""
  x, y = predicted.astype(jnp.float32), true.astype(jnp.float32)
  # Moments about a common origin lose fewer digits.
  x, y = x - 127.5, y - 127.5
  mean_x, mean_y = _smooth(x), _smooth(y)
  variance_x = _smooth(x * x) - mean_x**2
  variance_y = _smooth(y * y) - mean_y**2
  covariance = _smooth(x * y) - mean_x * mean_y
  mean_x, mean_y = mean_x + 127.5, mean_y + 127.5
  means = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
  return jnp.mean(means * (2 * covariance + _C2) / (variance_x + variance_y + _C2), axis=(1, 2, 3))


def _smooth(x: jax.Array) -> jax.Array:
  """Weights [N, H, W, C] with the Gaussian window: [N, H - 10, W - 10, C]."""
  offsets = np.arange(_WINDOW) - _WINDOW // 2
  weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
  weights /= weights.sum()
  for axis in (1, 2):
    length = x.shape[axis] - _WINDOW + 1
    taps = [
      float(weight) * jax.lax.slice_in_dim(x, start, start + length, axis=axis)
      for start, weight in enumerate(weights)
    ]
    x = functools.reduce(jnp.add, taps)
  return x
