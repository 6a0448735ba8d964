"""Every metric that is registered keeps the contract."""

import dataclasses

import numpy as np
import pytest

from vidgan_jax.evaluation.metrics import registry
from vidgan_jax.evaluation.metrics.registry import METRICS
from vidgan_jax.evaluation.protocols import fingerprint

OTHERS = {  # of each field a value that is not its default
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
  own = [field.name for field in dataclasses.fields(metric)]
  for field in own:
    digests.add(fingerprint.digest(dataclasses.replace(metric, **{field: OTHERS[field]}).fields()))
  assert len(digests) == 1 + len(own)
  assert metric.fields()["metric"] == name


@pytest.mark.parametrize("name", METRICS)
def test_its_scores_are_the_numbers_that_it_names(name, features, clip_set, score):
  metric = METRICS[name]("a", "any")
  real, generated = (clip_set(s, labels=np.arange(len(s)) % 6) for s in features())
  found = score(metric, real, [generated])
  assert [each.metric for each in found] == [number.name for number in metric.numbers]
  for each in found:
    assert registry.of_number(each.metric) is METRICS[name]
    assert registry.number(each.metric).meaning.endswith(".")
  assert all(isinstance(line, str) for line in metric.settings())
  assert bool(metric.by_class(real, generated)) == metric.scores_classes
  assert metric.input in ("features", "logits")


def test_a_number_that_is_not_known_has_a_name_and_no_direction():
  assert registry.number("some_score").title == "some score"
  assert registry.of_number("some_score") is None and registry.direction("some_score") == ("", "")
