"""Whole training steps as CUDA graphs: one launch instead of one or two thousand."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F

from lit_retrieval.data import Batch
from lit_retrieval.errors import one_line
from lit_retrieval.models import CudaGraphs, Record
from lit_retrieval.training.global_step import has_scaler

if TYPE_CHECKING:
    from lit_retrieval.training.sequence_module import SequenceModule

# With more tokens in a batch, the GPU takes longer for a kernel than the host, and a graph would only need memory.
_MOST_TOKENS = 100_000
_MOST_GRAPHS = 32
_NO_TARGET = -100  # what `cross_entropy` ignores


class StepInputs(NamedTuple):
    """The inputs of a step.

    Args:
        tokens: `(batch, time)`.
        positions: Positions at which the model is trained, as in `Batch`, `(selected,)`. They are padded, so that only
            few lengths occur.
        targets: The next tokens there; -100 at padded positions.
        num_targets: The number of positions without padding, `()`.
        length: Tokens of each row, `(batch,)`.
    """

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    num_targets: Tensor
    length: Tensor


class StepGraphs:
    """Takes whole training steps (forward, backward, clip and AdamW); from a shape's second step on, as a CUDA graph.

    The step is taken inside `training_step`. Lightning then runs the backward pass and the optimizer as usual, but
    finds no gradients, and so changes nothing. The learning rate is rounded to float32, so that steps with and without
    a graph give the same bits.

    Args:
        trainer: Has the optimizer.
        module: The module whose steps are taken.
        record: Makes the graphs.
    """

    def __init__(self, trainer: Trainer, module: "SequenceModule", record: Record | None = None) -> None:
        self._module = module
        self._optimizer = trainer.optimizers[0]
        self._clip = trainer.gradient_clip_val, trainer.gradient_clip_algorithm
        self._trained = [one for one in module.parameters() if one.requires_grad]
        self._rates = [torch.zeros((), device=module.device) for _ in self._optimizer.param_groups]
        self._record = record or CudaGraphs()
        self._most = _MOST_GRAPHS
        self._taken: dict[tuple[torch.Size, ...], tuple[StepInputs, Callable[[], None] | None]] = {}
        self._names: list[str] = []
        self._results = torch.zeros(0)

    def loss(self, batch: Batch) -> Tensor:
        """The loss of a batch, `()`; without a gradient if the step has been taken."""
        inputs = pad(batch)
        for group in self._optimizer.param_groups:
            group["lr"] = float(np.float32(group["lr"]))
        shape = tuple(one.shape for one in inputs)
        if shape not in self._taken and (len(self._taken) >= self._most or inputs.tokens.numel() > _MOST_TOKENS):
            return self._module.loss(*inputs)
        with self._rates_as_tensors():
            replay = self._prepare(shape, inputs)
            if replay is not None:
                replay()
        return self._module.loss(*inputs) if replay is None else self._result()

    def _prepare(self, shape: tuple[torch.Size, ...], inputs: StepInputs) -> Callable[[], None] | None:
        """Copy a step's inputs to its graph, and return a function that takes the step; None if it can't be recorded.

        A shape's first step is not recorded, because it compiles kernels and creates the optimizer's state.
        """
        if shape not in self._taken:
            static = StepInputs(*(one.clone() for one in inputs))
            self._taken[shape] = static, None
            return lambda: self._step(static)
        static, replay = self._taken[shape]
        for old, new in zip(static, inputs, strict=True):
            old.copy_(new)
        if replay is None:
            try:
                replay = self._record(lambda: self._step(static))
            except RuntimeError as error:
                self._give_up(error)
                return None
            self._taken[shape] = static, replay
        return replay

    def _step(self, inputs: StepInputs) -> None:
        """Take a step, and store its loss, norm and sums in `_results`."""
        step = self._module.whole_step
        loss = self._module.loss(*inputs)
        with torch.autocast(loss.device.type, enabled=False):
            _set_gradients(self._trained, torch.autograd.grad(loss, self._trained, allow_unused=True))
            step.finish(self._optimizer, self._trained)
            self._module.configure_gradient_clipping(self._optimizer, *self._clip)
            self._optimizer.step()
        self._drop_gradients()
        results = torch.stack([one.detach().float() for one in (loss, step.norm, *step.totals.values())])
        if not self._names:
            self._names, self._results = list(step.totals), torch.empty_like(results)
        self._results.copy_(results)

    def _result(self) -> Tensor:
        """The loss of the step; its norm and sums are written to `GlobalStep`."""
        step = self._module.whole_step
        loss, step.norm, *totals = self._results.unbind()
        step.totals = dict(zip(self._names, totals, strict=True))
        return loss

    def _give_up(self, error: RuntimeError) -> None:
        """Take this and all later steps without graphs."""
        rank_zero_warn(
            "training steps can't be recorded as CUDA graphs, and run without; write gpu.graphs: false to hide this "
            f"message: {one_line(error)[:200]}"
        )
        self._most = 0
        self._taken.clear()
        self._drop_gradients()
        self._module.whole_step.forget()

    def _drop_gradients(self) -> None:
        for parameter in self._trained:
            parameter.grad = None

    @contextmanager
    def _rates_as_tensors(self) -> Iterator[None]:
        """Let the optimizer read the learning rates from tensors, because a graph would record numbers as constants."""
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        numbers = [(group["lr"], group["capturable"]) for group in groups]
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"], group["capturable"] = rate.fill_(group["lr"]), True
        try:
            yield
        finally:
            for group, (number, is_capturable) in zip(groups, numbers, strict=True):
                group["lr"], group["capturable"] = number, is_capturable


def _set_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    """Copy each gradient to its parameter, in the parameter's layout; a copy, because it is scaled in place."""
    seen = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            memory = gradient.untyped_storage()
            is_own = memory.data_ptr() not in seen and memory.nbytes() == gradient.nbytes
            seen.add(memory.data_ptr())
            if not is_own or gradient.stride() != parameter.stride():
                gradient = torch.empty_like(parameter).copy_(gradient)
        parameter.grad = gradient


def can_record(trainer: Trainer) -> bool:
    """Whether a step is one batch on one GPU, and no user callback may read the gradients (ours do not)."""
    watches = ("on_after_backward", "on_before_backward", "on_before_optimizer_step", "on_before_zero_grad")
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    others = [type(one) for one in callbacks if not type(one).__module__.startswith("lit_retrieval.")]
    is_watched = any(getattr(one, name) is not getattr(Callback, name) for one in others for name in watches)
    return (
        isinstance(trainer.strategy, SingleDeviceStrategy)
        and trainer.strategy.root_device.type == "cuda"
        and trainer.accumulate_grad_batches == 1
        and trainer.gradient_clip_algorithm in (None, "norm")
        and not (has_scaler(trainer) or is_watched)
    )


def pad(batch: Batch) -> StepInputs:
    """The inputs of a step, padded by up to a quarter more positions: four lengths between two powers of two."""
    count = len(batch.positions)
    added = -count % 2 ** max(0, count.bit_length() - 3)
    return StepInputs(
        batch.tokens[:, :-1],
        F.pad(batch.positions, (0, added)),
        F.pad(batch.targets, (0, added), value=_NO_TARGET),
        torch.full((), float(count), device=batch.tokens.device),
        batch.length,
    )
