"""Provides a fixture that writes PyTorch files, for tests of the conversion of weights."""

from tests.torch_files import write_torch  # noqa: F401
