"""Every registered metric fulfils the interface of `Metric`."""

import dataclasses

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics import registry
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import fingerprint

OTHERS = {  # for each field, a value that is not its default
  "network": "other",
  "output": "other",
  "preprocess": (("bgr",),),
  "ddof": 0,
  "splits": 10,
  "eps": 1e-7,
  "eps_place": "probabilities",
  "subsets": 100,
  "subset_size": 500,
  "estimator": "unbiased",
  "neighbours": (5, 5),
  "order": 2.0,
}


@pytest.mark.parametrize("name", METRICS)
def test_every_field_is_in_its_fingerprint(name):
  metric = METRICS[name]("a", "a")
  digests = {fingerprint.digest(metric.fields())}
  names = [field.name for field in dataclasses.fields(metric)]
  for field in names:
    digests.add(fingerprint.digest(dataclasses.replace(metric, **{field: OTHERS[field]}).fields()))
  assert len(digests) == 1 + len(names)
  assert metric.fields()["metric"] == name


@pytest.mark.parametrize("name", METRICS)
def test_its_scores_are_the_declared_numbers(name, features, clip_set, score):
  metric = METRICS[name]("a", "any")
  real, generated = (clip_set(s, labels=np.arange(len(s)) % 6) for s in features())
  scores = score(metric, real, [generated])
  assert [one.metric for one in scores] == [number.name for number in metric.numbers]
  for one in scores:
    assert registry.metric_of_number(one.metric) is METRICS[name]
    assert registry.number(one.metric).meaning.endswith(".")
  assert all(isinstance(line, str) for line in metric.settings())
  assert bool(metric.by_class(real, generated)) == metric.scores_classes
  assert metric.input in ("features", "logits", "pixels")


def test_an_unknown_number_has_a_title_and_no_direction():
  assert registry.number("some_score").title == "some score"
  assert registry.metric_of_number("some_score") is None
  assert registry.direction("some_score") == ("", "")
