"""Imports samples of another package from arrays of inputs and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation import Author
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_at_least, check_numbers
from lit_retrieval.tasks.random import Counts
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.writing import Rows
from lit_retrieval.vocabulary import FIRST_WORD, MOST_WORDS, Vocabulary

NO_LABEL = -100  # as in torch.nn.functional.cross_entropy

Array = npt.NDArray[Any]
_RENAMED = {"input": "inputs", "output": "outputs", "targets": "labels"}


class Imported(Task):
    """Inputs and labels that another package has drawn, read from files.

    Samples of Zoology (arXiv:2312.04927), MAD (arXiv:2403.17844) and the Chomsky hierarchy (arXiv:2207.02098) can be
    imported. MAD's compression can't, since each input is its own label; use `MADCompression` instead.

    The words are `w0`, `w1`, ... for the package's ids, and `.`, which follows a label at the end. The model is asked
    for the label beside each input that has one, and reads only the inputs. Inputs 3 1 3 with the label 1 at the last
    one::

        prompt:  w3 w1 w3
        vanilla: {w1} .

    `chance` is 1 / vocab_size, a guess among all ids, since the task is created before a file is read. If labels are
    only some of the ids, a guess among these is right more often.

    Args:
        vocab_size: Number of the package's ids.
    """

    regimes = ("vanilla",)

    def __init__(self, vocab_size: int) -> None:
        check_numbers("data.task.init_args", MOST_WORDS, vocab_size=(vocab_size, 1))
        self.vocab_size = vocab_size
        self.vocabulary = Vocabulary([*(f"w{one}" for one in range(vocab_size)), "."])
        self.answer_words = np.arange(FIRST_WORD, FIRST_WORD + vocab_size, dtype=np.int32)
        self.chance = 1 / vocab_size

    def write(self, seed: int, indices: Counts, sizes: Counts, regime: Regime) -> Transcripts:
        """Raise `UserError`: the task has only the samples of its files."""
        raise UserError("Imported draws no samples; name files of them in data.train_file, val_file and test_file")

    def longest_reply(self, size: int, regime: Regime) -> int:
        """All inputs but the first, and the word after a label at the end."""
        return size

    def shortest_reply(self, regime: Regime) -> int:
        """The word beside one label."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below 1; the size of a problem is its number of inputs."""
        check_at_least("size", size, 1, "data.sizes")

    def transcripts(self, inputs: Counts, labels: Counts) -> Transcripts:
        """The samples as transcripts.

        Raises `UserError` for an id that is not in the vocabulary, for a row without a label, and if each input is its
        own label.

        Args:
            inputs: The package's ids, `(batch, time)`.
            labels: The answer at each input, an id or NO_LABEL, `(batch, time)`.
        """
        has_label = labels != NO_LABEL
        for name, ids in (("inputs", inputs), ("labels", labels[has_label])):
            if ids.size and not 0 <= ids.min() <= ids.max() < self.vocab_size:
                raise UserError(
                    f"{name} must be ids from 0 to {self.vocab_size - 1}, got {ids.min()} to {ids.max()}; "
                    "set --vocab_size"
                )
        if np.array_equal(inputs, labels):
            raise UserError("each label is the input it stands beside, so there is nothing to find; set other labels, "
                            "or train on lit_retrieval.tasks.MADCompression if this is MAD's compression")  # fmt: skip
        if not has_label.any(1).all():
            raise UserError(f"each sample must have a label, got none in sample {has_label.any(1).argmin()}")
        batch, time = inputs.shape
        end = FIRST_WORD + self.vocab_size
        tokens = np.column_stack([inputs + FIRST_WORD, np.full(batch, end)]).astype(np.int32)
        author = np.full(tokens.shape, Author.PROMPT, np.int8)
        author[:, 1:][has_label] = Author.ASKED
        counts = has_label.sum(1)
        answers = np.zeros((batch, counts.max()), np.int32)
        answers[np.arange(counts.max()) < counts[:, None]] = labels[has_label] + FIRST_WORD
        length = np.where(has_label[:, -1], time + 1, time)
        tokens[length == time, -1], author[length == time, -1] = 0, Author.PAD
        rows = Rows(tokens, author, length, has_label.argmax(1) + 1, answers, np.zeros(answers.shape, np.int64))
        return rows.transcripts(np.full(batch, time))


