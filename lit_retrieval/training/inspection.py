"""Decoded transcripts and pictures of the mixers in TensorBoard, during training."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from lit_retrieval.data import Batch
from lit_retrieval.decoding import Replies
from lit_retrieval.lightning_internals import whole_parameters
from lit_retrieval.models import MixerStack
from lit_retrieval.ranges import check_numbers
from lit_retrieval.training import pictures
from lit_retrieval.training.marked_transcript import markdown
from lit_retrieval.training.mixer_maps import draw_mixers
from lit_retrieval.training.scores import distance_powers, given_answers, shares
from lit_retrieval.training.sequence_module import SequenceModule
from lit_retrieval.vocabulary import PAD

_NEVER = 0


class Inspection(Callback):
    """Writes transcripts and pictures to TensorBoard after some validations.

    The transcripts are some of those decoded for the scores, wrong ones first, with the first wrong token marked. The
    pictures are a table of closed-loop accuracy by problem size and query distance, and maps of attention weights and
    decays on the first validation sample.

    Args:
        log_text_every: Validations between two logs of transcripts; the last is always logged. 0 for none.
        log_images_every: Validations between two logs of pictures; the last is always logged. 0 for none.
        num_transcripts: Number of transcripts in each log.
    """

    def __init__(self, log_text_every: int = 1, log_images_every: int = 4, num_transcripts: int = 8) -> None:
        numbers = {"log_text_every": (log_text_every, 0), "log_images_every": (log_images_every, 0)}
        check_numbers("inspection", **numbers, num_transcripts=(num_transcripts, 0))
        self.log_text_every = log_text_every
        self.log_images_every = log_images_every
        self.num_transcripts = num_transcripts
        self._validations = 0
        self._is_last = False
        self._warned: set[str] = set()
        self._texts: list[tuple[bool, str]] = []
        self._first_row: Tensor | None = None
        self._right = self._counts = torch.zeros(0, 0)

    def state_dict(self) -> dict[str, Any]:
        """The number of validations so far."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations."""
        self._validations = state_dict["validations"]

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a new table."""
        assert isinstance(pl_module, SequenceModule)
        self._is_last = trainer.should_stop  # nothing follows this validation
        data = pl_module.data
        # The first column is for all distances.
        shape = (len(data.eval_values), 1 + data.longest_distance.bit_length())
        self._right, self._counts = (torch.zeros(shape, dtype=torch.float32, device=pl_module.device) for _ in range(2))
        self._texts, self._first_row = [], None

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count a batch in the table, and keep the transcripts that may be shown."""
        assert isinstance(pl_module, SequenceModule)
        if self._first_row is None:
            self._first_row = batch.tokens[0, : int(batch.length[0])]
        replies = outputs["replies"]
        self._count(replies, batch, pl_module.data.eval_values)
        if self._is_due(self.log_text_every) and trainer.is_global_zero:
            self._keep_texts(replies, batch, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write transcripts and pictures if they are due."""
        assert isinstance(pl_module, SequenceModule)
        if trainer.sanity_checking:
            return
        if trainer.world_size > 1:
            self._right, self._counts = (
                trainer.strategy.reduce(one, reduce_op="sum") for one in (self._right, self._counts)
            )
        self._is_last |= trainer.should_stop  # or this validation has ended the run
        for writer in writers(trainer):
            if self._is_due(self.log_text_every) and self._texts:
                writer.add_text("val/transcripts", self._text(), trainer.global_step)
        if self._is_due(self.log_images_every):
            with whole_parameters(trainer):
                for writer in writers(trainer):
                    self._draw(writer, pl_module, trainer.global_step)
        self._validations += 1

    def _is_due(self, every: int) -> bool:
        return every != _NEVER and (self._is_last or self._validations % every == 0)

    def _count(self, replies: Replies, batch: Batch, sizes: list[int]) -> None:
        given, is_asked, share = given_answers(replies, batch), batch.answers != PAD, shares(batch)
        right = share * (given == batch.answers)
        lines = torch.searchsorted(torch.tensor(sizes, device=given.device), batch.sizes)[:, None].expand_as(given)
        powers = distance_powers(batch) + 1
        for columns, counted in ((torch.zeros_like(powers), is_asked), (powers, is_asked & (batch.distances > 0))):
            cells = (lines[counted], columns[counted])
            self._counts.index_put_(cells, share[counted], accumulate=True)
            self._right.index_put_(cells, right[counted], accumulate=True)

    def _keep_texts(self, replies: Replies, batch: Batch, module: SequenceModule) -> None:
        """Keep the first transcripts with a wrong answer, and as many right ones in case there are too few."""
        is_row_wrong = (given_answers(replies, batch) != batch.answers).any(1)
        for is_wrong in (True, False):
            missing = self.num_transcripts - sum(known == is_wrong for known, _ in self._texts)
            for row in (is_row_wrong == is_wrong).nonzero().flatten()[: max(0, missing)].tolist():
                self._texts.append((is_wrong, markdown(replies[row], batch.reply(row), module.data.task)))

    def _text(self) -> str:
        wrong_first = sorted(self._texts, key=lambda text: not text[0])[: self.num_transcripts]
        return "\n\n---\n\n".join(text for _, text in wrong_first)

    def _draw(self, writer: SummaryWriter, module: SequenceModule, step: int) -> None:
        sizes = [f"size {size}" for size in module.data.eval_values]
        distances = [f"{2**power} to {2 ** (power + 1) - 1}" for power in range(self._counts.shape[1] - 1)]
        accuracy = (self._right / self._counts).cpu().numpy()  # NaN in a cell without answers
        title = "closed-loop accuracy by size and tokens back"
        drawn = {"accuracy": pictures.table(accuracy, sizes, ["all", *distances], title)}
        if self._first_row is not None and isinstance(module.model, MixerStack):
            drawn |= draw_mixers(module.model, self._first_row, self._warn_once)
        for name, picture in drawn.items():
            writer.add_image(f"val/{name}", picture, step, dataformats="HWC")

    def _warn_once(self, line: str) -> None:
        if line not in self._warned:
            self._warned.add(line)
            rank_zero_warn(line)


def writers(trainer: Trainer) -> list[SummaryWriter]:
    """The TensorBoard writers of this process; none unless it is the first rank."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]
