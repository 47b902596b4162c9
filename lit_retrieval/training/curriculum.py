"""Curriculum learning: from small problems to large ones."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_retrieval.data import Batch, TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_above
from lit_retrieval.training.score_name import Group, ScoreName

_NEVER = 2**62
# Batches between a validation and the first batch with a new size. Data-loader workers prefetch, and the samples must
# be the same for any number of workers.
_LEAD = 100


class Curriculum(Callback):
    """Starts with the smallest size, and adds the next size when the largest so far is learned.

    The sizes are `data.sizes`; smaller ones stay. `data.eval_sizes` must include them, so that each has a score.

    Args:
        threshold: Closed-loop validation accuracy, on the largest size so far, at which the next size is added.
    """

    def __init__(self, threshold: float = 0.9) -> None:
        check_above("threshold", threshold, 0, "trainer.callbacks...threshold", most=1)
        self.threshold = threshold
        self._first_samples: dict[int, int] = {}
        self._data: TranscriptData | None = None

    def state_dict(self) -> dict[str, Any]:
        """The first sample of each size."""
        return {"first_samples": self._first_samples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the sizes reached so far; with FSDP this runs after `on_fit_start`."""
        self._first_samples = state_dict["first_samples"]
        if self._data is not None:
            self._begin(self._data)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw only the sizes reached so far; raises `UserError` if a size has no score or samples are from a file."""
        data = _data(trainer)

        if trainer.limit_val_batches == 0:
            raise UserError("Curriculum needs scores; leave out trainer.limit_val_batches 0 or Curriculum")
        if unscored := sorted(set(data.train_values) - set(data.eval_values)):
            raise UserError(
                f"Curriculum needs scores of all sizes; size {unscored[0]} is not in data.eval_sizes; add it"
            )
        if missing := sorted(set(data.train_values) - data.validated_sizes):
            raise UserError(
                f"Curriculum needs scores of all sizes, and no validation sample has size {missing[0]}; raise "
                "data.val_samples"
            )
        if 2 * data.num_workers + 2 > _LEAD:  # two batches a worker are drawn before they are needed
            raise UserError(
                f"Curriculum needs less than {_LEAD // 2} data.num_workers, got {data.num_workers}; lower it"
            )
        if data.draws_from_file or data.train_samples is not None:
            name = "train_file" if data.draws_from_file else "train_samples"
            raise UserError(f"Curriculum can't choose the sizes of a fixed set; leave out data.{name} or Curriculum")
        self._data = data
        self._begin(data)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Log the largest size that may be drawn; a rank's own rows may not have it."""
        trained = _data(trainer).samples_trained  # this batch included
        reached = [size for size, first in self._first_samples.items() if first < trained]
        pl_module.log("train/largest_size", float(max(reached)))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the next size, if the largest so far has been learned."""
        if trainer.state.fn != "fit":
            return
        reached = [size for size, first in self._first_samples.items() if first != _NEVER]
        waiting = sorted(set(self._first_samples) - set(reached))
        data = _data(trainer)
        is_drawn = self._first_samples[max(reached)] <= data.samples_trained
        if trainer.sanity_checking or not waiting or not is_drawn:
            return
        group = Group("size", str(max(reached))) if len(data.eval_values) > 1 else Group()
        score = trainer.callback_metrics.get(str(ScoreName("closed_loop_accuracy", group, "val")))
        if score is None:
            raise UserError(
                f"this validation had no sample of size {max(reached)}; leave out trainer.limit_val_batches"
            )
        if (accuracy := float(score)) >= self.threshold - 1e-6:  # accuracies are float32
            self._first_samples[waiting[0]] = data.samples_trained + _LEAD * data.batch_size
            self._enter(data)
            begun = f"size {waiting[0]} from batch {data.batches_trained + _LEAD}"
            rank_zero_info(f"curriculum: accuracy {accuracy:.3f} at size {max(reached)}; {begun}")

    def _begin(self, data: TranscriptData) -> None:
        """Draw the sizes reached so far, at first only the smallest."""
        known = {size: first for size, first in self._first_samples.items() if size in data.train_values}
        known = known if min(known.values(), default=_NEVER) < _NEVER else {data.train_values[0]: 0}
        self._first_samples = {size: known.get(size, _NEVER) for size in data.train_values}
        self._enter(data)

    def _enter(self, data: TranscriptData) -> None:
        for index, size in enumerate(data.train_values):
            data.first_samples[index] = self._first_samples[size]


def _data(trainer: Trainer) -> TranscriptData:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TranscriptData)
    return data
