"""The list of protocols shows all settings of each protocol and of its metrics."""

import dataclasses

from vidgan_jax import evaluation
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import listing
from vidgan_jax.evaluation.protocols import registry as protocols


def test_it_contains_every_protocol_and_metric():
  text = "\n".join(listing.lines())
  assert all(name in text for name in protocols.all_protocols())
  for metric in METRICS.values():
    assert all(f"{metric.name}" in text and number.meaning in text for number in metric.numbers)


def test_it_shows_all_settings_of_a_protocol(monkeypatch):
  """Every change of a field changes the list, except papers' rows, which reports show."""
  protocol = dataclasses.replace(protocols.get_protocol("dvd_gan_fid_is_k600"), repeats=2)
  others = {
    "name": "other", "source": "other", "frames": 7, "stride": 9, "windows": "first",
    "windows_per_video": 3, "crop": "center", "flip": True, "real_count": 77,
    "generated_count": 99, "split": "test", "repeats": 1, "quantisation": "none",
    "resolutions": (32,), "per_class": True, "notes": ("other",), "metrics": (),
  }  # fmt: skip
  shown = {field.name for field in dataclasses.fields(protocol)} - {"paper", "bootstrap"}
  assert {*others} == shown
  lists = set()
  for changes in ({}, *({name: value} for name, value in others.items())):
    changed = dataclasses.replace(protocol, **changes)
    monkeypatch.setattr(protocols, "all_protocols", lambda changed=changed: {changed.name: changed})
    lists.add("\n".join(listing.lines()))
  assert len(lists) == 1 + len(others)


def test_it_shows_all_settings_of_a_metric(monkeypatch):
  others = {
    "fid": {"network": "other", "output": "other", "ddof": 0, "preprocess": (("bgr",),)},
    "is": {"splits": 10, "eps": 1e-7},
    "kvd": {"subsets": 100, "estimator": "unbiased"},
    "prdc": {"neighbours": (4, 5)},
  }

  def list_of(metric, bootstrap=40):
    protocol = evaluation.Protocol("tiny", "a test", (metric,), bootstrap=bootstrap)
    monkeypatch.setattr(protocols, "all_protocols", lambda: {"tiny": protocol})
    return "\n".join(listing.lines())

  for name, changes in others.items():
    metric = METRICS[name]("a", "a", (("resize", "tf1", 8, 8),))
    lists = {list_of(dataclasses.replace(metric, **{n: v})) for n, v in changes.items()}
    assert len(lists | {list_of(metric)}) == 1 + len(changes)
    assert "after resize tf1 8 8" in list_of(metric)
  kvd = METRICS["kvd"]("a", "a", subsets=3)
  assert list_of(kvd) != list_of(dataclasses.replace(kvd, subset_size=9))
  score = METRICS["is"]("a", "a", eps=1e-7)
  assert list_of(score) != list_of(dataclasses.replace(score, eps_place="probabilities"))
  fid = METRICS["fid"]("a", "a")
  assert "95 % interval" in list_of(fid) and "no interval" in list_of(fid, bootstrap=0)


def test_it_shows_the_count_of_the_floor():
  counts = {"moving_shapes": 1000, "recommended": 5000, "fvd_unterthiner2018": 1024}
  text = listing.lines()
  for name, count in counts.items():
    (line,) = (i for i, line in enumerate(text) if line.startswith(f"{name}: "))
    assert f"real against real with {count:,} clips on each side" in text[line + 3]
