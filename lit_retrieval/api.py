"""Runs in Python: train one, load it, let its model write, and score it."""

import re
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jsonargparse import ArgumentError, ArgumentParser

from lit_retrieval import __version__, runs
from lit_retrieval.cli import train
from lit_retrieval.cli.start import warn_of_other_code
from lit_retrieval.data import TranscriptData, collate
from lit_retrieval.decoding import Replies, Reply, begin, decode_in_parts, generate
from lit_retrieval.errors import UserError, one_line
from lit_retrieval.models import SequenceModel, check_text
from lit_retrieval.parsing import limit_imports
from lit_retrieval.ranges import check_at_least, check_at_most
from lit_retrieval.runs import RunFolder
from lit_retrieval.tasks import Task, Transcripts
from lit_retrieval.training import Gpu, SequenceModule
from lit_retrieval.training.score_name import Group, ScoreName
from lit_retrieval.training.scores import closed_loop
from lit_retrieval.training.sequence_module import make_scores
from lit_retrieval.training.transcript_printer import render
from lit_retrieval.vocabulary import PAD, Ids

_ALIKE = 8  # prompts whose first and last tokens are compared


class Written(NamedTuple):
    """A conversation with the model; `print` shows it, with the retrieved tokens in brackets.

    Args:
        text: The whole conversation.
        answers: The model's answers; None where it gave none within the token limit.
        expected: The right answers; none for a prompt of your own.
        reply: Token ids, who wrote each, and how many searches were run.
    """

    text: str
    answers: list[str | None]
    expected: list[str]
    reply: Reply

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Run:
    r"""A trained model, and the task and the retriever that it was trained with; `load` makes one.

    A run of the quickstart::

        run = lit_retrieval.load("runs/quickstart-123573c5")
        print(*run.sample(4), sep="\n\n")
        (written,) = run.generate("<s> 1 ~ 2 2 ~ 3 3 ~ 1 4 ~ 5 ?")
        print(written, written.answers)
        print(run.score(100))

    Args:
        folder: The run's folder.
        model: The next-token model: `logits, state = run.model(tokens, state)`.
        data: The task, `regime`, `retriever` and `max_new_tokens`, and streams of samples.
        precision: `trainer.precision` of the run. `sample`, `generate` and `score` use autocast for a mixed one, as the
            command `test` does; weights trained in bf16-true or 64-true are computed with in float32.
    """

    folder: Path
    model: SequenceModel
    data: TranscriptData
    precision: str = "32-true"

    @property
    def task(self) -> Task:
        """The task that the model was trained on."""
        return self.data.task

    def sample(self, count: int = 4) -> list[Written]:
        """Draw problems, the same ones each time, and let the model solve them."""
        return [written for part in self._draw("predict", count) for written in self.generate(part)]

    def generate(self, prompts: str | Sequence[str] | Transcripts, num_answers: int | None = None) -> list[Written]:
        """Complete prompts by greedy decoding, with the model's searches run.

        Args:
            prompts: One prompt, words separated by spaces (a text for a task in text), a list of them, or samples, of
                which the prompts are used.
            num_answers: Answers after which the reply to one prompt ends; if absent, the most that samples of the task
                have. Samples have their own.

        Raises `UserError` for a word that is not in the task's vocabulary, and warns of a prompt that does not begin or
        end as all of the task's do.
        """
        if isinstance(prompts, Transcripts):
            expected = (self.task.answer_texts(prompts.reply(row)) for row in range(len(prompts)))
            return [self._written(*pair) for pair in zip(self._decode(prompts), expected, strict=True)]
        _check_kind("prompts", prompts, (str, list, tuple), "a text, a list of texts or samples")
        texts = [prompts] if isinstance(prompts, str) else prompts
        for text in texts:
            _check_kind("a prompt", text, str, "a text")
        written: list[Written] = []
        for text in texts:
            written += [self._written(reply, []) for reply in self._answer(text, num_answers)]
        return written

    def score(self, samples: int = 100) -> float:
        """The closed-loop accuracy on the first test samples, as the command `test` reports it.

        For a run in bf16-true or 64-true the two may differ; see `precision`.
        """
        scores = make_scores(self.data)
        for part in self._draw("test", samples):
            batch = collate(part)
            scores.update(closed_loop(self._decode(part), batch, self.task.chances), batch)
        return float(scores.compute()[ScoreName("closed_loop_accuracy", Group())])

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _autocast(self) -> AbstractContextManager[object]:
        """Lightning's autocast for the run's precision; on a CPU it takes 16-mixed as bf16-mixed."""
        device = self._device.type
        dtype = {"16": torch.float16, "bf16": torch.bfloat16}.get(self.precision.removesuffix("-mixed"))
        if dtype is None:
            return nullcontext()
        return torch.autocast(device, torch.bfloat16 if device == "cpu" else dtype, cache_enabled=False)

    def _draw(self, split: str, count: int) -> Iterator[Transcripts]:
        _check_kind("the number of samples", count, Integral, "a whole number")
        check_at_least("the number of samples", count, 1, "count or samples")
        source, batch_size = self.data.source(split), self.data.eval_batch_size
        if source.num_samples is not None:
            check_at_most("the number of samples", count, source.num_samples, "count or samples")
        for start in range(0, count, batch_size):
            yield source.take(np.arange(start, min(start + batch_size, count)))

    def _decode(self, transcripts: Transcripts) -> Replies:
        data = self.data
        given = data.task, data.retriever, data.max_new_tokens, self._device
        with self._autocast():
            return decode_in_parts(self.model, transcripts, *given)

    def _answer(self, prompt: str, num_answers: int | None) -> Replies:
        data, tokens = self.data, self.task.vocabulary.read_prompt(prompt)
        if not prompt.strip():
            raise UserError(f"a prompt must have one token or more, got {prompt!r}; write one such as '<s> 1 ~ 2 ?'")
        (others,) = self._draw("predict", min(_ALIKE, self.data.eval_batch_size))
        self._warn_if_unlike(tokens, others)
        counts = [_last_answers(others) if num_answers is None else num_answers]
        _check_kind("num_answers", counts[0], Integral, "a whole number")
        check_at_least("num_answers", counts[0], 1, "num_answers")
        check_text(self.model, len(tokens), data.max_new_tokens)
        begun = begin([[tokens]], data.task, data.retriever, data.max_new_tokens, counts)
        with self._autocast():
            return generate(self.model, begun, self._device)

    def _warn_if_unlike(self, prompt: Ids, part: Transcripts) -> None:
        """Warn if all prompts of some samples begin with another token, or end with one."""
        prompts = [next(part.turns(row)) for row in range(len(part))]
        for place, verb in ((0, "begin"), (-1, "end")):
            usual = {int(one[place]) for one in prompts}
            if len(usual) == 1 and int(prompt[place]) not in usual:
                theirs, own = (repr(self.task.vocabulary.text([token])) for token in (*usual, prompt[place]))
                told = f"the prompts of {type(self.task).__name__} {verb} with {theirs}, this one {verb}s with {own}"
                warnings.warn(told, stacklevel=4)

    def _written(self, reply: Reply, expected: list[str | None]) -> Written:
        text, right = render(reply, self.task.vocabulary).plain.strip(), [one for one in expected if one is not None]
        return Written(text, self.task.answer_texts(reply), right, reply)


