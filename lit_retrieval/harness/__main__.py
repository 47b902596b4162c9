"""python -m lit_retrieval.harness: the command lm_eval, with an additional model for runs and pretrained models."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

from lit_retrieval.parsing import fail, one_line_errors

NAME = "lit_retrieval"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run lm_eval's command line with `--model lit_retrieval` as the default; mistakes are one-line errors."""
    if find_spec("lm_eval") is None:
        fail("lm-evaluation-harness is not installed: pip install -c constraints.txt -e '.[lm_eval]'")
    import_module("lm_eval.models")  # first, because lm_eval registers its own models only if there is no other
    from lm_eval.__main__ import cli_evaluate
    from lm_eval.api.registry import model_registry

    from lit_retrieval.harness.language_model import ROWS, LanguageModel

    if NAME not in model_registry:
        model_registry.register(NAME, target=LanguageModel)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in ("ls", "validate", "-h", "--help"):  # later arguments win
        given = ["run", "--model", NAME, "--batch_size", str(ROWS), *given[given[0] == "run" :]]
    sys.argv = ["lm_eval", *given]
    with one_line_errors():
        cli_evaluate()


if __name__ == "__main__":
    main()
