"""Shape checks before kernels without index checks, which would read beyond the memory of a wrong shape."""

from torch import Tensor


def check_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    """Raise a `ValueError` that names the tensor if its shape is not `shape`; None is accepted."""
    if tensor is not None and tensor.shape != shape:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but the other arguments require {shape}")
