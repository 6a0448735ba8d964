"""Times the reading of prepared sets with our two readers and with a plain tf.data map.

  pip install -r requirements-data.txt          # for tensorflow
  python benchmarks/data.py --videos='FOLDER/*.mp4'
  python benchmarks/data.py --videos='FOLDER/*.mp4' --soak=600 --variants=python
  python benchmarks/data.py --videos='FOLDER/*.mp4' --stall=12   # needs no tensorflow

The videos should have 340x256 pixels, as many of Kinetics have. `prepare` makes JPEG sets of 64x64,
128x170 and 256x340 pixels from them in --folder. Each set is read 64 times in a row, as if it were
a larger set.

  case     stored    read at
  64       64x64     64
  128      128x170   128
  128_64   128x170   64, decoded at half resolution
  256_64   256x340   64, decoded at a quarter of the resolution

  variant      reads batches of 64 clips of 12 frames, every second frame of the video
  python       pipeline.Batches: threads that decode with simplejpeg
  tensorflow   TensorFlowBatches: tf.data
  plain        TFRecordDataset.map(parse, decode the needed frames, crop).batch(). It reads whole
               records and decodes at the same reduced resolutions, without shuffling, index or seed

Each round runs every variant in a fresh process. The table has frames per second of processor time
(summed over all threads, so this is the speed of one core), frames per second of elapsed time with
--workers threads, and the ratio to "plain" in the same round. Each measurement appends one line of
JSON to --results.

--soak=SECONDS reads each case for this time, over many epochs, and prints the memory instead.

--stall=N trains DVD-GAN for N iterations on the 64x64 set (64x64x12, ch 16, batch 2, float32, as in
iteration.py but without labels). It prints the time that iterations waited for their batch, from
the training log, without the first three iterations.

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
from vidgan_jax.runtime.config import schema
from vidgan_jax.runtime.errors import UserError

# Stored resolution, options of prepare, resolution to read, reduction by the decoder.
CASES = {
  "64": (64, ["--crop=256"], 64, 1),
  "128": (128, [], 128, 1),
  "128_64": (128, [], 64, 2),
  "256_64": (256, [], 64, 4),
}
TARGETS = {"64": 14_000, "128": 5_700, "256_64": 3_000}  # frames/s of a core
VARIANTS = ("python", "tensorflow", "plain")
FRAMES, STRIDE, BATCH, COPIES = 12, 2, 64, 64

_VIDEOS = flags.DEFINE_string(
  "videos", None, "Glob pattern of video files, in quotes.", required=True
)
_FOLDER = flags.DEFINE_string(
  "folder", None, "Folder for the prepared sets; default a temporary one."
)
_CASES = settings.define_cases("cases", CASES)
_VARIANTS = settings.define_cases("variants", VARIANTS)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Fresh processes per variant.", lower_bound=1)
_SECONDS = schema.define(
  "seconds",
  schema.number(3.0, "Minimum time of each measurement.", least=0.1, most=1_000_000),
)
_WORKERS = flags.DEFINE_integer("workers", 1, "Decoding threads.", lower_bound=1)
_SOAK = schema.define(
  "soak",
  schema.number(
    0.0,
    "Read for this many seconds and print the memory; 0 measures speed.",
    least=0,
    most=1_000_000,
  ),
)
_STALL = flags.DEFINE_integer(
  "stall",
  0,
  "Train for this many iterations and print the time spent waiting for data; 0 measures speed.",
  lower_bound=0,
)
settings.define_results()
settings.define_worker()


def _prepare(folder: str, case: str) -> None:
  """Makes the set of a case, unless it exists."""
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
  """Batches from the simplest tf.data pipeline."""
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
  """Measures "CASE:VARIANT" or "stall" in this process."""
  if worker == "stall":
    return _train()
  case, variant = worker.split(":")
  batches = _batches(case, variant)
  for _ in range(3):  # warm-up: threads start, files are opened, tensorflow builds its graph
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


_WARM_UP = 3  # iterations in which queues fill; not counted


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


def _measure_stall() -> None:
  """Trains in a fresh process and prints the times that it waited for data."""
  result = _in_fresh_process("stall")
  steps, waits = result["step_seconds"], result["input_seconds"]
  percentages = [100 * wait / step for wait, step in zip(waits, steps, strict=True)]
  table = ["iterations s/iteration waiting_ms most_ms waiting_% most_%".split()]
  table.append(
    [
      str(len(steps)),
      f"{statistics.mean(steps):.2f}",
      f"{1000 * statistics.mean(waits):.2f}",
      f"{1000 * max(waits):.2f}",
      f"{100 * sum(waits) / sum(steps):.3f}",
      f"{max(percentages):.3f}",
    ]
  )
  settings.show(table)
  settings.append(flags.FLAGS.results, "data_stall", result)


def _row(case: str, variant: str, results: dict) -> list[str]:
  """The table's row of a variant, from {(case, variant): results of the rounds}."""
  of_variant, of_plain = results[case, variant], results.get((case, "plain"))
  rates = [result["frames_per_cpu_second"] for result in of_variant]
  elapsed_rates = [result["frames_per_second"] for result in of_variant]
  ratios = "-"
  if of_plain and variant != "plain":
    each = [a / b["frames_per_cpu_second"] for a, b in zip(rates, of_plain, strict=True)]
    ratios = f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"
  target = TARGETS.get(case)
  return [
    case,
    variant,
    f"{statistics.median(rates):,.0f}",
    f"{min(rates):,.0f}-{max(rates):,.0f}",
    f"{statistics.median(elapsed_rates):,.0f}",
    ratios,
    f"{target:,}" if target else "-",
  ]


_COLUMNS = "case variant frames/cpu-s range frames/s to_plain target"


def _in_fresh_process(worker: str) -> dict:
  passed_on = [_VIDEOS, _FOLDER, _SECONDS, _WORKERS, _SOAK, _STALL]
  return settings.in_fresh_process(__file__, worker, flags_of=passed_on)


def _measure_speed(workers: list[str]) -> None:
  """Measures "CASE:VARIANT" names in turn, round by round, and prints the table."""
  results = {}
  for number in range(_ROUNDS.value):
    for worker in workers:
      result = _in_fresh_process(worker)
      settings.append(flags.FLAGS.results, "data", {"round": number, **result})
      results.setdefault(tuple(worker.split(":")), []).append(result)
    door.report(f"round {number + 1} of {_ROUNDS.value}: done")
  settings.show([_COLUMNS.split(), *(_row(*worker.split(":"), results) for worker in workers)])


def _measure_memory(workers: list[str]) -> None:
  """Reads each "CASE:VARIANT" for --soak seconds and prints the memory."""
  table = ["case variant seconds batches MiB_at_10% MiB_most_later MiB_at_end".split()]
  for worker in workers:
    result = _in_fresh_process(worker)
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


def main():
  """Makes the sets, then measures the variants in turn."""
  if 0 < _STALL.value <= _WARM_UP:
    raise UserError(f"--stall needs more than {_WARM_UP} iterations")
  cases = settings.chosen(_CASES.value, CASES)
  variants = settings.chosen(_VARIANTS.value, VARIANTS, "variant")
  with tempfile.TemporaryDirectory() as temporary:
    folder = flags.FLAGS.folder = _FOLDER.value or temporary
    pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    for case in ["64"] if _STALL.value else cases:
      _prepare(folder, case)
    if _STALL.value:
      _measure_stall()
      return
    workers = [f"{case}:{variant}" for case in cases for variant in variants]
    (_measure_memory if _SOAK.value else _measure_speed)(workers)


if __name__ == "__main__":
  settings.run(main, _measure)
