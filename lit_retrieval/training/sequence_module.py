"""The LightningModule."""

from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_retrieval.constructions import ConstructedModel, Construction
from lit_retrieval.data import Batch, TranscriptData
from lit_retrieval.decoding import Reply, decode
from lit_retrieval.errors import UserError
from lit_retrieval.models import SequenceModel, Stage, select_positions
from lit_retrieval.ranges import check_at_least
from lit_retrieval.training.global_step import GlobalStep
from lit_retrieval.training.loss import sum_loss
from lit_retrieval.training.schedule import warmup_cosine
from lit_retrieval.training.score_name import QUANTITIES
from lit_retrieval.training.scores import Scores, closed_loop, teacher_forced


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
            check_at_least(name, getattr(self, name), 0, f"model.{name}")

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
        self.whole_step = GlobalStep(self.trainer, data.most_tokens)
        if self.construction is not None:
            if stage == "fit":
                raise UserError("a construction has nothing to learn; run test, validate or predict")
            self.model = self.construction.write(data.task.vocabulary)
        for split in ("val", "test"):
            self.scores[split] = Scores(QUANTITIES, data.eval_values, data.longest_distance, data.task.kinds)

    def forward(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """The logits of the next token, and the state; see `SequenceModel.forward`."""
        return cast("tuple[Tensor, Any]", self.model(tokens, state, positions))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a micro-batch on the tokens of the model, in nats; see `GlobalStep`."""
        assert isinstance(self.model, SequenceModel)
        hidden, _ = self.model.read(batch.tokens[:, :-1])
        hidden, targets = select_positions(hidden, batch.positions), batch.targets
        nats, right = sum_loss(
            self.model.predict, hidden, targets, len(self.model.embedding), self.whole_step.is_logged
        )
        self.whole_step.add(right=right)
        return self.whole_step.loss(nats, len(targets))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Finish the gradient of the global batch, and log the step if it is one that is logged."""
        step = self.whole_step
        step.finish(optimizer, self.parameters())
        if step.is_logged:
            self.log("train/loss", step.totals["nats"] / step.totals["tokens"])
            self.log("train/token_accuracy", step.totals["right"] / step.totals["tokens"])
            if not step.has_scaler:
                self.log("train/gradient_norm", step.norm)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the norm of the whole gradient, which is known already; a loss scaler needs Lightning's own way."""
        if self.whole_step.has_scaler or gradient_clip_algorithm == "value" or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self.whole_step.norm)

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
        data = self.data
        return decode(self, batch.transcripts(), data.task, data.retriever, data.max_new_tokens, self.device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW, and the schedule, stepped with it."""
        total_steps = self.trainer.estimated_stepping_batches
        if not 0 < total_steps < float("inf"):
            raise UserError("the stream has no end, so training needs one; write trainer.max_steps")
        samples_per_step = self.data.batch_size * self.trainer.accumulate_grad_batches
        warmup_steps = self.warmup_samples // samples_per_step
        # Lightning clips no gradients that have a loss scaler for a fused optimizer, which might scale them after that.
        is_fused = not (self.whole_step.has_scaler and self.trainer.gradient_clip_val)
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
        logits, _ = self(batch.tokens[:, :-1], positions=batch.positions)
        replies = self.decode(batch)
        measured = teacher_forced(logits, batch) | closed_loop(replies, batch, self.data.task.chances)
        cast("Scores", self.scores[split]).update(measured, batch)
        return replies

    def _log_scores(self, split: str) -> None:
        scores = cast("Scores", self.scores[split])
        for name, value in scores.compute().items():  # the same on all ranks
            self.log(
                str(name._replace(split=split)), value, prog_bar=str(name) == "closed_loop_accuracy", sync_dist=True
            )
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
