"""The optimizer step of a global batch that is split into micro-batches and over ranks."""

from collections.abc import Iterable, Sequence

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

# Optimizer steps from one check of the device's results on the host to the next. A check waits for the device, so a run
# that receives a signal or has a loss that is not finite ends up to this many steps later; no bad step is taken.
_LOOK_EVERY = 10


class GlobalStep:
    """Sums loss and gradient over micro-batches and ranks, so that a step uses the mean over its global batch.

    Micro-batches have different numbers of target tokens, so the mean of their means is not the mean over all tokens.
    Each loss is therefore a sum over tokens, divided by a constant. Lightning and DDP average the gradients, which are
    then scaled to those of the mean. All values stay on the device and the host does not wait for them. A step has one
    collective besides that of its gradients.

    Args:
        trainer: Gives the numbers of steps, ranks and micro-batches.
        most_tokens: Approximate maximum of target tokens in a micro-batch; the same on all ranks.

    Attributes:
        totals: The sums of the last step over all ranks.
        norm: The norm of its gradient before clipping; with a loss scaler, that of the scaled gradient.
        bad_step: The first step that was skipped because its loss or gradient was not finite, from 1, `()`; 0 if none
            was.
    """

    def __init__(self, trainer: Trainer, most_tokens: int) -> None:
        self._trainer = trainer
        self._num_parts = trainer.world_size * trainer.accumulate_grad_batches
        self._divisor = float(most_tokens)
        self._sums: dict[str, Tensor | float] = {}
        self.totals: dict[str, Tensor] = {}
        self.norm = torch.zeros(())
        self.bad_step = torch.zeros((), dtype=torch.float32, device=trainer.strategy.root_device)
        self._step: Tensor | None = None  # counted on the device, so that a CUDA graph of a step can be launched again
        self._waits = trainer.strategy.root_device.type != "cpu"

    @property
    def is_logged(self) -> bool:
        """Whether Lightning logs the step that is being taken."""
        every: int = self._trainer.log_every_n_steps  # type: ignore[attr-defined]
        return every > 0 and (self._trainer.global_step + 1) % every == 0

    @property
    def is_looked_at(self) -> bool:
        """Whether the host checks the last complete step, and may wait for the device; the same on all ranks."""
        return not self._waits or self._trainer.global_step % _LOOK_EVERY == 0

    @property
    def has_scaler(self) -> bool:
        """Whether a loss scaler skips the steps whose gradients are infinite."""
        return has_scaler(self._trainer)

    def add(self, **values: Tensor | float) -> None:
        """Add this rank's values, numbers or tensors `()`, to the sums of the step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value

    def forget(self) -> None:
        """Reset the sums of the step."""
        self._sums = {}

    def loss(self, nats: Tensor, tokens: Tensor | int, auxiliary: Tensor | None = None) -> Tensor:
        """The loss of a micro-batch for backpropagation, `()`; its `tokens` targets have a total loss of `nats`.

        An `auxiliary` loss, `()`, is added to their mean. Over the global batch, auxiliary losses are averaged with the
        numbers of targets as weights.
        """
        total = nats
        if auxiliary is not None:
            total = nats + auxiliary * tokens
            self.add(auxiliary=(auxiliary * tokens).detach())
        self.add(tokens=tokens, nats=nats.detach(), bad=_is_bad(total))
        return total / (tokens if self._num_parts == 1 else self._divisor)

    def finish(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> None:
        """Make the gradient that of the global batch; if it is not finite, the optimizer skips the step.

        Args:
            optimizer: A fused optimizer reads on the device whether to skip the step.
            parameters: Those without a gradient are ignored. If none has one, `StepGraphs` has already taken the step.
        """
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        self.norm = torch.nn.utils.get_total_norm(gradients)
        if not self.has_scaler:  # with one, infinite gradients are normal
            self.add(bad=_is_bad(self.norm), square=self.norm.square())
        self.totals = self._sum_over_ranks()
        if isinstance(self._trainer.strategy, FSDPStrategy | ModelParallelStrategy) and "square" in self.totals:
            self.norm = self.totals["square"].sqrt()
        if self._num_parts > 1:
            self._scale(gradients, self._divisor * self._num_parts / self.totals["tokens"])
        if self._step is None:
            self._step = torch.full_like(self.bad_step, self._trainer.global_step)
        self._step += 1
        is_first = (self.totals["bad"] > 0) & (self.bad_step == 0)
        self.bad_step.copy_(torch.where(is_first, self._step, self.bad_step))
        if not self.has_scaler and optimizer.defaults.get("fused"):  # others: `skip_unless_finite`
            optimizer.found_inf = (self.bad_step > 0).float()  # type: ignore[attr-defined]

    def _sum_over_ranks(self) -> dict[str, Tensor]:
        """Sum the step's values over all ranks, which have the same names, and reset those of this rank."""
        sums = [torch.as_tensor(one, dtype=torch.float32, device=self.bad_step.device) for one in self._sums.values()]
        total = torch.stack(sums)
        if self._trainer.world_size > 1:  # Lightning's `reduce` needs two collectives, and waits in the first
            torch.distributed.all_reduce(total)
        names, self._sums = list(self._sums), {}
        return dict(zip(names, total, strict=True))

    def _scale(self, gradients: Sequence[Tensor], factor: Tensor) -> None:
        for gradient in gradients:
            gradient.mul_(factor)
        self.norm = self.norm * factor


def _is_bad(value: Tensor) -> Tensor:
    return (~torch.isfinite(value.detach())).float()


def has_scaler(trainer: Trainer) -> bool:
    """Whether the loss is scaled for float16, by a scaler that skips the steps whose gradients are infinite."""
    plugin = trainer.precision_plugin
    return isinstance(plugin, MixedPrecision) and plugin.scaler is not None
