"""Removes the padding of samples, and hashes them."""

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from lit_retrieval.conversation import Author
from lit_retrieval.tasks.task import Transcripts
from lit_retrieval.vocabulary import PAD

_DTYPES: dict[str, type[np.generic]] = {"tokens": np.int32, "author": np.int8, "answers": np.int32}

# Concatenated samples, without padding: a flat array for each field of `Transcripts`, and `num_answers`.
Flat = dict[str, npt.NDArray[Any]]


def flatten(transcripts: Transcripts) -> Flat:
    """The samples concatenated, without padding; each array `(tokens,)`, `(all answers,)` or `(batch,)`."""
    is_token, is_answer = transcripts.author != Author.PAD, transcripts.answers != PAD
    return {
        "tokens": transcripts.tokens[is_token],
        "author": transcripts.author[is_token],
        "length": transcripts.length,
        "prompt_length": transcripts.prompt_length,
        "answers": transcripts.answers[is_answer],
        "distances": transcripts.distances[is_answer],
        "num_answers": is_answer.sum(1),
        "sizes": transcripts.sizes,
        "kinds": transcripts.kinds,
    }


class SampleHash:
    """The sha256 of samples and their vocabulary; it does not depend on the split into batches.

    Args:
        identity: The vocabulary's `identity`: its words.
    """

    def __init__(self, identity: Iterable[str]) -> None:
        self._words = sha256("\n".join(identity).encode())
        self._fields: dict[str, Any] = {}

    def update(self, flat: Flat) -> None:
        """Add samples."""
        for name, values in flat.items():
            field = self._fields.setdefault(name, sha256())
            field.update(np.ascontiguousarray(values, dtype=f"<{np.dtype(dtype_of(name)).str[1:]}").tobytes())

    def hexdigest(self) -> str:
        """The hash of all samples so far, 64 hexadecimal digits."""
        digests = (field.digest() for _, field in sorted(self._fields.items()))
        return sha256(b"".join([self._words.digest(), *digests])).hexdigest()


def dtype_of(name: str) -> type[np.generic]:
    """The type of the array `name` of `Flat`."""
    return _DTYPES.get(name, np.int64)
