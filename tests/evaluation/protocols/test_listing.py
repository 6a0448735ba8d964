"""The list of protocols shows all that a protocol and its metrics fix."""

import dataclasses

from vidgan_jax import evaluation
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import listing
from vidgan_jax.evaluation.protocols import registry as protocols


def test_it_names_every_protocol_and_metric():
  text = "\n".join(listing.lines())
  assert all(name in text for name in protocols.known())
  for metric in METRICS.values():
    assert all(f"{metric.name}" in text and number.meaning in text for number in metric.numbers)


def test_the_list_tells_all_that_a_protocol_fixes(monkeypatch):
  """Whatever is changed is seen, but for papers' rows, which stand in reports."""
  protocol = dataclasses.replace(protocols.get_protocol("dvd_gan_fid_is_k600"), repeats=2)
  others = {
    "name": "other", "source": "other", "frames": 7, "stride": 9, "windows": "first",
    "windows_per_video": 3, "crop": "center", "flip": True, "real_count": 77,
    "generated_count": 99, "split": "test", "repeats": 1, "quantisation": "none",
    "resolutions": (32,), "per_class": True, "notes": ("other",), "metrics": (),
  }  # fmt: skip
  told = {field.name for field in dataclasses.fields(protocol)} - {"paper", "bootstrap"}
  assert {*others} == told
  seen = set()
  for changes in ({}, *({name: value} for name, value in others.items())):
    changed = dataclasses.replace(protocol, **changes)
    monkeypatch.setattr(protocols, "known", lambda changed=changed: {changed.name: changed})
    seen.add("\n".join(listing.lines()))
  assert len(seen) == 1 + len(others)


def test_the_list_tells_all_settings_of_a_metric(monkeypatch):
  others = {
    "fid": {"network": "other", "output": "other", "ddof": 0, "preprocess": (("bgr",),)},
    "is": {"splits": 10, "eps": 1e-7},
    "kvd": {"subsets": 100, "estimator": "unbiased"},
    "prdc": {"neighbours": (4, 5)},
  }

  def told(metric, bootstrap=40):
    protocol = evaluation.Protocol("tiny", "a test", (metric,), bootstrap=bootstrap)
    monkeypatch.setattr(protocols, "known", lambda: {"tiny": protocol})
    return "\n".join(listing.lines())

  for name, changes in others.items():
    metric = METRICS[name]("a", "a", (("resize", "tf1", 8, 8),))
    seen = {told(dataclasses.replace(metric, **{n: v})) for n, v in changes.items()}
    assert len(seen | {told(metric)}) == 1 + len(changes)
    assert "after resize tf1 8 8" in told(metric)
  size = METRICS["kvd"]("a", "a", subsets=3)
  assert told(size) != told(dataclasses.replace(size, subset_size=9))
  place = METRICS["is"]("a", "a", eps=1e-7)
  assert told(place) != told(dataclasses.replace(place, eps_place="probabilities"))
  fid = METRICS["fid"]("a", "a")
  assert "95 % interval" in told(fid) and "no interval" in told(fid, bootstrap=0)


def test_the_floor_is_at_the_count_that_is_told():
  counts = {"moving_shapes": 1000, "recommended": 5000, "fvd_unterthiner2018": 1024}
  text = listing.lines()
  for name, count in counts.items():
    (line,) = (i for i, line in enumerate(text) if line.startswith(f"{name}: "))
    assert f"floor at {count:,} clips a side" in text[line + 3]
