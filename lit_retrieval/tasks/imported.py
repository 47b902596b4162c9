"""Samples of another package, as arrays of inputs and labels."""

from pathlib import Path

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

Array = npt.NDArray[np.generic]


class Imported(Task):
    """Inputs and labels that another package has drawn, read from files. (Zoology, MAD and others.)

    The words are `w0`, `w1`, ... for the package's ids, and `.`, which stands behind a label at the end. The model is
    asked for the label beside each input that has one, and reads the inputs alone. Inputs 3 1 3 with the label 1 at the
    last one::

        prompt:  w3 w1 w3
        vanilla: {w1} .

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
        """Raise `UserError`: there are no samples but those of the files."""
        raise UserError("Imported draws no samples; name files of them in data.train_file, val_file and test_file")

    def longest_reply(self, size: int, regime: Regime) -> int:
        """All inputs but the first, and the word behind a label at the end."""
        return size

    def shortest_reply(self, regime: Regime) -> int:
        """The word beside one label."""
        return 1

    def check_size(self, size: int) -> None:
        """Raise `UserError` below 1; the size of a problem is its number of inputs."""
        check_at_least("size", size, 1, "data.sizes")

    def transcripts(self, inputs: Counts, labels: Counts) -> Transcripts:
        """The samples as transcripts.

        Raises `UserError` for an id that is not in the vocabulary, and for a row without a label.

        Args:
            inputs: The package's ids, `(batch, time)`.
            labels: What the model is to answer at each, ids or NO_LABEL, `(batch, time)`.
        """
        has_label = labels != NO_LABEL
        for name, ids in (("inputs", inputs), ("labels", labels[has_label])):
            if ids.size and not 0 <= ids.min() <= ids.max() < self.vocab_size:
                raise UserError(
                    f"{name} must be ids from 0 to {self.vocab_size - 1}, got {ids.min()} to {ids.max()}; "
                    "set --vocab_size"
                )
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


def read_arrays(path: Path) -> tuple[Counts, Counts]:
    """The `inputs` and `labels` of a file of another package, both int64 `(batch, time)`.

    A .npz file has `inputs`, `labels` and perhaps `mask`, which is true where there is a label; elsewhere a label is
    -100. Raises `UserError` if it has not.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}; write the path of a .npz file of inputs and labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, Array] = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{path} can't be read as .npz: {error}; write it with numpy.savez") from None
    if missing := {"inputs", "labels"} - arrays.keys():
        raise UserError(f"{path} must have the arrays inputs and labels, got {', '.join(sorted(arrays))}: "
                        f"{' and '.join(sorted(missing))} missing")  # fmt: skip
    shapes = {name: one.shape for name, one in arrays.items() if name in ("inputs", "labels", "mask")}
    integers = all(np.issubdtype(arrays[name].dtype, np.integer) for name in ("inputs", "labels"))
    if len(set(shapes.values())) > 1 or len(shapes["inputs"]) != 2 or not arrays["inputs"].size or not integers:
        raise UserError(f"the arrays of {path} must be integers of one shape (samples, time), got {shapes}")
    inputs, labels = (arrays[name].astype(np.int64) for name in ("inputs", "labels"))
    return inputs, np.where(arrays["mask"].astype(bool), labels, NO_LABEL) if "mask" in arrays else labels
