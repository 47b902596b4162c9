"""Shape checks before kernels that don't check indices: a wrong shape would read beyond a tensor's memory."""

from torch import Tensor


def check_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise a `ValueError` that names the tensor unless its shape is `shape`, or it is None."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but the other arguments require {shape}")
