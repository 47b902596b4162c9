"""From small problems to large ones."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_retrieval.data import Batch, TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_above
from lit_retrieval.training.score_name import Group, ScoreName

_NEVER = 2**62
# Batches between a validation and the first with a new size. Loaders fetch ahead, more of them with more workers, and
# the samples must be the same for any number of these.
_LEAD = 100


class Curriculum(Callback):
    """Begins with the smallest of `data.sizes`, and adds the next when the largest so far has been learned.

    The smaller ones stay. `data.eval_sizes` must name the training sizes, so that each can be scored by itself.

    Args:
        threshold: The closed-loop accuracy on the largest size so far, in a validation, that adds the next.
    """

    def __init__(self, threshold: float = 0.9) -> None:
        check_above("threshold", threshold, 0, "trainer.callbacks...threshold", most=1)
        self.threshold = threshold
        self._first_samples: dict[int, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """The sample from which on each size is drawn."""
        return {"first_samples": self._first_samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was."""
        self._first_samples = state_dict["first_samples"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the sizes that have been reached; raises `UserError` if one of them would never be scored."""
        data = _data(trainer)
        if unscored := sorted(set(data.train_values) - set(data.eval_values)):
            raise UserError(f"a curriculum scores each size, and size {unscored[0]} is not in data.eval_sizes; add it")
        if data.draws_from_file:
            raise UserError("a file has the sizes it has, in its order; leave out data.train_file or the Curriculum")
        known = self._first_samples or {data.train_values[0]: 0}
        self._first_samples = {size: known.get(size, _NEVER) for size in data.train_values}
        self._enter(data)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the largest size that has been drawn."""
        pl_module.log("train/largest_size", float(batch.sizes.max()), reduce_fx="max")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the next size, if the largest so far has been learned."""
        reached = [size for size, first in self._first_samples.items() if first != _NEVER]
        waiting = sorted(set(self._first_samples) - set(reached))
        data = _data(trainer)
        if trainer.sanity_checking or not waiting or self._first_samples[max(reached)] > _samples_drawn(data):
            return
        group = Group("size", str(max(reached))) if len(data.eval_values) > 1 else Group()
        accuracy = float(trainer.callback_metrics[str(ScoreName("closed_loop_accuracy", group, "val"))])
        if accuracy >= self.threshold - 1e-6:  # accuracies are of 32 bits
            first_batch = data.batches_trained + _LEAD
            self._first_samples[waiting[0]] = first_batch * data.batch_size
            self._enter(data)
            rank_zero_info(
                f"curriculum: {accuracy:.3f} right at size {max(reached)}; size {waiting[0]} from batch {first_batch}"
            )

    def _enter(self, data: TranscriptData) -> None:
        for place, size in enumerate(data.train_values):
            data.first_samples[place] = self._first_samples[size]


def _data(trainer: Trainer) -> TranscriptData:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TranscriptData)
    return data


def _samples_drawn(data: TranscriptData) -> int:
    return data.batches_trained * data.batch_size
