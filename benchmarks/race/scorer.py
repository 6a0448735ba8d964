"""Scores drawn clips by a protocol of `vidgan evaluate`; `league.py` starts it as a process.

  python benchmarks/race/scorer.py --job=JOB.json

JOB.json has "clips" and "real" (files .npz with "clips" and, unless drawn without classes,
"labels"), "names" (of the classes), "protocol", "metrics" (to add), "weights" (the file of a
classifier to take the place of the network, or null), "seed", and "output" (the JSON file of
records to write). It scores as `vidgan evaluate --clips
--real` does; here the classes have names, so that the accuracy is computed too.

Exit codes: 0 done; 2 bad input.
"""

import dataclasses
import json
import os
import pathlib
import sys
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import settings  # noqa: F401 - makes the package importable

from race import job
from vidgan_jax.runtime import door

OWN = "classifier_trained_on_the_training_clips"  # name of a network that the league has trained


def _clips(path: str, names: list[str]) -> object:
  """The clips of a file as the evaluator takes them."""
  from vidgan_jax import evaluation

  with np.load(path) as stored:
    labels = stored["labels"] if "labels" in stored else None
    clips = evaluation.ArrayClips(stored["clips"], labels, pathlib.Path(path).name)
  if labels is not None:
    clips.num_classes, clips.class_names = len(names), tuple(names)
  return clips


def _with_classifier(protocol: Any, weights: str, names: list[str]) -> tuple[Any, dict]:
  """The protocol with another classifier of the same form, and {name of the network: it}."""
  from vidgan_jax.evaluation.features import extractor

  loaded = extractor.load_extractor(extractor.PACKAGED, weights)
  named = dataclasses.replace(loaded, name=OWN, class_names=tuple(names))
  metrics = tuple(dataclasses.replace(metric, network=OWN) for metric in protocol.metrics)
  changed = dataclasses.replace(protocol, name=f"league_{OWN}", metrics=metrics, notes=())
  return changed, {OWN: named}


def score(work: dict) -> list[dict]:
  """The records of all metrics, as in results.json."""
  from vidgan_jax import evaluation
  from vidgan_jax.evaluation.protocols import registry

  protocol = registry.with_metrics(registry.get_protocol(work["protocol"]), work["metrics"])
  if work["weights"] is None:
    extractors = evaluation.load_extractors(protocol)
  else:
    protocol, extractors = _with_classifier(protocol, work["weights"], work["names"])
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
  work = job.begin()

  output = pathlib.Path(work["output"])
  temporary = output.with_suffix(".tmp")
  temporary.write_text(json.dumps(score(work)), encoding="utf-8")
  os.replace(temporary, output)
  return 0


if __name__ == "__main__":
  job.define()
  door.run(main)
