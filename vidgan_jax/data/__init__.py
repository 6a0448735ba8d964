"""Where clips come from: sources, their order, and the batches cut from them (NumPy only).

`build.build_source` turns a configuration into a `sources.Source`; `pipeline.Batches` turns that
into the uint8 batches of any training iteration, and `pipeline.Prefetcher` computes them ahead.
"""
