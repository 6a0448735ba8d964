"""File formats of prepared sets: TFRecord files, index files and encoded pictures."""
