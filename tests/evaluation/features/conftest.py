"""A writer of PyTorch's files, from which weights are converted."""

from tests.torch_files import write_torch  # noqa: F401
