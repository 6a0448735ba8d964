"""Metrics that are added to a protocol use the network outputs of its own metrics."""

import pytest

from vidgan_jax.evaluation.protocols.registry import get_protocol, with_metrics
from vidgan_jax.runtime.errors import UserError


def test_added_metrics_use_the_outputs_of_the_protocol():
  protocol = get_protocol("moving_shapes")
  *first, distance, score = with_metrics(protocol, ["fvd", "is_infinity"]).metrics
  assert tuple(first) == protocol.metrics
  assert (distance.name, distance.output) == ("fvd", "features")
  assert distance.preprocess == protocol.metrics[1].preprocess
  assert (score.name, score.output, score.network) == ("is_infinity", "logits", distance.network)
  (*_, neighbours) = with_metrics(get_protocol("dvd_gan_fid_is_k600"), ["prdc"]).metrics
  assert (neighbours.network, neighbours.output) == ("i3d_kinetics600", "avgpool")


@pytest.mark.parametrize(
  ("protocol", "name", "words"),
  [
    ("recommended", "vdni", "unknown metric 'vdni'; known: fvd, fid"),
    ("recommended", "kvd", "protocol recommended already has kvd"),
    ("tgan_is_c3d", "fvd", "fvd needs features, which protocol tgan_is_c3d does not use"),
  ],
)
def test_refusals(protocol, name, words):
  with pytest.raises(UserError, match=words):
    with_metrics(get_protocol(protocol), [name])
