"""Converts users' data to a prepared data set (docs/data_format.md), without tensorflow.

`inputs` lists the clips of a source; `pictures` selects, resizes and encodes their frames; `shards`
writes them. `run.prepare` does all of this, and `verify.verify` checks a finished set.
"""
