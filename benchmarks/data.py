"""Times the reading of prepared sets: both of our readers and a plain tf.data map, same files.

  pip install -r requirements-data.txt          # for tensorflow
  python benchmarks/data.py --videos='FOLDER/*.mp4'
  python benchmarks/data.py --videos='FOLDER/*.mp4' --soak=600 --variants=python
  python benchmarks/data.py --videos='FOLDER/*.mp4' --stall=12   # needs no tensorflow

--videos should be of 340x256 pixels, as Kinetics' often are. `prepare` makes JPEG sets of 64x64,
128x170 and 256x340 pixels of them in --folder; a set is tiled up by naming it often enough.

  case     stored    shown at
  64       64x64     64
  128      128x170   128
  128_64   128x170   64: decoded at 1/2
  256_64   256x340   64: decoded at 1/4

  variant      batches of 64 clips of 12 frames, two apart
  python       pipeline.Batches: threads that decode with simplejpeg
  tensorflow   TensorFlowBatches: tf.data
  plain        TFRecordDataset.map(parse, decode the frames used, crop).batch(), reading whole
               records as that does, decoding at 1/2 and 1/4 too, without order, index or seed

Every variant runs in a fresh process, --rounds times, interleaved. Told are frames per second of
processor time (of all threads: what one core does), frames per second of wall time with --workers
threads, and the ratio to plain within the same round. --soak reads one case for so many seconds
instead, with new epochs all the time, and tells the memory. --stall trains DVD-GAN (64x64x12, ch
16, batch 2, float32: that of iteration.py, without labels) for so many iterations on the 64x64 set,
and tells which part of an iteration's time it waited for its batch, of its log, after the first
three. Appends a line of JSON per measurement.

Exit codes: 0 done, 2 bad input or a case that failed.
"""

import glob
import json
import os
import pathlib
import shutil
import statistics
import tempfile
import time

import settings  # first: it makes the package importable
from absl import flags

from vidgan_jax.runtime import door
from vidgan_jax.runtime.errors import UserError

# Stored resolution, options of prepare, shown resolution, by which ratio the decoder reduces.
CASES = {
  "64": (64, ["--crop=256"], 64, 1),
  "128": (128, [], 128, 1),
  "128_64": (128, [], 64, 2),
  "256_64": (256, [], 64, 4),
}
TARGETS = {"64": 14_000, "128": 5_700, "256_64": 3_000}  # frames/s of a core
VARIANTS = ("python", "tensorflow", "plain")
FRAMES, STRIDE, BATCH, COPIES = 12, 2, 64, 64

_VIDEOS = flags.DEFINE_string("videos", None, "Pattern of video files, quoted.", required=True)
_FOLDER = flags.DEFINE_string("folder", None, "Where the sets are kept; default a temporary one.")
_CASES = flags.DEFINE_list("cases", list(CASES), f"Of {', '.join(CASES)}.")
_VARIANTS = flags.DEFINE_list("variants", list(VARIANTS), f"Of {', '.join(VARIANTS)}.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Fresh processes per variant.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Timed in each, at least.", lower_bound=0.1)
_WORKERS = flags.DEFINE_integer("workers", 1, "Threads that decode.", lower_bound=1)
_SOAK = flags.DEFINE_float("soak", 0.0, "Seconds to read for, telling the memory; 0 times instead.")
_STALL = flags.DEFINE_integer(
  "stall", 0, "Iterations to train for, telling the wait; 0 times instead.", lower_bound=0
)
settings.define_results()
_WORKER = flags.DEFINE_string("worker", None, "Measure CASE:VARIANT in this process, print JSON.")


def _prepare(folder: str, case: str) -> None:
  """Makes the set of a case, unless it is there."""
  from vidgan_jax.data.prepare import run
  from vidgan_jax.data.prepare.settings import Request

  resolution, options, _, _ = CASES[case]
  files = sorted(glob.glob(_VIDEOS.value))
  if not files:
    raise UserError(f"no file matches {_VIDEOS.value}")
  videos = os.path.join(folder, "videos")
  os.makedirs(videos, exist_ok=True)
  for file in files:
    shutil.copy(file, videos)
  crop = 256 if options else None
  request = Request(
    "folder",
    videos,
    _set(folder, case),
    class_level=0,
    resolution=resolution,
    crop=crop,
    quality=90,
  )
  run.prepare(request, report=lambda line: None)


