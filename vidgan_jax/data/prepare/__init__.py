"""From what users have on disk to a prepared data set (docs/data_format.md); no tensorflow.

`inputs` lists the clips of a source, `pictures` chooses, resizes and encodes their frames, `shards`
writes them, `run.prepare` does it all and `verify.verify` looks at the result again.
"""
