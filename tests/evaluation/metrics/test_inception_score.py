"""Inception Scores of single classes, and floors of several splits."""

import numpy as np

from vidgan_jax.evaluation.metrics.inception_score import InceptionScore
from vidgan_jax.evaluation.statistics.inception_score import inception_score


def test_scores_of_single_classes_use_one_split(clip_set):
  random = np.random.default_rng(1)
  logits, labels = 3 * random.standard_normal((41, 5)), np.repeat([0, 2, 3], [20, 20, 1])
  metric = InceptionScore("any", "any", splits=10, eps=1e-2, eps_place="probabilities")
  clips = clip_set(logits, labels=labels)
  by_class = metric.by_class(clips, clips)
  assert {*by_class} == {0, 2}  # class 3 has only one clip
  for label, entry in by_class.items():
    expected, _ = inception_score(logits[labels == label], eps=1e-2, eps_place="probabilities")
    assert entry["value"] == expected > 1.5 and entry["count_generated"] == 20


def test_there_is_no_floor_with_fewer_real_clips_than_splits(features, clip_set, score):
  x, y = features()
  ten = InceptionScore("any", "any", splits=10)
  for count, has_floor in ((9, False), (10, True)):
    (result,) = score(ten, clip_set(x[:count]), [clip_set(y)])
    assert result.value > 0 and (result.floor is not None) is has_floor
