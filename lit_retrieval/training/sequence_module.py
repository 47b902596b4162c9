"""The LightningModule."""

import math
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from lit_retrieval.constructions import ConstructedModel, Construction
from lit_retrieval.data import Batch, TranscriptData
from lit_retrieval.decoding import Reply, Session, generate
from lit_retrieval.errors import UserError
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.tasks import Author
from lit_retrieval.training.schedule import warmup_cosine
from lit_retrieval.training.scores import Scores, closed_loop, teacher_forced
from lit_retrieval.vocabulary import PAD

QUANTITIES = (
    "closed_loop_accuracy", "all_right", "undecided", "paper_score", "searches", "timeouts",
    "exact_match", "token_accuracy", "loss",
)  # fmt: skip


class SequenceModule(LightningModule):
    """A sequence model that learns to write its part of the transcripts, and is scored with the search in the loop.

    The loss is on the words of the model alone: neither the prompt nor a retrieved word is learned. AdamW with a linear
    warm-up and a cosine down to zero.

    Args:
        vocab_size: Number of words; taken from the data, never written.
        hidden_size: Width of the residual stream; needed unless there is a construction.
        stages: The layers, from the embedding up: each stage a list of mixers and how often it is repeated. A mixer is
            named by class_path: lit_retrieval.mixers.Mamba, Attention, SwiGLU, or your own.
        embedding: sinusoidal, frozen and tied to the head as in the paper, or learned and tied.
        learning_rate: Peak learning rate.
        warmup_samples: Samples until the peak.
        weight_decay: Of AdamW, on matrices.
        norm: rms before each mixer and the head, or none, as in the paper's theory.
        construction: A model whose weights are written down, in place of all of the above; named by class_path, as
            lit_retrieval.constructions.Theorem52. It can be tested, and has nothing to learn.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int | None = None,
        stages: list[Stage] | None = None,
        embedding: Literal["sinusoidal", "learned"] = "sinusoidal",
        learning_rate: float = 3e-4,
        warmup_samples: int = 10_000,
        weight_decay: float = 0.0,
        norm: Literal["rms", "none"] = "rms",
        construction: Construction | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model: SequenceModel | ConstructedModel
        self.construction = construction
        if construction is None:
            if hidden_size is None or stages is None:
                raise UserError("there is no model; write model.hidden_size and model.stages, or model.construction")
            self.model = SequenceModel(vocab_size, hidden_size, stages, embedding, norm)
        self.learning_rate = learning_rate
        self.warmup_samples = warmup_samples
        self.weight_decay = weight_decay
        self._check_numbers()
        self.scores = nn.ModuleDict()

    def _check_numbers(self) -> None:
        for name in ("learning_rate", "warmup_samples", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise UserError(f"{name}={value} is out of range; write 0 or more in model.{name}")

    @property
    def data(self) -> TranscriptData:
        """The run's LightningDataModule."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, TranscriptData):
            raise UserError(f"a SequenceModule needs a TranscriptData to decode with, not {type(data).__name__}")
        return data

    def setup(self, stage: str) -> None:
        """Make room for the scores, and write down a construction, now that the task is known."""
        data = self.data
        if self.construction is not None:
            if stage == "fit":
                raise UserError("a construction has nothing to learn; run test, validate or predict")
            self.model = self.construction.write(data.task.vocabulary)
        for split in ("val", "test"):
            self.scores[split] = Scores(QUANTITIES, data.eval_values, data.longest_distance, data.task.kinds)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The logits of each next word `(batch, time, vocab_size)` after `tokens (batch, time)`, and the state."""
        return cast("tuple[Tensor, Any]", self.model(tokens, state))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean loss over the words of the model, in nats; the mean over ranks is that over all their words."""
        logits, _ = self(batch.tokens[:, :-1])
        is_model = batch.author[:, 1:] == Author.MODEL
        targets = batch.tokens[:, 1:][is_model]
        logits, share = logits[is_model], self._share(is_model)
        loss = F.cross_entropy(logits, targets) * share
        accuracy = (logits.detach().argmax(-1) == targets).float().mean() * share
        self.log("train/loss", loss, prog_bar=True, sync_dist=True)
        self.log("train/token_accuracy", accuracy, sync_dist=True)
        return loss

    def _share(self, is_model: Tensor) -> Tensor | float:
        """How many words this rank has for each that a rank has on average: ranks with more words count for more."""
        if self._trainer is None or self.trainer.world_size == 1:
            return 1.0
        words = is_model.sum().float()
        return words / cast("Tensor", self.trainer.strategy.reduce(words.clone(), reduce_op="mean"))

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Score a batch, teacher forced and closed loop; what was decoded is handed to the callbacks as `replies`."""
        return {"replies": self._score("val", batch)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Score a batch, teacher forced and closed loop; what was decoded is handed to the callbacks as `replies`."""
        return {"replies": self._score("test", batch)}

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Reply]:
        """Decode a batch."""
        return self.decode(batch)

    def decode(self, batch: Batch) -> list[Reply]:
        """Let the model write the rest of each row's transcript after its prompt, its searches run."""
        data, transcripts = self.data, batch.transcripts()
        answer_words = frozenset(data.task.answer_words.tolist())
        sessions = [
            Session(transcripts.turns(row), answer_words, data.retriever, data.task.vocabulary, data.budget, count)
            for row, count in enumerate((transcripts.answers != PAD).sum(1))
        ]
        return generate(self, sessions, self.device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, and the schedule, stepped with it."""
        total_steps = self.trainer.estimated_stepping_batches
        if not 0 < total_steps < float("inf"):
            raise UserError("the stream has no end, so training needs one; write trainer.max_steps")
        samples_per_step = self.data.batch_size * self.trainer.accumulate_grad_batches
        warmup_steps = self.warmup_samples // samples_per_step
        # Lightning clips no gradients of mixed precision for a fused optimiser: it might scale them down after that.
        is_fused = not (isinstance(self.trainer.precision_plugin, MixedPrecision) and self.trainer.gradient_clip_val)
        optimizer = torch.optim.AdamW(self._parameter_groups(), lr=self.learning_rate, fused=is_fused)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup_steps, int(total_steps))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        decayed = [one for one in trained if one.ndim > 1 and not getattr(one, "_no_weight_decay", False)]
        others = [one for one in trained if all(one is not other for other in decayed)]
        return [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]

    def _score(self, split: str, batch: Batch) -> list[Reply]:
        logits, _ = self(batch.tokens[:, :-1])
        replies = self.decode(batch)
        closed = closed_loop(replies, batch, self.data.task.chance)
        cast("Scores", self.scores[split]).update({**teacher_forced(logits, batch), **closed}, batch)
        return replies

    def _log_scores(self, split: str) -> None:
        scores = cast("Scores", self.scores[split])
        for name, value in scores.compute().items():  # the same on all ranks
            self.log(f"{split}/{name}", value, prog_bar=name == "closed_loop_accuracy", sync_dist=True)
        scores.reset()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model, in one line; FSDP has loaded the weights itself and left them out."""
        if "state_dict" not in checkpoint:
            return
        own, other = self.state_dict(), checkpoint["state_dict"]
        for name in sorted({*own, *other}):
            shapes = [tuple(state[name].shape) if name in state else "nothing" for state in (own, other)]
            if shapes[0] != shapes[1]:
                raise UserError(
                    f"the checkpoint is of another model: {name} is {shapes[1]} there and {shapes[0]} here; "
                    "give the --config that the checkpoint was trained with"
                )
