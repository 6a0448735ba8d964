"""Measures how metrics respond to clips that are corrupted with increasing strength.

  python benchmarks/sensitivity.py --videos=FOLDER --plot=docs/evaluation_sensitivity.png

The clips are the built-in moving shapes, and all windows of 16 frames of the videos in FOLDER (one
sub-folder per class). Each set is split into two halves. The first half is the reference. The
second half is corrupted: by noise, blur, JPEG compression, frozen frames, shuffled frames, clips
played backwards, and dropped classes.

The networks are the built-in classifier, which was not trained on real videos; the same network
with random weights; both applied to single frames, repeated as still clips, which makes them blind
to motion; and R(2+1)D-18 with random weights, on fewer clips at half their size, because it costs a
hundred times as much. None of these measurements is an FVD.

The noise of a metric is its standard deviation over random halvings of uncorrupted clips. A metric
sees a corruption if at full strength it is worse by more than 3 times the noise. Its response is
monotone if it never improves by more than 2 times the noise from one strength to the next. The
table shows the responses and marks those that differ from the expected ones. Each run appends one
line of JSON to --results.

Exit codes: 0 done, 2 bad input.
"""

import dataclasses
import io
import pathlib
import time

import numpy as np
import settings  # makes the package importable
from absl import flags
from corruptions import CORRUPTIONS
from PIL import Image

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage", "inception score", "accuracy")
METRICS = ("frechet", "kernel", *HIGHER_IS_BETTER)
NAMES = (*CORRUPTIONS, "dropped")
SEEN, STEP = 3.0, 2.0  # in units of the noise
_FRAMES = 16
_DROPPED_SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of all classes but one


# Clips --------------------------------------------------------------------------------------------


@dataclasses.dataclass
class ClipSet:
  """Clips in two halves, and a function that draws more clips of a class.

  Attributes:
    name: for the table.
    reference, corrupted: the halves, each (clips uint8 [N, T, R, R, 3], labels [N]). The second is
      stored uncorrupted.
    draw: (class, count, Generator) -> `count` new clips of a class.
    classes: number of classes.
    symmetric: whether the distribution of clips is the same when they are played backwards.
  """

  name: str
  reference: tuple
  corrupted: tuple
  draw: object
  classes: int
  symmetric: bool


