"""The built-in data: synthetic moving shapes, one class per shape and motion, rendered on demand.

A scene is a function of (seed, split, index). Signed distance fields render it, with edges one
pixel wide. Lengths are in image widths and speeds in image widths per frame, so the same scene can
be rendered at any resolution and for any number of frames.
"""

import dataclasses

import numpy as np

from vidgan_jax.data.sources.base import Source
from vidgan_jax.runtime.errors import UserError

SHAPES = ("disk", "square", "triangle", "cross")
MOTIONS = ("horizontal", "vertical", "circular", "pulsing")
# Motion-major, so that the first 4, 8 or 12 classes hold every shape equally often.
CLASS_NAMES = tuple(f"{shape}_{motion}" for motion in MOTIONS for shape in SHAPES)
SPLITS = ("train", "test")

_PLAIN_RADIUS = 0.28  # for variety 0: the largest radius that leaves enough room to move
_DRAWS = 32  # uniform numbers per scene; some are unused, so that new ones do not change old scenes
_LUMINANCE = np.array([0.299, 0.587, 0.114])  # Rec. 601 luma
_CACHE_BYTES = 256 * 2**20


@dataclasses.dataclass(frozen=True)
class Scene:
  """The content of one clip. Lengths in image widths, times in frames, y points down.

  Attributes:
    shape: one of SHAPES.
    motion: one of MOTIONS.
    radius: half the size of the shape, which is about 2 * radius wide.
    tilt: constant rotation of the shape, in radians.
    center: (x, y), the centre of the motion, inside the image.
    reach: amplitude of the motion; for "pulsing" the relative change of size.
    phase: phase of the motion at time 0, in periods, 0..1.
    frequency: periods per frame; a negative one reverses the motion.
    colors: float [4, 3], RGB in 0..1: the two ends of the background, the shape, the bar.
    gradient_angle: direction of the background's gradient, in radians.
    bar: None, or (axis, half_width, position, speed): a bar across the image that moves along an
      axis (0 = x, 1 = y), bounces at the borders, and occludes the shape.
  """

  shape: str
  motion: str
  radius: float
  tilt: float
  center: tuple[float, float]
  reach: float
  phase: float
  frequency: float
  colors: np.ndarray
  gradient_angle: float
  bar: tuple[int, float, float, float] | None


