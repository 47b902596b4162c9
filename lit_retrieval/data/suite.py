"""Evaluation suites: frozen test sets."""

from dataclasses import dataclass

import numpy as np

from lit_retrieval import __version__
from lit_retrieval.errors import UserError
from lit_retrieval.renamed import take_old_names
from lit_retrieval.tasks import Regime, SampleHash, SampleStream, flatten

_CHUNK = 1024

__getattr__ = take_old_names(__name__, fingerprint="hash_samples")


@dataclass(frozen=True)
class Suite:
    """A frozen test set: scores on the same suite are comparable.

    Args:
        name: Its name.
        version: The version of lit_retrieval that made it.
        sha256: Hash of the test samples for each regime (`lit_retrieval.tasks.SampleHash`).
    """

    name: str
    version: str
    sha256: dict[Regime, str]


def hash_samples(samples: SampleStream, count: int) -> str:
    """The sha256 of the first `count` samples."""
    result = SampleHash(samples.task.vocabulary.identity)
    for start in range(0, count, _CHUNK):
        result.update(flatten(samples.take(np.arange(start, min(start + _CHUNK, count)))))
    return result.hexdigest()


def check_suite(suite: Suite, samples: SampleStream, count: int) -> None:
    """Raise `UserError` unless the first `count` samples are those of the suite."""
    expected, found = suite.sha256.get(samples.regime), hash_samples(samples, count)
    if expected is None:
        raise UserError(
            f"the suite {suite.name} has no regime {samples.regime}; write one of {', '.join(suite.sha256)} in "
            "data.regime"
        )
    if expected != found:
        raise UserError(
            f"the test samples are not those of the suite {suite.name}: their sha256 is {found[:12]}..., not "
            f"{expected[:12]}...; take lit_retrieval {suite.version}, which made it (this is "
            f"{__version__}), or restore the suite's task, sizes, seed and test_samples"
        )
