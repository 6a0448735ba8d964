"""Readers of the file formats of published weights; nothing is unpickled."""