def _set(folder: str, case: str) -> str:
  return os.path.join(folder, f"set_{CASES[case][0]}")


def _batches(case: str, variant: str):
  """An endless iterator of batches, each a uint8 array of clips."""
  directory, resolution = _set(_FOLDER.value, case), CASES[case][2]
  if variant == "plain":
    return _plain(directory, resolution, CASES[case][3])
  from vidgan_jax.data.pipeline import Batches
  from vidgan_jax.data.sources.prepared import Prepared

  source = Prepared(
    [directory] * COPIES,
    frames=FRAMES,
    stride=STRIDE,
    resolution=resolution,
    num_classes=0,
    report=lambda line: None,
  )
  if variant == "python":
    batches = Batches(source, BATCH, 1, 0, workers=_WORKERS.value)
  else:
    from vidgan_jax.data.tensorflow_pipeline import TensorFlowBatches

    batches = TensorFlowBatches(source, BATCH, 1, 0, workers=_WORKERS.value)
  return (batches(iteration)["clip"][0] for iteration in range(2**62))


def _plain(directory: str, resolution: int, ratio: int):
  """What one would write first."""
  from vidgan_jax.data.tensorflow_pipeline import import_tensorflow

  tf = import_tensorflow()

  def decode(record):
    features = {"video": tf.io.FixedLenSequenceFeature([], tf.string, allow_missing=True)}
    video = tf.io.parse_single_example(record, features)["video"]
    span = FRAMES * STRIDE
    begin = tf.random.uniform([], maxval=tf.size(video) - span + 1, dtype=tf.int32)
    video = video[begin : begin + span : STRIDE]
    frames = [tf.io.decode_jpeg(video[i], channels=3, ratio=ratio) for i in range(FRAMES)]
    return tf.image.random_crop(tf.stack(frames), (FRAMES, resolution, resolution, 3))

  options = tf.data.Options()
  options.threading.private_threadpool_size = _WORKERS.value
  options.threading.max_intra_op_parallelism = 1
  files = sorted(glob.glob(os.path.join(directory, "*.tfrecord-*")))
  dataset = tf.data.TFRecordDataset(files).repeat().map(decode, _WORKERS.value)
  dataset = dataset.batch(BATCH, drop_remainder=True).prefetch(1).with_options(options)
  return dataset.as_numpy_iterator()


def _memory() -> float:
  """Resident memory of this process in MiB."""
  import psutil

  return psutil.Process().memory_info().rss / 2**20


def _measure(worker: str) -> dict:
  """Reads one case in one way, in this process."""
  case, variant = worker.split(":")
  batches = _batches(case, variant)
  for _ in range(3):  # threads start, files open, tensorflow makes its graph
    shape = next(batches).shape
  expected = (BATCH, FRAMES, CASES[case][2], CASES[case][2], 3)
  if shape != expected:
    raise UserError(f"{worker} gives batches of {shape}, expected {expected}")
  count, memory, limit = 0, [], _SOAK.value or _SECONDS.value
  begin, begin_cpu = time.perf_counter(), time.process_time()
  while (seconds := time.perf_counter() - begin) < limit:
    next(batches)
    count += 1
    if _SOAK.value and seconds >= len(memory) * limit / 20:
      memory.append(_memory())
  cpu = time.process_time() - begin_cpu
  return {
    "case": case,
    "variant": variant,
    "workers": _WORKERS.value,
    "batches": count,
    "frames_per_second": count * BATCH * FRAMES / seconds,
    "frames_per_cpu_second": count * BATCH * FRAMES / cpu,
    "seconds": seconds,
    "memory_mib": memory,
    "device": settings.cpu_name(),
  }


_WARM_UP = 3  # iterations, in which queues fill


