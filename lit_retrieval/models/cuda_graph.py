"""Recording of CUDA graphs: what a function launches, launched again as one."""

from collections.abc import Callable

import torch

Record = Callable[[Callable[[], None]], Callable[[], None]]
"""Records what a function launches, without running it, and returns a function that launches it."""


class CudaGraphs:
    """Records CUDA graphs that share their memory: what one has computed is not kept when the next one runs."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], None]) -> Callable[[], None]:
        """The launch of a graph of what `run` launches."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            # Other threads, which pin batches, may use the GPU in the meantime.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                run()
        finally:
            torch.cuda.set_stream(stream)  # PyTorch leaves another one after an error
        return graph.replay
