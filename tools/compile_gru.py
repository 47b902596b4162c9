"""Compile a trained GRU to a table of gates for Theorem 4.8: `python tools/compile_gru.py --help`."""

from pathlib import Path

import numpy as np
import yaml
from jsonargparse import auto_cli

import lit_retrieval
from lit_retrieval.constructions.compile import RoundedGRU, compile_gru, round_gru
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.ranges import check_numbers
from lit_retrieval.vocabulary import SPECIAL_WORDS

_PROBED = 256  # samples whose prompts are read to find the GRU's inputs


def compile_run(run: Path, file: Path, state_bits: int = 2, weight_scale: int = 4) -> None:
    """Round the weights and the state of a run's GRU, and write its circuit.

    The model must be a single GRU layer that answers with one word, directly after a prompt that ends with `?`.

    Args:
        run: Folder of the run.
        file: YAML file to write, as in configs/circuits.
        state_bits: Fraction bits of the state, the gates and the constants.
        weight_scale: Weights are rounded to multiples of 1 / weight_scale.
    """
    check_numbers("-", state_bits=(state_bits, 1), weight_scale=(weight_scale, 1))
    rounded = round_run(run, state_bits, weight_scale)
    circuit = compile_gru(rounded)
    rounding = f"its state in 1/{2**state_bits} and its weights in 1/{weight_scale}"
    table = yaml.safe_dump(dict(circuit.to_table()), sort_keys=False, default_flow_style=None, width=120)
    file.write_text(f"# A trained GRU, {rounding}, by tools/compile_gru.py.\n{table}")
    print(f"{len(circuit.gates)} gates in {file}")


def round_run(run: Path, state_bits: int, weight_scale: int) -> RoundedGRU:
    """The GRU of a run in integers."""
    trained = lit_retrieval.load(run)
    if [type(mixer) for mixer in trained.model.mixers] != [GRU]:
        raise UserError(f"the model of {run} must have one layer, a lit_retrieval.mixers.GRU; train such a one")
    vocabulary = trained.task.vocabulary
    answers = vocabulary.decode(trained.task.answer_words)
    seen = vocabulary.decode(np.unique(trained.data.stream("predict").take(np.arange(_PROBED)).tokens))
    reads = [word for word in seen if word not in (*SPECIAL_WORDS, *answers)]
    return round_gru(trained.model, vocabulary, reads, answers, state_bits, weight_scale)


if __name__ == "__main__":
    with one_line_errors():
        auto_cli(compile_run, as_positional=True, parser_class=OneLineErrors)