def read_arrays(path: Path, vocab_size: int | None = None) -> tuple[Counts, Counts]:
    """The inputs and labels of a file of another package, both int64 `(batch, time)`.

    A .npz file of Zoology or MAD has `inputs` and `labels` (or `targets`), `(batch, time)` each. One of the Chomsky
    hierarchy has `input`, and `output` that is asked for after it, `(batch,)` or `(batch, answers)`; each output is
    then beside an additional id, the last of `vocab_size` if that is given. A missing label is -100, or 0 in a third
    array `mask`, shaped like the labels. All arrays have integers, or one-hot vectors along one more axis. Raises
    `UserError` for other files.
    """
    loaded = _load(path)
    arrays = {_RENAMED.get(name, name): array for name, array in loaded.items()}
    if len(arrays) < len(loaded):
        raise UserError(f"{path} must have labels or targets, and not both, got {', '.join(sorted(loaded))}")
    arrays = {name: one if name == "mask" else _from_one_hot(one) for name, one in arrays.items()}
    given = "outputs" if "outputs" in arrays and "labels" not in arrays else "labels"
    if missing := {"inputs", given} - arrays.keys():
        raise UserError(f"{path} must have the arrays inputs and labels, got {', '.join(sorted(arrays))}: "
                        f"{' and '.join(sorted(missing))} missing")  # fmt: skip
    inputs, labels = arrays["inputs"], arrays[given]
    labels = labels[:, None] if given == "outputs" and labels.ndim == 1 else labels
    mask = arrays.get("mask", np.ones(labels.shape))
    shapes = {name: one.shape for name, one in {**arrays, given: labels}.items() if name in ("inputs", given, "mask")}
    integers = all(np.issubdtype(one.dtype, np.integer) and one.size for one in (inputs, labels))
    same = inputs.shape == labels.shape if given == "labels" else inputs.shape[:1] == labels.shape[:1]
    if not (same and mask.shape == labels.shape and inputs.ndim == labels.ndim == 2 and integers):
        raise UserError(f"the arrays of {path} must be integers of one shape (samples, time), got {shapes}")
    labels = np.where(mask.astype(bool), labels.astype(np.int64), NO_LABEL)
    inputs = inputs.astype(np.int64)
    return _beside_outputs(inputs, labels, vocab_size) if given == "outputs" else (inputs, labels)


def _load(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise UserError(f"there is no file {path}; write the path of a .npz file of inputs and labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} can't be read as .npz: {error}; write it with numpy.savez") from None


def _from_one_hot(array: Array) -> Array:
    """The ids of a float array with a single 1 along its last axis; others as they are."""
    if not np.issubdtype(array.dtype, np.floating) or array.ndim < 2 or not array.size:
        return array
    is_one_hot = np.isin(array, (0, 1)).all() and (array.sum(-1, dtype=float) == 1).all()
    return array.argmax(-1) if is_one_hot else array


def _beside_outputs(inputs: Counts, outputs: Counts, vocab_size: int | None) -> tuple[Counts, Counts]:
    """The inputs followed by an unused id for each output, and the outputs as labels beside these.

    Files of one vocabulary must have the same unused id, whatever the largest id in each.
    """
    most = int(max(inputs.max(), outputs.max()))
    blank = most + 1 if vocab_size is None else vocab_size - 1
    if most >= blank:
        raise UserError(f"ids must be below {blank}, at which outputs are asked for, got {most}; set --vocab_size to 2 "
                        "more than the largest id of all files")  # fmt: skip
    whole = np.column_stack([inputs, np.full_like(outputs, blank)])
    return whole, np.column_stack([np.full_like(inputs, NO_LABEL), outputs])
