"""Inception Scores of splits and of classes."""

import numpy as np

from vidgan_jax.evaluation.metrics.inception_score import InceptionScore
from vidgan_jax.evaluation.statistics.inception_score import inception_score


def test_inception_scores_of_every_class_are_of_one_split(clip_set):
  random = np.random.default_rng(1)
  logits, labels = 3 * random.standard_normal((41, 5)), np.repeat([0, 2, 3], [20, 20, 1])
  metric = InceptionScore("any", "any", splits=10, eps=1e-2, eps_place="probabilities")
  clips = clip_set(logits, labels=labels)
  found = metric.by_class(clips, clips)
  assert {*found} == {0, 2}  # one clip alone says nothing of variety
  for label, entry in found.items():
    expected, _ = inception_score(logits[labels == label], eps=1e-2, eps_place="probabilities")
    assert entry["value"] == expected > 1.5 and entry["count_generated"] == 20


def test_ten_splits_of_fewer_real_clips_have_no_floor(features, clip_set, score):
  x, y = features()
  ten = InceptionScore("any", "any", splits=10)
  for count, has_floor in ((9, False), (10, True)):
    (found,) = score(ten, clip_set(x[:count]), [clip_set(y)])
    assert found.value > 0 and (found.floor is not None) is has_floor