def _last_answers(part: Transcripts) -> int:
    """The most answers that a sample has after its last question."""
    before = [len(list(part.turns(row))) - 1 for row in range(len(part))]
    return max(1, int(((part.answers != PAD).sum(1) - before).max()))


def _check_kind(name: str, value: object, kinds: type | tuple[type, ...], told: str) -> None:
    """Raise `UserError` unless an argument is of one of these kinds; a bool is not a number."""
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise UserError(f"{name} must be {told}, got {one_line(repr(value)):.80}")


def fit(command: str) -> Run:
    """Train as the command `fit` does, in this process, and load the run with its best checkpoint.

    `lit_retrieval.fit("--config quickstart --data.regime cot")` runs `lit-retrieval fit --config quickstart
    --data.regime cot`. A run that is finished is loaded, and one that was stopped resumes.

    Args:
        command: The options of the command, as in a shell.

    Raises `UserError`, in one line, for what the command refuses.
    """
    _check_kind("command", command, str, "a text, as in a shell")
    folder = train(shlex.split(command))
    if folder is None:
        raise UserError("fit must leave a run to load, and trainer.fast_dev_run leaves none; leave it out")
    return load(folder)


def load(folder: str | Path, checkpoint: str | Path = "best", device: str = "cpu") -> Run:
    """Load a run that `fit` has trained.

    The classes that its configuration names are imported: load only runs that you trust like a program.

    Args:
        folder: The run's folder, as in `runs/quickstart-123573c5`.
        checkpoint: best, last or the path of a .ckpt file.
        device: Where to put the model: cpu, cuda, ...

    Raises `UserError`, in one line, if there is no such run, if the checkpoint is damaged or of another model, and if
    another version of the package wrote the configuration and this one can't read it.
    """
    for name, path in (("folder", folder), ("checkpoint", checkpoint)):
        _check_kind(name, path, (str, Path), "a path")
    run = RunFolder(Path(folder).expanduser())
    content, (module, data) = _read_checkpoint(run, checkpoint), _build(run)
    warn_of_other_code(run)
    configuration = run.configuration() or {}
    if torch.device(device).type == "cuda":
        Gpu(**configuration.get("gpu", {})).set_arithmetic()
    module.on_load_checkpoint(content)
    module.load_state_dict(content["state_dict"])
    precision = str((configuration.get("trainer") or {}).get("precision") or "32-true")
    return Run(run.path, cast("SequenceModel", module.model).to(device).eval(), data, precision)


