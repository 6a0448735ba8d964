"""What evaluation computes: each protocol's fingerprints, and scores of tiny sets of clips."""

import dataclasses
import hashlib
import json
import pathlib
import tempfile

import jax.numpy as jnp
import numpy as np

from vidgan_jax.data.sources.moving_shapes import MovingShapes
from vidgan_jax.evaluation import motion_controls
from vidgan_jax.evaluation.clips import ArrayClips, RealClips
from vidgan_jax.evaluation.evaluator import Evaluator, load_extractors
from vidgan_jax.evaluation.features.extractor import Extractor
from vidgan_jax.evaluation.protocols import fingerprint
from vidgan_jax.evaluation.protocols import registry as protocols
from vidgan_jax.evaluation.report import results

_REAL, _GENERATED = 48, 24
_OUTPUTS = ("logits", "features", "avgpool", "fc7")  # of any network


def _apply(variables, clips):
  """A few numbers of a prepared clip: those of every 29th pixel of two frames."""
  some = clips[:, ::9, 3::29, 5::29].reshape(len(clips), -1)
  hidden = jnp.tanh(jnp.matmul(some, variables["in"][: some.shape[1]], precision="highest"))
  return {name: (1 + i) * hidden for i, name in enumerate(_OUTPUTS)}


def _stand_in(name: str, protocol) -> Extractor:
  """A network in place of the one that a protocol names, whose weights are not in this project."""
  generator = np.random.default_rng(7)
  subtracts = "subtract_mean" in str(protocol.describe())  # and keeps pixels in 0..255
  return Extractor(
    name=name,
    weights_hash=f"weights of {name}",
    outputs=dict.fromkeys(_OUTPUTS, 5),
    min_frames=4,
    input_size=None,
    variables={
      "in": (0.003 if subtracts else 0.3) * generator.normal(size=(4096, 5)).astype(np.float32)
    },
    apply=_apply,
    constants={"mean": generator.normal(size=(16, 128, 171, 3)).astype(np.float32)}
    if subtracts
    else {},
    class_names=("0", "1", "2", "3"),  # the names that `ArrayClips` gives to the labels of `_clips`
  )


def _clips(count: int, seed: int, frames: int = 16, side: int = 12):
  """Uint8 clips of four classes, and their labels."""
  generator = np.random.default_rng(seed)
  labels = np.arange(count, dtype=np.int32) % 4
  base = np.random.default_rng(0).integers(0, 120, (4, frames, side, side, 3))
  clips = base[labels] + generator.integers(0, 100 + 10 * seed, (count, frames, side, side, 3))
  return clips.astype(np.uint8), labels


def _digest(value) -> str:
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


# Sentences for readers, which may be worded anew.
_SENTENCES = ("notes", "source", "what", "warnings", "description")


def _without_sentences(settings: dict) -> dict:
  return {name: value for name, value in settings.items() if name not in _SENTENCES}


def _plain(value):
  """A tree of numbers, words and lists whose floats are hexadecimal."""
  if isinstance(value, dict):
    return {name: _plain(each) for name, each in _without_sentences(value).items()}
  if isinstance(value, list | tuple):
    return [_plain(each) for each in value]
  return value.hex() if isinstance(value, float) else value


def protocol(name: str) -> dict:
  """Fields, fingerprints and values of a protocol's numbers.

  The protocol's networks are stand-ins, its counts small. What "settings" holds is of the protocol
  itself.
  """
  known = protocols.get_protocol(name)
  small = dataclasses.replace(
    known,
    generated_count=_GENERATED,
    real_count=known.real_count and _REAL,
    bootstrap=min(known.bootstrap, 4),
  )
  networks = {name: _stand_in(name, known) for name in known.networks}
  evaluator = Evaluator(small, networks, batch_size=8, report=lambda line: None)
  generated = ArrayClips(*_clips(_GENERATED * small.repeats, 1))
  reference = evaluator.reference(ArrayClips(*_clips(_REAL, 2)))
  scores = evaluator.score(generated, reference)
  settings = _without_sentences(fingerprint.plain(known.describe()))
  records, numbers = [], {}
  for record in scores.records:
    metric = f"{record['metric']} {record['network']}.{record['output']}"
    numbers[metric] = {key: record[key] for key in ("value", "std", "interval", "floor")}
    # The same number at the counts that the protocol asks for.
    fields = {**record["fields"], "count_generated": known.generated_count}
    if known.real_count and "count_real" in fields:
      fields["count_real"] = known.real_count
    records.append(
      {
        "metric": metric,
        "fields": record["fields"],
        "column": record["fingerprint"],
        "number": record["number"],
        "column at the protocol's counts": fingerprint.of_column(fields),
      }
    )
  return {
    "settings": {name: _digest(value) for name, value in sorted(settings.items())},
    "reference": {str(n): d for (n, _), d in sorted(reference.hashes.items(), key=str)},
    "records": json.loads(json.dumps(records)),
    "numbers": _plain(fingerprint.plain(numbers)),
    "per_class": _plain(fingerprint.plain(scores.per_class)),
  }


def fingerprints() -> dict:
  """{protocol: see `protocol`}."""
  return {name: protocol(name) for name in protocols.all_protocols()}


def embedded() -> dict:
  """Results of the built-in moving shapes' protocol: what `evaluate` writes into results.json."""
  known = dataclasses.replace(
    protocols.get_protocol("moving_shapes"), real_count=64, generated_count=32, bootstrap=8
  )
  told = []
  evaluator = Evaluator(known, load_extractors(known), batch_size=16, report=told.append)
  source = MovingShapes(80, 6, 32, 8, 0, "train")
  real = RealClips(source, known, 64)
  shapes = MovingShapes(32, 6, 32, 8, 5, "train", variety=0.5)
  generated = ArrayClips(*RealClips(shapes, known, 32, seed=1)(0, 32))
  generated.about = {"step": 7, "ema": True, "truncation": 1.0, "seed": 0}
  reference = evaluator.reference(real)
  scores = evaluator.score(generated, reference)
  controls = motion_controls.score(evaluator, real, reference)
  heading = evaluator.heading(reference, {"workdir": "run", "name": "run"})
  content = results.merge(None, heading, scores.records, scores.per_class, controls)
  with tempfile.TemporaryDirectory() as folder:
    results.write(folder, content)
    content = json.loads((pathlib.Path(folder) / results.FILE).read_text())
    written = {key: list(value) for key, value in content.items() if isinstance(value, dict)}
    latex = (pathlib.Path(folder) / results.LATEX).read_text()
  return {
    "keys": sorted(content),
    "inner keys": written,
    "record keys": sorted(content["records"][0]),
    "content": _plain({k: v for k, v in content.items() if k in ("records", "reference")}),
    "per_class": _plain(content["per_class"])[:40],
    "controls": [
      [record["metric"], record["control"], record["value"].hex()] for record in controls
    ],
    "protocol": _digest(_without_sentences(content["protocol"])),
    "paper": _digest(content["paper"]),
    "latex": latex.splitlines(),
    "told": told,
  }
