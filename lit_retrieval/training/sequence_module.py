"""The LightningModule."""

from functools import partial
from typing import Any, Literal, cast

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from lit_retrieval.constructions import ConstructedModel, Construction
from lit_retrieval.data import Batch, TranscriptData
from lit_retrieval.decoding import ModelGraphs, Replies, decode_in_parts, takes_several
from lit_retrieval.errors import UserError
from lit_retrieval.lightning_internals import leave_out_constants, whole_parameters
from lit_retrieval.mixers import without_states
from lit_retrieval.models import (
    BottleneckModel,
    NetworkFactory,
    SequenceModel,
    Stage,
    WholeModel,
    auxiliary_losses,
    check_text,
    select_positions,
)
from lit_retrieval.models.compiled_blocks import FIX
from lit_retrieval.ops.half_precision import widen
from lit_retrieval.pretrained import PretrainedLoader
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.task import check_words
from lit_retrieval.tasks.text import TextTask
from lit_retrieval.training.added_losses import adds_losses, check_losses
from lit_retrieval.training.conformance import check_classes, check_complex, check_places
from lit_retrieval.training.first_state import FirstState, StatePassing, check_passing, read_to_ends
from lit_retrieval.training.global_step import GlobalStep
from lit_retrieval.training.loss import sum_loss
from lit_retrieval.training.optimizers import (
    OptimizerFactory,
    SchedulerFactory,
    make_optimizer,
    make_scheduler,
    parameter_groups,
    remember_matrices,
    skip_unless_finite,
)
from lit_retrieval.training.score_name import OF_TEXT, QUANTITIES, TRAIN_NAMES
from lit_retrieval.training.scores import Measured, Scores, closed_loop, join, shared_words, teacher_forced
from lit_retrieval.training.step_graph import StepGraphs
from lit_retrieval.vocabulary import ASK

_MOST_TOKENS = 2**21  # read at once for the teacher-forced scores; decoding may take more rows at once


def make_scores(data: TranscriptData) -> Scores:
    """The score metrics for an evaluation on this data."""
    quantities = (*QUANTITIES, *OF_TEXT) if isinstance(data.task, TextTask) else QUANTITIES
    return Scores(quantities, data.eval_values, data.longest_distance, data.task.kinds)


def logged_names(data: TranscriptData) -> list[str]:
    """The names of all that is logged while a model is trained on this data, such as `val/loss`."""
    return [*(str(name._replace(split="val")) for name in make_scores(data).names), *TRAIN_NAMES, "step", "epoch"]


def _check_parts(models: dict[str, Any], of_stages: dict[str, Any], first_state: FirstState | None) -> None:
    """Raise `UserError` for two models, and for keys of `stages` that another model or a first state can't have."""
    given, own = ([f"model.{key}" for key, value in part.items() if value is not None] for part in (models, of_stages))
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} are two models; leave out one of them")
    if given and own:
        raise UserError(f"{own[0]} is for model.stages; leave out {given[0]} or {own[0]}")
    if of_stages["readout"] is not None and first_state:
        raise UserError(
            "model.readout is for sequences that begin in zeros; leave out model.first_state or model.readout"
        )