def draw_scene(seed: int, split: str, index: int, class_index: int, variety: float = 1.0) -> Scene:
  """Draws the scene of clip `index` of a split.

  Args:
    seed: seed of the set, not negative.
    split: "train" or "test"; they use separate random streams and share no scene.
    index: number of the clip, not negative.
    class_index: position in CLASS_NAMES. Size, position and colours do not depend on it.
    variety: 1 varies everything. 0 gives large upright shapes that move through the middle of dark
      grey backgrounds, without bars. Between 0 and 1, the ranges of size, position and tilt grow
      with it, and light or coloured backgrounds and bars become more frequent.

  Returns:
    The scene.
  """
  sequence = np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index))
  u = np.random.Generator(np.random.PCG64(sequence)).random(_DRAWS)
  motion = MOTIONS[class_index // len(SHAPES)]
  radius = variety * (0.16 + 0.06 * u[0]) + (1.0 - variety) * _PLAIN_RADIUS
  room = 0.5 - 1.08 * radius  # largest distance of the centre from the middle of the image
  direction = 1.0 if u[1] < 0.5 else -1.0
  across = 0.5 + variety * room * (2.0 * u[2] - 1.0)
  reach, center = room, (0.5, 0.5)
  if motion == "horizontal":
    center, frequency = (0.5, across), (0.075 + 0.045 * u[3]) / (4.0 * reach)
  elif motion == "vertical":
    center, frequency = (across, 0.5), (0.075 + 0.045 * u[3]) / (4.0 * reach)
  elif motion == "circular":
    reach = room * (0.75 + 0.25 * u[4])
    slack = variety * (room - reach)
    center = (0.5 + slack * (2.0 * u[2] - 1.0), 0.5 + slack * (2.0 * u[5] - 1.0))
    frequency = (0.10 + 0.05 * u[3]) / (2.0 * np.pi * reach)
  else:
    reach = 0.40
    slack = variety * (0.5 - 1.08 * radius * (1.0 + reach))
    center = (0.5 + slack * (2.0 * u[2] - 1.0), 0.5 + slack * (2.0 * u[5] - 1.0))
    frequency = 0.11 + 0.06 * u[3]
  return Scene(
    shape=SHAPES[class_index % len(SHAPES)],
    motion=motion,
    radius=radius,
    tilt=variety * 0.16 * (2.0 * u[6] - 1.0),
    center=center,
    reach=reach,
    phase=u[7],
    frequency=direction * frequency,
    colors=_draw_colors(u[8:18], variety),
    gradient_angle=2.0 * np.pi * u[18],
    bar=_draw_bar(u[19:25], motion, variety),
  )


def _draw_colors(u: np.ndarray, variety: float) -> np.ndarray:
  """Draws [4, 3] colours; shape and background differ by at least 0.32 in luminance (0..1)."""
  if u[0] >= 0.5 * variety:
    background, shape = 0.06 + 0.18 * u[1], 0.62 + 0.24 * u[2]
  else:
    background, shape = 0.76 + 0.18 * u[1], 0.38 - 0.20 * u[2]
  luminance = np.array(
    [background - 0.06, background + 0.06, shape, (background + shape) / 2.0]
  ).clip(0.0, 1.0)
  # The two hues of the background are close: distant hues would look like an edge.
  hue = np.array([u[3], u[3] + 0.25 * (u[4] - 0.5), u[5], u[6]])
  saturation = np.array([0.6 * variety * u[7], 0.6 * variety * u[7], 0.7 + 0.3 * u[8], 0.3 * u[9]])
  offsets = np.array([0.0, 2.0, 4.0]) / 6.0
  distance = np.abs((hue[:, None] - offsets + 0.5) % 1.0 - 0.5)
  pure = np.clip(2.0 - 6.0 * distance, 0.0, 1.0)  # fully saturated RGB of each hue
  pure_luminance = (pure @ _LUMINANCE)[:, None]
  target = luminance[:, None]
  darker = pure * target / pure_luminance
  lighter = pure + (1.0 - pure) * (target - pure_luminance) / np.maximum(1e-6, 1.0 - pure_luminance)
  color = np.where(target <= pure_luminance, darker, lighter)
  return target + saturation[:, None] * (color - target)


def _draw_bar(u: np.ndarray, motion: str, variety: float) -> tuple[int, float, float, float] | None:
  """Draws the bar of about one scene in four; half of the bars do not move.

  A bar at rest crosses the path of the shape, so that no part stays hidden for a whole clip.
  """
  if u[0] >= 0.25 * variety:
    return None
  axis, speed = int(u[2] < 0.5), (0.02 + 0.04 * abs(2.0 * u[1] - 1.0)) * np.sign(u[5] - 0.5)
  if u[1] < 0.5 and motion != "pulsing":
    axis, speed = {"horizontal": 0, "vertical": 1}.get(motion, axis), 0.0
  return axis, 0.03 + 0.025 * u[3], 0.2 + 0.6 * u[4], speed


def _triangle_wave(phase: np.ndarray) -> np.ndarray:
  """A wave of period 1 and constant speed through 0, 1, 0, -1, 0."""
  return 1.0 - 4.0 * np.abs((phase + 0.25) % 1.0 - 0.5)


def _trajectory(scene: Scene, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns centre x, centre y and radius at the given times, each float [T]."""
  phase = scene.phase + scene.frequency * times
  x = np.full_like(times, scene.center[0])
  y = np.full_like(times, scene.center[1])
  radius = np.full_like(times, scene.radius)
  if scene.motion == "horizontal":
    x = x + scene.reach * _triangle_wave(phase)
  elif scene.motion == "vertical":
    y = y + scene.reach * _triangle_wave(phase)
  elif scene.motion == "circular":
    x = x + scene.reach * np.cos(2.0 * np.pi * phase)
    y = y + scene.reach * np.sin(2.0 * np.pi * phase)
  else:
    radius = radius * (1.0 + scene.reach * np.sin(2.0 * np.pi * phase))
  return x, y, radius


def _signed_distance(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
  """Distance of points to the border of a shape, negative inside.

  The shapes differ in size so that all four look equally large.

  Args:
    shape: one of SHAPES.
    x: horizontal position relative to the shape's centre.
    y: vertical position relative to the shape's centre.
    radius: see `Scene`.
  """
  if shape == "disk":
    return np.sqrt(x * x + y * y) - radius
  if shape == "square":
    return np.maximum(np.abs(x), np.abs(y)) - 0.9 * radius
  if shape == "triangle":
    # Three half planes at 0.6 radius, one corner up; moved down to centre the bounding box.
    y = y - 0.3 * radius
    slopes = np.maximum(0.8660254 * np.abs(x) - 0.5 * y, y)
    return slopes - 0.6 * radius
  wide, narrow = 1.05 * radius, 0.36 * radius
  x, y = np.abs(x), np.abs(y)
  long, short = np.maximum(x, y), np.minimum(x, y)
  return np.maximum(long - wide, short - narrow)


def render(scene: Scene, frames: int, resolution: int, time_step: float = 1.0) -> np.ndarray:
  """Draws a scene.

  Args:
    scene: what to draw.
    frames: number of frames T; frame t shows the scene at time t * time_step.
    resolution: height and width R in pixels.
    time_step: see `MovingShapes`.

  Returns:
    The clip, uint8 [T, R, R, 3].
  """
  times = time_step * np.arange(frames, dtype=np.float64)
  center_x, center_y, radius = (
    values.astype(np.float32)[:, None, None] for values in _trajectory(scene, times)
  )
  pixels = (np.arange(resolution, dtype=np.float32) + 0.5) / resolution
  x, y = pixels[None, None, :] - center_x, pixels[None, :, None] - center_y
  cos, sin = np.float32(np.cos(scene.tilt)), np.float32(np.sin(scene.tilt))
  distance = _signed_distance(scene.shape, cos * x + sin * y, cos * y - sin * x, radius)
  cover = _soft_edge(distance, resolution)

  colors = (255.0 * scene.colors).astype(np.float32)
  cos, sin = np.cos(scene.gradient_angle), np.sin(scene.gradient_angle)
  along = (pixels[None, :] - 0.5) * cos + (pixels[:, None] - 0.5) * sin
  weight = (0.5 + along / 1.4142136).astype(np.float32)[..., None]
  background = colors[0] + weight * (colors[1] - colors[0])
  clip = background + cover[..., None] * (colors[2] - background)
  if scene.bar is not None:
    axis, half_width, position, speed = scene.bar
    phase = (position * 0.5 - 0.25 + 0.5 * speed * times).astype(np.float32)
    center = 0.5 + 0.5 * _triangle_wave(phase)[:, None]
    cover = _soft_edge(np.abs(pixels[None, :] - center) - half_width, resolution)
    cover = cover[:, None, :, None] if axis == 0 else cover[:, :, None, None]
    clip += cover * (colors[3] - clip)
  clip += 0.5
  return clip.astype(np.uint8)


def _soft_edge(distance: np.ndarray, resolution: int) -> np.ndarray:
  """Coverage in 0..1 from a signed distance in image widths: a ramp one pixel wide."""
  return np.clip(0.5 - distance * resolution, 0.0, 1.0)


class MovingShapes(Source):
  """The moving shapes as a source. The label of clip i is i % num_classes: classes are balanced.

  Args:
    num_examples: number of clips.
    frames: frames per clip.
    resolution: height and width in pixels.
    num_classes: number of classes, the first of CLASS_NAMES; 0 draws all of them, unlabelled.
    seed: seed of the set, not negative.
    split: "train" or "test"; they share no scene.
    cache_bytes: rendered clips are cached if all of them need at most this many bytes.
    variety: see `draw_scene`.
    time_step: time between frames. At 1, a shape moves by about a tenth of the image's width.

  Raises:
    UserError: an argument is outside its range.
  """

  def __init__(
    self,
    num_examples: int,
    frames: int,
    resolution: int,
    num_classes: int,
    seed: int,
    split: str = "train",
    cache_bytes: int = _CACHE_BYTES,
    variety: float = 1.0,
    time_step: float = 1.0,
  ):
    if not 0 <= variety <= 1:
      raise UserError(f"moving_shapes: variety={variety} is outside 0..1")
    if not 0 <= num_classes <= len(CLASS_NAMES):
      raise UserError(
        f"moving_shapes has {len(CLASS_NAMES)} classes, num_classes={num_classes} is outside "
        f"0..{len(CLASS_NAMES)}"
      )
    if min(num_examples, frames) < 1 or resolution < 8 or seed < 0:
      raise UserError(
        "moving_shapes needs num_examples >= 1, frames >= 1, resolution >= 8 and seed >= 0, not "
        f"{num_examples}, {frames}, {resolution} and {seed}"
      )
    if split not in SPLITS:
      raise UserError(f"moving_shapes has no split '{split}', only {', '.join(SPLITS)}")
    self.num_examples = num_examples
    self.num_classes = num_classes
    self.class_names = CLASS_NAMES[:num_classes]
    self.frames = frames
    self.resolution = resolution
    self._seed = seed
    self._split = split
    self._variety = variety
    self._time_step = time_step
    clip_bytes = 3 * frames * resolution**2
    self._cache = {} if num_examples * clip_bytes <= cache_bytes else None

  def example(self, index: int, generator: np.random.Generator) -> tuple[np.ndarray, int]:
    """See `Source.example`; the index alone determines the clip. The clip is read-only."""
    del generator
    self.check_index(index)
    index = int(index)
    clip = self._cache.get(index) if self._cache is not None else None
    if clip is None:
      class_index = index % (self.num_classes or len(CLASS_NAMES))
      scene = draw_scene(self._seed, self._split, index, class_index, self._variety)
      clip = render(scene, self.frames, self.resolution, self._time_step)
      clip.setflags(write=False)
      if self._cache is not None:
        self._cache[index] = clip
    return clip, index % self.num_classes if self.num_classes else 0