def _read_checkpoint(run: RunFolder, checkpoint: str | Path) -> dict[str, Any]:
    if not run.path.is_dir():
        raise UserError(f"there is no run {run.path}; write the folder of one, as in runs/quickstart-123573c5")
    if checkpoint == "last":
        return run.last().content
    return runs.load_checkpoint(run.best if checkpoint == "best" else Path(checkpoint).expanduser())


def _build(run: RunFolder) -> tuple[SequenceModule, TranscriptData]:
    """The module and the data of a run, built from its configuration, with untrained weights."""
    configuration = run.configuration()
    if configuration is None:
        raise UserError(f"{run.path} has no config.yaml; write the folder of a run that `fit` has trained")
    limit_imports()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(TranscriptData, "data", sub_configs=True)
    parser.add_class_arguments(SequenceModule, "model", sub_configs=True)
    parser.link_arguments("data.vocab_size", "model.vocab_size", apply_on="instantiate")
    try:
        parts = {"data": _without_files(configuration["data"]), "model": configuration["model"]}
        built = parser.instantiate(parser.parse_object(parts))
    except (ArgumentError, KeyError, TypeError) as error:
        if missing := re.search(r"No module named '([\w.]+)'", str(error)):
            raise UserError(f"{run.path} needs {missing[1]}; install it, or start in the folder that has it") from None
        raise UserError(
            f"{run.path / 'config.yaml'} is not a configuration of lit_retrieval {__version__}: "
            f"{one_line(error)}; load it with the version that wrote it"
        ) from None
    return built.model, built.data


def _without_files(data: dict[str, Any]) -> dict[str, Any]:
    """The keys of a run's data without its file for training, and without that for validation if it is gone."""
    path = data.get("val_file")
    if path is None or Path(path).expanduser().is_file():
        return {**data, "train_file": None}
    warnings.warn(f"there is no file {path}, so the sizes of its samples are not known here", stacklevel=4)
    return {**data, "train_file": None, "val_file": None}