class SequenceModule(LightningModule):
    """Trains a sequence model on transcripts and scores it in a closed loop.

    By default the loss covers the model's own tokens, not the prompt or retrieved tokens (see data.train_targets), and
    the optimizer is AdamW with a linear warm-up and a cosine schedule to zero.

    Args:
        vocab_size: Vocabulary size; set from the data.
        hidden_size: Width of the residual stream; required unless a whole model is given.
        stages: The layers, from first to last, as a list of stages. A stage has mixers, a list of layers by class_path,
            such as lit_retrieval.mixers.Mamba, and repeat, the number of times the list is repeated.
        embedding: sinusoidal (frozen, as in the paper) or learned; tied to the head.
        learning_rate: Peak learning rate, for any optimizer.
        warmup_samples: Samples over which the learning rate warms up, in whole steps; at most half of the training.
        weight_decay: Weight decay, applied to matrices only; with 0, a given optimizer uses its own.
        norm: rms (before each mixer and the head) or none, as in the paper's theory.
        first_state: Initial state of a training sequence, taken from the end of the last batch. same takes that of the
            same row (truncated backpropagation through time), random that of another row; zeros if absent.
        initializer_range: Standard deviation of the initial weights of all linear layers, convolutions and a learned
            embedding (0.02 in GPT-2); each layer's own initialization if absent.
        construction: A model with constructed weights, by class_path, such as lit_retrieval.constructions.Theorem52. It
            replaces hidden_size, stages, embedding and norm, and can't be trained.
        network: A whole model, by class_path. It replaces hidden_size, stages, embedding and norm. It is an nn.Module
            with __init__(vocab_size, ...) and forward(tokens, state=None), which returns logits and state, or
            lit_retrieval.models.HuggingFaceModel.
        optimizer: Optimizer in place of AdamW, by class_path, such as torch.optim.SGD.
        lr_scheduler: Learning-rate schedule in place of warm-up and cosine, by class_path, such as
            torch.optim.lr_scheduler.StepLR. It is stepped every optimizer step. warmup_samples is not used, nor is
            learning_rate if the schedule sets its own rates.
        compile: blocks compiles each block of stages by torch.compile, in training on a GPU only. It changes the
            rounding. Decoding and scores are not compiled.
        recompute: blocks keeps only the input of each block of stages for the backward pass, and recomputes the rest
            there. It takes less memory and more time, and gives the same bits.
        pretrained: A model with pretrained weights, by class_path, such as lit_retrieval.pretrained.Folder. It replaces
            hidden_size, stages, embedding and norm. Checkpoints hold only its trained weights.
        readout: bottleneck predicts the tokens after a `?` by an MLP, as in MAD's compression. The MLP reads the vector
            of the last layer at the `?` and the number of tokens since.
        norm_eps: Epsilon that the norms add to the mean square (1e-6 in LLaMA); 1e-5 if absent.
        head: untied gives the head its own weights; tied to the embedding if absent.
        residual: rescaled divides the initial weights of each layer's last projection by the square root of the number
            of layers, as in GPT-2 and mamba-ssm.
        auxiliary_loss_weight: Factor of the auxiliary losses of layers, such as fla.layers.MomAttention. Their mean
            is added to the loss; 0 leaves them out.
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
        first_state: FirstState | None = None,
        initializer_range: float | None = None,
        network: NetworkFactory | None = None,
        optimizer: OptimizerFactory | None = None,
        lr_scheduler: SchedulerFactory | None = None,
        compile: Literal["blocks"] | None = None,
        recompute: Literal["blocks"] | None = None,
        readout: Literal["bottleneck"] | None = None,
        pretrained: PretrainedLoader | None = None,
        norm_eps: float | None = None,
        head: Literal["untied"] | None = None,
        residual: Literal["rescaled"] | None = None,
        auxiliary_loss_weight: float | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model: SequenceModel | WholeModel | ConstructedModel
        self.construction = construction
        options: dict[str, Any] = {"initializer_range": initializer_range, "norm_eps": norm_eps, "head": head}
        options["residual"] = residual
        models = {"construction": construction, "network": network, "pretrained": pretrained}
        _check_parts(models, {**options, "readout": readout}, first_state)
        if network is not None:
            self.model = WholeModel(vocab_size, network)
        elif pretrained is not None:
            loaded = pretrained.load(vocab_size=vocab_size)
            self.model = loaded if isinstance(loaded, SequenceModel) else WholeModel(vocab_size, lambda **_: loaded)
        elif construction is None:
            if hidden_size is None or stages is None:
                raise UserError("the model is not set; write model.hidden_size and model.stages, or model.network")
            make = SequenceModel if readout is None else partial(BottleneckModel, mark=ASK)
            self.model = make(vocab_size, hidden_size, stages, embedding=embedding, norm=norm, **options)
        self._is_pretrained = pretrained is not None
        self.optimizer_factory, self.scheduler_factory = optimizer, lr_scheduler
        self.first_state = first_state
        self.compile_blocks, self.recompute_blocks = compile == "blocks", recompute == "blocks"
        self.passing: StatePassing | None = None
        self.learning_rate = learning_rate
        self.warmup_samples = warmup_samples
        self.weight_decay = weight_decay
        self.given_auxiliary_weight = auxiliary_loss_weight
        self.auxiliary_loss_weight = 1.0 if auxiliary_loss_weight is None else auxiliary_loss_weight
        numbers = {"learning_rate": (learning_rate, 0), "warmup_samples": (warmup_samples, 0)}
        numbers["auxiliary_loss_weight"] = (self.auxiliary_loss_weight, 0)
        check_numbers("model", **numbers, weight_decay=(weight_decay, 0))
        self.scores = nn.ModuleDict()
        self.graphs: StepGraphs | None = None  # set by the callback `Gpu`, as is the next one
        self.decoder: ModelGraphs | None = None

    @property
    def data(self) -> TranscriptData:
        """The run's LightningDataModule."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, TranscriptData):
            raise UserError(f"the data of a SequenceModule must be TranscriptData, got {type(data).__name__}")
        return data

    def setup(self, stage: str) -> None:
        """Create what depends on data and trainer: scores, sums of a step, constructed weights, kept states.

        Raises `UserError` for a model, a layer or a task that breaks a rule.
        """
        data = self.data
        self.whole_step = GlobalStep(self.trainer, data.most_tokens)
        if self.construction is not None:
            if stage == "fit":
                raise UserError("a construction can't be trained; run test, validate or predict")
            check_words(data.task, "model.construction")
            self.model = self.construction.write(data.task.vocabulary)
        if isinstance(self.model, BottleneckModel):
            check_words(data.task, "model.readout")
        check_places(self.model, data)
        check_complex(self.model, self.trainer)
        if stage == "fit":
            check_classes(self.model, data, self.trainer)
            leave_out_constants(self)
            remember_matrices(self)
            check_losses(self.model, self.given_auxiliary_weight, self.first_state is not None)
            if self.first_state is not None:
                rows = data.batch_size // self.trainer.world_size
                self.passing = StatePassing(self.first_state, self.trainer.accumulate_grad_batches, rows)
        for split in ("val", "test"):
            self.scores[split] = make_scores(data)

    def on_fit_start(self) -> None:
        """Raise `UserError` if the model does not support `first_state`, `compile` or `recompute` as given."""
        if self.compile_blocks:
            self._blocks("compile", FIX).compile_blocks(self.trainer.strategy.root_device)
        if self.recompute_blocks:
            fix = "leave out model.recompute"
            self._blocks("recompute", fix, " (FSDP has activation_checkpointing_policy)").recompute_blocks()
        if self.passing is not None:
            with whole_parameters(self.trainer), self.trainer.precision_plugin.forward_context():
                check_passing(self.model)

    def _blocks(self, key: str, fix: str, instead: str = "") -> SequenceModel:
        """The model, if it has blocks to compile or recompute; else raises `UserError`."""
        if self.passing is not None:
            raise UserError(f"model.{key} needs sequences that begin in zeros; {fix} or model.first_state")
        if isinstance(self.trainer.strategy, FSDPStrategy | ModelParallelStrategy):
            raise UserError(
                f"model.{key} does not work with sharded weights; {fix}{instead}, or set another trainer.strategy"
            )
        if not isinstance(self.model, SequenceModel):
            raise UserError(f"model.{key} is for the blocks of model.stages; {fix}")
        return self.model

    @property
    def takes_several(self) -> bool:
        """Whether the model can read several tokens at once when it continues from a state."""
        return takes_several(self.model)

    def forward(self, tokens: Tensor, state: Any = None, positions: Tensor | None = None) -> tuple[Tensor, Any]:
        """The logits of the next token, and the state; see `SequenceModel.forward`."""
        return cast("tuple[Tensor, Any]", self.model(tokens, state, positions))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a micro-batch on the model's own tokens, in nats; see `GlobalStep`."""
        check_text(self.model, batch.tokens.shape[1])
        if self.graphs is not None:
            return self.graphs.loss(batch)
        positions, targets = batch.positions, batch.targets
        if self.passing is None:
            return self.loss(batch.tokens[:, :-1], positions, targets, len(positions), batch.length)
        hidden = select_positions(self._read_on(self.passing, batch), positions)
        return self._loss_of(hidden, targets, len(positions))

    def loss(
        self, tokens: Tensor, positions: Tensor, targets: Tensor, num_targets: Tensor | int, length: Tensor
    ) -> Tensor:
        """The loss at some positions of a micro-batch, `()`.

        Args:
            tokens: `(batch, time)`.
            positions: Flat indices into `tokens`, `(selected,)`.
            targets: The next tokens there, `(selected,)`; -100 for none.
            num_targets: Their number.
            length: Tokens of each row, the last one included, `(batch,)`. `tokens` has the last one only if padding
                follows it.
        """
        assert not isinstance(self.model, ConstructedModel)
        with without_states(), auxiliary_losses(self._is_token(tokens, length)) as losses:
            hidden, _ = self.model.read(tokens, None, positions)
        mean = torch.stack([widen(one) for one in losses]).mean() if losses else None
        return self._loss_of(hidden, targets, num_targets, None if mean is None else self.auxiliary_loss_weight * mean)

    def _is_token(self, tokens: Tensor, length: Tensor) -> Tensor | None:
        """A mask of the tokens before their row's last one, shaped like `tokens`; None without an auxiliary loss."""
        if not adds_losses(self.model, self.auxiliary_loss_weight):
            return None
        return torch.arange(tokens.shape[1], device=tokens.device) < length[:, None] - 1

    def _loss_of(
        self, hidden: Tensor, targets: Tensor, num_targets: Tensor | int, auxiliary: Tensor | None = None
    ) -> Tensor:
        """The loss from the head's inputs at the positions, `(selected, hidden_size)`, and the auxiliary loss."""
        assert not isinstance(self.model, ConstructedModel)
        counts_right = self.whole_step.is_logged or self.graphs is not None
        nats, right = sum_loss(self.model.predict, hidden, targets, self.model.vocab_size, counts_right)
        self.whole_step.add(right=right)
        return self.whole_step.loss(nats, num_targets, auxiliary)

    def _read_on(self, passing: StatePassing, batch: Batch) -> Tensor:
        """The residual stream after kept states, at all tokens but the last, `(batch, time - 1, hidden_size)`."""
        assert isinstance(self.model, SequenceModel)
        hidden, last = read_to_ends(self.model, batch.tokens, batch.length, passing.take(self.model, len(batch.tokens)))
        passing.keep(last)
        return hidden[:, :-1]

    def backward(self, loss: Tensor) -> None:
        """Backpropagate, unless a CUDA graph has already taken the whole step."""
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Finish the gradient of the global batch, and log the step if it is due."""
        step = self.whole_step
        step.finish(optimizer, self.parameters())
        if not step.has_scaler:
            skip_unless_finite(optimizer, step.bad_step, list(self.parameters()))
        if step.is_logged:
            self.log("train/loss", step.totals["nats"] / step.totals["tokens"])
            self.log("train/token_accuracy", step.totals["right"] / step.totals["tokens"])
            if "auxiliary" in step.totals:
                self.log("train/auxiliary_loss", step.totals["auxiliary"] / step.totals["tokens"])
            if not step.has_scaler:
                self.log("train/gradient_norm", step.norm)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by the known norm of the global gradient; with a loss scaler or by value, Lightning clips."""
        if self.whole_step.has_scaler or gradient_clip_algorithm == "value" or not gradient_clip_val:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self.whole_step.norm)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Score a batch, teacher forced and closed loop; callbacks get the decoded `replies`."""
        return {"replies": self._score("val", batch)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Score a batch, teacher forced and closed loop; callbacks get the decoded `replies`."""
        return {"replies": self._score("test", batch)}

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Replies:
        """The decoded replies of a batch."""
        return self.decode(batch)

    def decode(self, batch: Batch) -> Replies:
        """Decode each row's prompt with the model's searches run; large batches are split into parts."""
        data = self.data
        shared = data.task, data.retriever, data.max_new_tokens, self.device
        return decode_in_parts(self.model, batch.transcripts(), *shared, self.decoder or self)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer and its schedule."""
        total_steps = self.trainer.estimated_stepping_batches
        if not 0 < total_steps < float("inf"):
            raise UserError("trainer.max_steps must be set, since the stream of samples is endless")
        samples_per_step = self.data.batch_size * self.trainer.accumulate_grad_batches
        warmup_steps = self.warmup_samples // samples_per_step
        # With a loss scaler, Lightning refuses to clip for a fused optimizer, which may unscale the gradients itself.
        is_fused = not (self.whole_step.has_scaler and self.trainer.gradient_clip_val)
        groups = parameter_groups(self, self.weight_decay)
        if any(one.dtype == torch.bfloat16 for group in groups for one in group["params"]):
            rank_zero_warn(
                "weights in bfloat16 lose steps of less than a 512th of a weight: train them in float32, with "
                "trainer.precision bf16-mixed, or adapters beside them (lora_rank)"
            )
        optimizer = make_optimizer(self.optimizer_factory, groups, self.learning_rate, is_fused)
        scheduler = make_scheduler(self.scheduler_factory, optimizer, warmup_steps, int(total_steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _score(self, split: str, batch: Batch) -> Replies:
        check_text(self.model, batch.tokens.shape[1])
        replies = self.decode(batch)
        forced = join([self._teacher_forced(part) for part in batch.split(_MOST_TOKENS)])
        task = self.data.task
        measured = forced | closed_loop(replies, batch, task.chances) | shared_words(replies, batch, task)
        cast("Scores", self.scores[split]).update(measured, batch)
        return replies

    def _teacher_forced(self, batch: Batch) -> dict[str, Measured]:
        with without_states():
            logits, _ = self(batch.tokens[:, :-1], positions=batch.positions)
        return teacher_forced(logits, batch)

    def _log_scores(self, split: str) -> None:
        scores = cast("Scores", self.scores[split])
        for name, value in scores.compute().items():  # the same on all ranks
            self.log(
                str(name._replace(split=split)), value, prog_bar=str(name) == "closed_loop_accuracy", sync_dist=True
            )
        scores.reset()

    def _frozen(self) -> set[str]:
        """The names of the frozen pretrained weights, which checkpoints leave out."""
        everything = self.named_parameters(remove_duplicate=False) if self._is_pretrained else ()  # a tied head, too
        return {name for name, one in everything if not one.requires_grad}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out frozen weights, and add the initial states of the next batch, in the order of the global batch."""
        for name in self._frozen():
            checkpoint["state_dict"].pop(name, None)
        if self.passing is not None:
            kept = self.passing.tensors()
            checkpoint["first_states"] = [[self._of_all_ranks(one) for one in tensors] for tensors in kept]

    def _of_all_ranks(self, rows: Tensor) -> Tensor:
        """Gather the rows `(batch, ...)` of all ranks, in the order of the global batch."""
        if self.trainer.world_size == 1:
            return rows
        gathered = cast(Tensor, self.all_gather(rows.to(self.device)))  # (ranks, batch, ...)
        return gathered.transpose(0, 1).flatten(0, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore kept states, and add the frozen weights; raises `UserError` if the checkpoint's shapes differ.

        FSDP has loaded the weights itself and removed them.
        """
        if self.passing is not None and "first_states" in checkpoint:
            rank, ranks = self.trainer.global_rank, self.trainer.world_size
            self.passing.restore([[one[rank::ranks] for one in tensors] for tensors in checkpoint["first_states"]])
        if "state_dict" not in checkpoint:
            return
        own, other = self.state_dict(), checkpoint["state_dict"]
        other.update({name: own[name] for name in self._frozen() if name not in other})
        for name in sorted({*own, *other}):
            shapes = [tuple(state[name].shape) if name in state else "nothing" for state in (own, other)]
            if shapes[0] != shapes[1]:
                raise UserError(
                    f"the checkpoint is of another model: {name} is {shapes[1]} there and {shapes[0]} here; "
                    "give the --config that the checkpoint was trained with"
                )