def real_clips(folder: str, seed: int) -> ClipSet:
  """Windows of 16 frames. Even windows of each video are the reference, odd ones the other half.

  So both halves show the same people, and differ less than two halves with different people would.
  """
  from vidgan_jax.runtime.files.video_files import read_video

  paths = sorted(pathlib.Path(folder).glob("*/*.avi"))
  if not paths:
    raise UserError(f"--videos={folder} has no folders with .avi files")
  names = sorted({path.parent.name for path in paths})
  halves, videos = ([], []), {}
  for path in paths:
    frames, _ = read_video(path)
    label = names.index(path.parent.name)
    videos.setdefault(label, []).append(frames)
    for number in range(len(frames) // _FRAMES):
      window = frames[number * _FRAMES : (number + 1) * _FRAMES]
      halves[number % 2].append((window, label))
  rng = np.random.default_rng(seed)
  size = min(len(half) for half in halves)
  chosen = [[half[i] for i in rng.permutation(len(half))[:size]] for half in halves]
  arrays = [tuple(map(np.asarray, zip(*half, strict=True))) for half in chosen]

  def draw(label, count, rng):
    def window():
      frames = videos[label][rng.integers(len(videos[label]))]
      # Starts between the windows of the two halves, so that the clip is in neither half.
      starts = np.arange(_FRAMES // 2, len(frames) - _FRAMES + 1, _FRAMES)
      begin = rng.choice(starts) + rng.integers(-4, 5)
      return frames[np.clip(begin, 0, len(frames) - _FRAMES) :][:_FRAMES]

    return np.stack([window() for _ in range(count)])

  return ClipSet(f"real, {_FRAMES} frames of 64x64", *arrays, draw, len(names), False)


def drawn_clips(count: int, seed: int, frames: int = 8, resolution: int = 32) -> ClipSet:
  """Clips of the built-in moving shapes at full variety, `count` in each half."""
  from vidgan_jax.data.sources import moving_shapes as data

  classes = len(data.CLASS_NAMES)

  def draw(label, count, rng):
    scenes = [
      data.draw_scene(seed, "test", int(rng.integers(10**6, 10**9)), label) for _ in range(count)
    ]
    return np.stack([data.render(scene, frames, resolution) for scene in scenes])

  halves = []
  for begin in (0, count):
    labels = np.arange(begin, begin + count) % classes
    scenes = [data.draw_scene(seed, "test", begin + i, int(n)) for i, n in enumerate(labels)]
    halves.append((np.stack([data.render(s, frames, resolution) for s in scenes]), labels))
  name = f"built-in moving shapes, {frames} frames of {resolution}x{resolution}"
  return ClipSet(name, *halves, draw, classes, True)


# Networks -----------------------------------------------------------------------------------------


def classifier(untrained: int | None = None):
  """The built-in classifier: clips uint8 -> (features, logits).

  Args:
    untrained: None, or the seed of random weights in place of the package's.
  """
  import jax

  from vidgan_jax.evaluation.features import extractor
  from vidgan_jax.evaluation.features.architectures import moving_shapes as network

  if untrained is None:
    variables = extractor.load_extractor(extractor.PACKAGED).variables
  else:
    example = np.zeros((1, network.MIN_FRAMES, *network.INPUT_SIZE, 3), np.float32)
    variables = network.MovingShapesClassifier().init(jax.random.key(untrained), example)
  apply = jax.jit(lambda clips: network.apply(variables, clips / 127.5 - 1.0))

  def extract(clips):
    outputs = [apply(batch.astype(np.float32)) for batch in _batches(clips, 64)]
    return tuple(
      np.concatenate([np.asarray(o[name]) for o in outputs]).astype(np.float64)
      for name in ("features", "logits")
    )

  return extract


def single_frames(extract):
  """Applies `extract` to each frame, repeated 4 times, and averages the features over the clip."""

  def averaged(clips):
    count, frames = clips.shape[:2]
    stills = clips.reshape(-1, 1, *clips.shape[2:])
    features = [extract(np.repeat(part, 4, axis=1))[0] for part in _batches(stills, 4096)]
    return np.concatenate(features).reshape(count, frames, -1).mean(axis=1), None

  return averaged


def untrained_r2plus1d(seed: int):
  """R(2+1)D-18 with random weights on clips at half their size: clips -> (512 features, None)."""
  import jax

  from vidgan_jax.evaluation.features.architectures import r2plus1d

  module = r2plus1d.R2Plus1D()
  example = np.zeros((1, 4, 16, 16, 3), np.float32)
  variables = jax.jit(module.init)(jax.random.key(seed), example)

  @jax.jit
  def apply(clips):
    count, frames, height, width, _ = clips.shape
    cells = clips.reshape(count, frames, height // 2, 2, width // 2, 2, 3)
    return module.apply(variables, cells.mean(axis=(3, 5)) / 127.5 - 1.0)["avgpool"]

  def extract(clips):
    features = [np.asarray(apply(batch.astype(np.float32))) for batch in _batches(clips, 8)]
    return np.concatenate(features).astype(np.float64), None

  return extract


def _batches(clips, size):
  """Batches of equal size except the last one, so that at most two programs are compiled."""
  return [clips[i : i + size] for i in range(0, len(clips), size)]


# Metrics ------------------------------------------------------------------------------------------


def measure(reference, features, labels, logits, probe) -> dict:
  """Computes all metrics of features against reference features.

  Args:
    reference, features: float64 [N, d].
    labels: [N], of `features`.
    logits: float64 [N, classes], of `features`, or None if the network does not classify the set.
    probe: features -> classes, for the accuracy if there are no logits.
  """
  from vidgan_jax.evaluation.statistics.frechet import frechet_distance_of_features
  from vidgan_jax.evaluation.statistics.inception_score import inception_score
  from vidgan_jax.evaluation.statistics.kernel_distance import kernel_distance
  from vidgan_jax.evaluation.statistics.precision_recall import density_coverage, precision_recall

  values = {
    "frechet": frechet_distance_of_features(reference, features),
    "kernel": kernel_distance(reference, features, estimator="unbiased")[0],
    **precision_recall(reference, features),
    **density_coverage(reference, features),
  }
  predictions = probe(features) if logits is None else logits.argmax(-1)
  values["accuracy"] = float((predictions == labels).mean())
  if logits is not None:
    values["inception score"] = inception_score(logits)[0]
  return values


def ridge(features, labels, classes):
  """Fits a linear classifier by ridge regression; the penalty is 1 % of the mean variance."""
  mean = features.mean(axis=0)
  centred, targets = features - mean, np.eye(classes)[labels]
  spread = centred.T @ centred
  penalty = 0.01 * np.trace(spread) / len(spread) * np.eye(len(spread))
  weights = np.linalg.solve(spread + penalty, centred.T @ (targets - targets.mean(axis=0)))
  offsets = targets.mean(axis=0)
  return lambda x: ((x - mean) @ weights + offsets).argmax(-1)


def ladder(clips: ClipSet, network: str, extract, has_logits: bool, rng) -> dict:
  """Computes all metrics for every corruption and strength.

  Returns:
    {"noise": {metric: standard deviation}, "unharmed": {metric: value},
     "answers": {corruption: [{metric: value}, one per strength]}}.
  """

  def features(array):
    vectors, logits = extract(array)
    return vectors, logits if has_logits else None

  uncorrupted, labels = clips.corrupted
  reference, reference_logits = features(clips.reference[0])
  unharmed, unharmed_logits = features(uncorrupted)
  probe = ridge(reference, clips.reference[1], clips.classes)
  unharmed_values = measure(reference, unharmed, labels, unharmed_logits, probe)

  joint = np.concatenate([reference, unharmed])
  joint_labels = np.concatenate([clips.reference[1], labels])
  joint_logits = np.concatenate([reference_logits, unharmed_logits]) if has_logits else None
  halvings = []
  for _ in range(flags.FLAGS.halvings):
    order = rng.permutation(len(joint))
    a, b = order[: len(reference)], order[len(reference) :]
    part = None if joint_logits is None else joint_logits[b]
    fitted = ridge(joint[a], joint_labels[a], clips.classes)
    halvings.append(measure(joint[a], joint[b], joint_labels[b], part, fitted))
  # Fractions of few clips may not vary at all; their noise is at least one clip.
  least = lambda metric: 1.0 / len(labels) if metric in HIGHER_IS_BETTER else 0.0
  noise = {m: float(np.std([h[m] for h in halvings], ddof=1)) for m in unharmed_values}
  noise = {metric: max(deviation, least(metric)) for metric, deviation in noise.items()}

  answers = {}
  for name, (corrupt, strengths) in CORRUPTIONS.items():
    answers[name] = []
    for strength in strengths:
      if name == "blur":
        strength = strength * uncorrupted.shape[2] / 64
      vectors, logits = features(corrupt(uncorrupted, strength, rng))
      answers[name].append(measure(reference, vectors, labels, logits, probe))
  order = rng.permutation(clips.classes)
  answers["dropped"] = []
  for share in _DROPPED_SHARES:
    dropped = order[: round(share * (clips.classes - 1))]
    remaining = np.setdiff1d(order, dropped)
    array, new_labels = uncorrupted.copy(), labels.copy()
    replaced = np.flatnonzero(np.isin(labels, dropped))
    new_labels[replaced] = remaining[np.arange(len(replaced)) % len(remaining)]
    for i in replaced:
      array[i] = clips.draw(int(new_labels[i]), 1, rng)[0]
    vectors, logits = features(array)
    answers["dropped"].append(measure(reference, vectors, new_labels, logits, probe))
  return {"noise": noise, "unharmed": unharmed_values, "answers": answers}


# Table and plot -----------------------------------------------------------------------------------


def worsening(result: dict, metric: str, name: str) -> np.ndarray:
  """How much worse a metric gets, in units of its noise, [1 + strengths]; the first is 0."""
  sign = -1.0 if metric in HIGHER_IS_BETTER else 1.0
  values = [result["unharmed"][metric], *(answer[metric] for answer in result["answers"][name])]
  return sign * (np.asarray(values) - values[0]) / max(result["noise"][metric], 1e-12)


def verdict(curve: np.ndarray) -> str:
  """Classifies a response from `worsening`.

  Returns:
    "monotone": seen, and monotone; "seen": seen, but not monotone; "blind": not seen; "better": the
    metric is better at full strength.
  """
  if curve[-1] < -SEEN:
    return "better"
  if curve[-1] <= SEEN:
    return "seen" if curve.max() > 2 * SEEN else "blind"
  return "monotone" if np.diff(curve).min() >= -STEP else "seen"


def expected(clips_symmetric: bool, motion_blind: bool, metric: str, name: str) -> tuple:
  """The verdicts that a metric should have on a corruption; empty if any verdict is acceptable."""
  if name == "reversed" and (clips_symmetric or motion_blind):
    return ("blind",)
  if name == "shuffled" and motion_blind:
    return ("blind",)
  if name in ("frozen", "reversed") and motion_blind:
    return ()
  if name == "dropped":
    if metric == "accuracy":
      return ()
    return () if metric in ("precision", "density") else ("monotone",)
  if name == "reversed":
    return ()  # depends on the actions
  return ("monotone",)


def table(result: dict) -> str:
  """One row for each metric, one column for each corruption; see `LEGEND`."""
  head = ["metric", "unharmed", "1 unit", *NAMES]
  lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
  for metric in METRICS:
    if metric not in result["unharmed"]:
      continue
    cells = [metric, f"{result['unharmed'][metric]:.4g}", f"{result['noise'][metric]:.2g}"]
    for name in NAMES:
      curve = worsening(result, metric, name)
      actual = verdict(curve)
      allowed = expected(result["symmetric"], result["motion_blind"], metric, name)
      number = f"{curve[-1]:.3g}" if abs(curve[-1]) < 1000 else f"{curve[-1]:.0f}"
      cell = {"monotone": number, "blind": "blind"}.get(actual, f"{actual} {number}")
      cells.append(f"**{cell}**" if allowed and actual not in allowed else cell)
    lines.append("| " + " | ".join(cells) + " |")
  return "\n".join(lines)


LEGEND = (
  "Numbers: how much worse the metric is at full strength, in units of the noise, if its response "
  "is monotone; 'seen': it responds, but not monotonically; bold: not the expected response."
)


def blind_metrics(results: list[dict]) -> str:
  """One line for each of frozen, shuffled and reversed frames: the metrics that do not change."""
  lines = []
  for result in results:
    metrics = [metric for metric in METRICS if metric in result["unharmed"]]
    for name in ("frozen", "shuffled", "reversed"):
      verdicts = {metric: verdict(worsening(result, metric, name)) for metric in metrics}
      blind = [metric for metric, each in verdicts.items() if each in ("blind", "better")]
      listed = "all" if len(blind) == len(metrics) else ", ".join(blind) or "none"
      lines.append(f"{result['set']}, {result['network']}: blind to {name}: {listed}")
  return "\n".join(lines)


def draw_plot(results: list[dict], path: str) -> None:
  """Rows of sets and networks, columns of corruptions, lines of metrics."""
  import matplotlib

  matplotlib.use("Agg")
  import matplotlib.pyplot as plt

  figure, grid = plt.subplots(
    len(results),
    len(NAMES),
    figsize=(1.75 * len(NAMES), 1.35 * len(results) + 0.9),
    sharey=True,
    squeeze=False,
    layout="constrained",
  )
  styles = dict(zip(METRICS, ["-", "-", "--", "--", ":", ":", "-.", "-."], strict=True))
  for row, result in zip(grid, results, strict=True):
    for axes, name in zip(row, NAMES, strict=True):
      if row[0] is grid[0, 0]:
        axes.set_title(name, fontsize=9)
      strengths = CORRUPTIONS[name][1] if name in CORRUPTIONS else _DROPPED_SHARES
      axes.axhspan(-SEEN, SEEN, color="0.9", zorder=0)
      for i, metric in enumerate(METRICS):
        if metric in result["unharmed"]:
          curve = worsening(result, metric, name)
          axes.plot(curve, styles[metric], color=f"C{i}", lw=1.3, marker=".", ms=4, label=metric)
      axes.set_yscale("symlog", linthresh=SEEN)
      ticks = (-100, -10, -3, 0, 3, 10, 100, 1000, 10000)
      axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
      axes.yaxis.minorticks_off()
      axes.set_xticks(range(len(strengths) + 1), ["0", *(f"{s:g}" for s in strengths)])
      axes.tick_params(labelsize=6)
    row[0].set_ylabel(f"{result['set'].split(',')[0]}\n{result['network']}", fontsize=8)
  lines = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
  figure.legend(lines.values(), lines, loc="outside lower center", ncols=len(METRICS), fontsize=8)
  figure.suptitle("How much worse, in units of the noise between unharmed halves", fontsize=9)
  buffer = io.BytesIO()
  figure.savefig(buffer, dpi=80)
  plt.close(figure)
  Image.open(buffer).convert("RGB").quantize(128).save(path, "PNG", optimize=True)


def main() -> None:
  """Measures all sets with all networks; prints the tables and draws the plot."""
  begin = time.perf_counter()
  trained, random = classifier(), classifier(untrained=flags.FLAGS.seed)
  networks = [
    ("classifier", trained, False),
    ("single frames", single_frames(trained), True),
    ("untrained", random, False),
    ("untrained, single frames", single_frames(random), True),
  ]
  cases = [
    (drawn_clips(flags.FLAGS.clips, 1234 + flags.FLAGS.seed), *case) for case in networks[:2]
  ]
  if flags.FLAGS.videos:
    real = real_clips(flags.FLAGS.videos, flags.FLAGS.seed)
    cases += [(real, *case) for case in networks]
    if flags.FLAGS.deep_clips:
      first = lambda half: tuple(array[: flags.FLAGS.deep_clips] for array in half)
      fewer = dataclasses.replace(
        real, reference=first(real.reference), corrupted=first(real.corrupted)
      )
      cases.append((fewer, "untrained R(2+1)D", untrained_r2plus1d(flags.FLAGS.seed), False))
  results = []
  for clips, network, extract, motion_blind in cases:
    has_logits = network == "classifier" and clips.symmetric
    door.report(f"{clips.name}, {network}, {len(clips.corrupted[0])} clips in each half")
    result = ladder(clips, network, extract, has_logits, np.random.default_rng(flags.FLAGS.seed))
    result |= {"set": clips.name, "network": network, "count": len(clips.corrupted[0])}
    result |= {"symmetric": clips.symmetric, "motion_blind": motion_blind}
    results.append(result)
    door.report(f"\n{table(result)}\n")
  door.report(LEGEND)
  door.report(blind_metrics(results))
  door.report(f"{time.perf_counter() - begin:.0f} s")
  settings.append(flags.FLAGS.results, "sensitivity", {"results": results})
  if flags.FLAGS.plot:
    draw_plot(results, flags.FLAGS.plot)
    door.report(f"plot: {flags.FLAGS.plot}")


if __name__ == "__main__":
  # Flags are defined here, because a test imports this module together with modules whose flags
  # have the same names.
  flags.DEFINE_string("videos", None, "Folder of real videos; default: no real videos.")
  flags.DEFINE_string("plot", None, "Path of the PNG to draw; default: no plot.")
  flags.DEFINE_integer("clips", 480, "Built-in moving shapes in each half.", lower_bound=32)
  flags.DEFINE_integer(
    "deep_clips", 64, "Real clips in each half for R(2+1)D; 0 leaves it out.", lower_bound=0
  )
  flags.DEFINE_integer(
    "halvings", 10, "Random halvings that measure the noise of each metric.", lower_bound=2
  )
  flags.DEFINE_integer("seed", 0, "Seed of all random numbers.", lower_bound=0)
  settings.define_results()
  settings.run(main)
