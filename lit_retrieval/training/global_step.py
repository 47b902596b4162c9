"""The optimizer step of a global batch that is cut into micro-batches and ranks."""

from collections.abc import Iterable, Sequence

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

# Optimizer steps between two looks of the host at what the device has found. A look waits for the device, so a run that
# is asked to stop, or whose loss is not finite, ends up to so many steps later; its weights are those of before.
_LOOK_EVERY = 10


class GlobalStep:
    """Adds up the loss and the gradient of one optimizer step, so that they are those of its global batch.

    A micro-batch may have more tokens of the model than another, so the mean of their means is not the mean over all
    tokens. Each micro-batch's loss is its sum over tokens, divided by a constant; the gradients of all of them, which
    Lightning and DDP average, are then scaled to those of the mean. All numbers stay on the device: nothing here waits
    for it, and one step has one collective beside that of its gradients.

    Args:
        trainer: Counts the steps, the ranks and the micro-batches.
        most_tokens: About as many tokens of the model as a micro-batch has at most; the same on all ranks.

    Attributes:
        totals: The sums of the last step over all ranks.
        norm: The norm of its gradient, before any clipping; of the scaled gradient with a loss scaler.
        bad_step: The first step that was skipped since its loss or gradient was not finite, from 1; 0 if there is none.
    """

    def __init__(self, trainer: Trainer, most_tokens: int) -> None:
        self._trainer = trainer
        self._num_parts = trainer.world_size * trainer.accumulate_grad_batches
        self._divisor = float(most_tokens)
        self._sums: dict[str, Tensor | float] = {}
        self.totals: dict[str, Tensor] = {}
        self.norm = torch.zeros(())
        self.bad_step = torch.zeros((), device=trainer.strategy.root_device)
        self._waits = trainer.strategy.root_device.type != "cpu"

    @property
    def is_logged(self) -> bool:
        """Whether Lightning logs the step that is being taken."""
        every: int = self._trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self._trainer.global_step + 1) % every == 0

    @property
    def is_looked_at(self) -> bool:
        """Whether the host looks at the last complete step, for which it may have to wait; the same on all ranks."""
        return not self._waits or self._trainer.global_step % _LOOK_EVERY == 0

    @property
    def has_scaler(self) -> bool:
        """Whether a loss scaler looks for infinite gradients, and takes no step with them."""
        plugin = self._trainer.precision_plugin
        return isinstance(plugin, MixedPrecision) and plugin.scaler is not None

    def add(self, **values: Tensor | float) -> None:
        """Add numbers of this rank, tensors of them `()`, to the sums of the step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def loss(self, nats: Tensor, tokens: int) -> Tensor:
        """The loss to propagate back of a micro-batch whose `tokens` have a loss of `nats` in sum, `()`."""
        self.add(tokens=tokens, nats=nats.detach(), bad=_is_bad(nats))
        return nats / (tokens if self._num_parts == 1 else self._divisor)

    def finish(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
        """Make the gradient that of the global batch; if it is not finite, the weights will stay as they are.

        Args:
            optimizer: A fused one is told on the device whether to skip the step.
            parameters: Those that have a gradient are looked at.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        self.norm = torch.nn.utils.get_total_norm(gradients)
        if not self.has_scaler:  # with one, infinite gradients are normal
            self.add(bad=_is_bad(self.norm), square=self.norm.square())
        self.totals = self._sum_over_ranks()
        if isinstance(self._trainer.strategy, FSDPStrategy | ModelParallelStrategy) and "square" in self.totals:
            self.norm = self.totals["square"].sqrt()
        if self._num_parts > 1:
            self._scale(gradients, self._divisor * self._num_parts / self.totals["tokens"])
        is_first = (self.totals["bad"] > 0) & (self.bad_step == 0)
        self.bad_step = torch.where(is_first, float(self._trainer.global_step + 1), self.bad_step)
        if not self.has_scaler:
            optimizer.found_inf = (self.bad_step > 0).float()  # type: ignore[attr-defined]

    def _sum_over_ranks(self) -> dict[str, Tensor]:
        """The sums of the step, which begin again; all ranks have the same names."""
        sums = [torch.as_tensor(one, dtype=torch.float32, device=self.bad_step.device) for one in self._sums.values()]
        total = torch.stack(sums)
        if self._trainer.world_size > 1:  # Lightning's own `reduce` is two collectives, and waits in the first
            torch.distributed.all_reduce(total)
        names, self._sums = list(self._sums), {}
        return dict(zip(names, total, strict=True))

    def _scale(self, gradients: Sequence[Tensor], factor: Tensor) -> None:
        for gradient in gradients:
            gradient.mul_(factor)
        self.norm = self.norm * factor


def _is_bad(value: Tensor) -> Tensor:
    return (~torch.isfinite(value.detach())).float()
