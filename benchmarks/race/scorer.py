"""Scores drawn clips by a protocol of `vidgan evaluate`; `league.py` starts it as a process.

  python benchmarks/race/scorer.py --job=JOB.json

JOB.json has "clips" and "real" (files .npz with "clips" and, unless drawn without classes,
"labels"), "names" (of the classes), "protocol", "metrics" (to add), "weights" (a folder, or null),
"seed", and "output" (the JSON file of records to write). It scores as `vidgan evaluate --clips
--real` does; here the classes have names, so that the accuracy is computed too.

Exit codes: 0 done; 2 bad input.
"""

import json
import os
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # noqa: F401 - makes the package importable

from race import job
from vidgan_jax.runtime import door


def _clips(path: str, names: list[str]) -> object:
  """The clips of a file as the evaluator takes them."""
  from vidgan_jax import evaluation

  with np.load(path) as stored:
    labels = stored["labels"] if "labels" in stored else None
    clips = evaluation.ArrayClips(stored["clips"], labels, pathlib.Path(path).name)
  if labels is not None:
    clips.num_classes, clips.class_names = len(names), tuple(names)
  return clips


def score(work: dict) -> list[dict]:
  """The records of all metrics, as in results.json."""
  from vidgan_jax import evaluation
  from vidgan_jax.evaluation.protocols import registry

  protocol = registry.with_metrics(registry.get_protocol(work["protocol"]), work["metrics"])
  extractors = evaluation.load_extractors(protocol, work["weights"])
  evaluator = evaluation.Evaluator(protocol, extractors, report=door.report)
  reference = evaluator.reference(_clips(work["real"], work["names"]))
  drawn = _clips(work["clips"], work["names"])
  scores = evaluator.score(
    drawn, reference, count=drawn.count, labelled=drawn.labelled, seed=work["seed"]
  )
  return scores.records


def main(argv: list[str]) -> int:
  """Scores the clips of a job."""
  del argv
  work = job.read()
  from vidgan_jax.runtime.hardware import compilation, memory

  memory.keep_freed_on_cpu()
  compilation.enable_cache(None, door.report)
  output = pathlib.Path(work["output"])
  temporary = output.with_suffix(".tmp")
  temporary.write_text(json.dumps(score(work)), encoding="utf-8")
  os.replace(temporary, output)
  return 0


if __name__ == "__main__":
  job.define()
  door.run(main)