def _train() -> dict:
  """Trains for some iterations on the set of case 64, in this process."""
  from vidgan_jax.training.loop import Trainer

  config = settings.get_config()
  with config.unlocked():
    config.data.name = "prepared"
    config.data.directory = _set(_FOLDER.value, "64")
    config.model.num_classes = 0
    config.num_iterations = config.checkpoint_every = _STALL.value
    config.log_every, config.sample_every = 1, 0
    config.guard.dark_patience = 0
  with tempfile.TemporaryDirectory() as workdir:
    Trainer(config, os.path.join(workdir, "run"), report=lambda line: None).run()
    lines = pathlib.Path(workdir, "run", "log.jsonl").read_text(encoding="utf-8").splitlines()
  log = [json.loads(line) for line in lines][_WARM_UP:]
  steps, waits = ([one[f"time/{name}_seconds"] for one in log] for name in ("step", "input"))
  return {
    "case": "64",
    "variant": "python",
    "config_hash": settings.config_hash(config),
    "step_seconds": steps,
    "input_seconds": waits,
    "device": settings.cpu_name(),
  }


def _stall() -> None:
  result = _fresh("stall")
  steps, waits = result["step_seconds"], result["input_seconds"]
  each = [100 * wait / step for wait, step in zip(waits, steps, strict=True)]
  table = ["iterations s/iteration waiting_ms most_ms waiting_% most_%".split()]
  table.append(
    [
      str(len(steps)),
      f"{statistics.mean(steps):.2f}",
      f"{1000 * statistics.mean(waits):.2f}",
      f"{1000 * max(waits):.2f}",
      f"{100 * sum(waits) / sum(steps):.3f}",
      f"{max(each):.3f}",
    ]
  )
  settings.show(table)
  settings.append(flags.FLAGS.results, "data_stall", result)


def _row(case: str, variant: str, results: dict) -> list[str]:
  own, plain = results[case, variant], results.get((case, "plain"))
  rates = [result["frames_per_cpu_second"] for result in own]
  walls = [result["frames_per_second"] for result in own]
  ratios = "-"
  if plain and variant != "plain":
    each = [a / b["frames_per_cpu_second"] for a, b in zip(rates, plain, strict=True)]
    ratios = f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"
  target = TARGETS.get(case)
  return [
    case,
    variant,
    f"{statistics.median(rates):,.0f}",
    f"{min(rates):,.0f}-{max(rates):,.0f}",
    f"{statistics.median(walls):,.0f}",
    ratios,
    f"{target:,}" if target else "-",
  ]


_COLUMNS = "case variant frames/cpu-s range frames/s to_plain target"


def _fresh(worker: str) -> dict:
  handed_on = [_VIDEOS, _FOLDER, _SECONDS, _WORKERS, _SOAK, _STALL]
  return settings.in_fresh_process(__file__, worker, flags_of=handed_on)


def _rounds(workers: list[str]) -> None:
  results = {}
  for number in range(_ROUNDS.value):
    for worker in workers:
      result = _fresh(worker)
      settings.append(flags.FLAGS.results, "data", {"round": number, **result})
      results.setdefault(tuple(worker.split(":")), []).append(result)
    door.report(f"round {number + 1} of {_ROUNDS.value}: done")
  settings.show([_COLUMNS.split(), *(_row(*worker.split(":"), results) for worker in workers)])


def _soak(workers: list[str]) -> None:
  table = ["case variant seconds batches MiB_at_10% MiB_most_later MiB_at_end".split()]
  for worker in workers:
    result = _fresh(worker)
    settings.append(flags.FLAGS.results, "data_soak", result)
    memory = result["memory_mib"]
    table.append(
      [
        result["case"],
        result["variant"],
        f"{result['seconds']:.0f}",
        str(result["batches"]),
        *(f"{mib:.0f}" for mib in (memory[2], max(memory[2:]), memory[-1])),
      ]
    )
  settings.show(table)


def main(argv):
  """Makes the sets, then measures the variants in turn."""
  del argv
  if _WORKER.value:
    settings.answer(_train() if _WORKER.value == "stall" else _measure(_WORKER.value))
    return
  if 0 < _STALL.value <= _WARM_UP:
    raise UserError(f"--stall needs more than {_WARM_UP} iterations")
  cases = settings.chosen(_CASES.value, CASES)
  variants = settings.chosen(_VARIANTS.value, VARIANTS)
  with tempfile.TemporaryDirectory() as temporary:
    folder = flags.FLAGS.folder = _FOLDER.value or temporary
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    for case in ["64"] if _STALL.value else cases:
      _prepare(folder, case)
    if _STALL.value:
      _stall()
      return
    workers = [f"{case}:{variant}" for case in cases for variant in variants]
    (_soak if _SOAK.value else _rounds)(workers)


if __name__ == "__main__":
  door.run(main)
