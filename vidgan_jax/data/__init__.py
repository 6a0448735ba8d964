"""Training clips: where they come from, in which order, and the batches made of them (NumPy only).

`build.build_source` turns a configuration into a `sources.base.Source`. `pipeline.Batches` computes
the uint8 batches of any training iteration from it, and `pipeline.Prefetcher` computes them ahead.
"""
