"""Records the kernels that a function launches as a CUDA graph, which launches them all at once."""

from collections.abc import Callable

import torch

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function launches, without running it, and returns a function that launches it."""


class CudaGraphs:
    """Records CUDA graphs that share memory: running one overwrites the results of the others."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        """Record what `run` launches, and return a function that launches the graph."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Meanwhile other threads, which pin batches, may use the GPU.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                run()
        finally:
            torch.cuda.set_stream(stream)  # PyTorch leaves another one after an error
        return graph.replay
