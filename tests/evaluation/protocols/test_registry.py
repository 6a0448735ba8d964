"""Metrics that are added to a protocol read what its own metrics read."""

import pytest

from vidgan_jax.evaluation.protocols.registry import get_protocol, with_metrics
from vidgan_jax.runtime.errors import UserError


def test_added_metrics_read_what_the_protocols_own_metrics_read():
  own = get_protocol("moving_shapes")
  *kept, distance, score = with_metrics(own, ["fvd", "is_infinity"]).metrics
  assert tuple(kept) == own.metrics
  assert (distance.name, distance.output, distance.preprocess) == (
    "fvd",
    "features",
    own.metrics[1].preprocess,
  )
  assert (score.name, score.output, score.network) == ("is_infinity", "logits", distance.network)
  (*_, neighbours) = with_metrics(get_protocol("dvd_gan_fid_is_k600"), ["prdc"]).metrics
  assert (neighbours.network, neighbours.output) == ("i3d_kinetics600", "avgpool")


@pytest.mark.parametrize(
  ("protocol", "name", "words"),
  [
    ("recommended", "vdni", "unknown metric 'vdni'; known: fvd, fid"),
    ("recommended", "kvd", "protocol recommended has kvd already"),
    ("tgan_is_c3d", "fvd", "fvd needs features, which protocol tgan_is_c3d does not read"),
  ],
)
def test_refusals(protocol, name, words):
  with pytest.raises(UserError, match=words):
    with_metrics(get_protocol(protocol), [name])
