"""File formats of prepared sets: TFRecord, index files, pictures."""
