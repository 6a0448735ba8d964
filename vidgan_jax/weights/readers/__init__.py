"""Readers of the file formats of published weights; they never unpickle."""
