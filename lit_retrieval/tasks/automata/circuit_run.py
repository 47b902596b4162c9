"""Runs of an RNN whose step is a circuit, gate by gate."""

import numpy as np

from lit_retrieval.circuits import Circuit, Table
from lit_retrieval.errors import UserError
from lit_retrieval.ranges import check_numbers
from lit_retrieval.tasks.task import Regime
from lit_retrieval.tasks.word_task import Turn, WordTask


class CircuitRun(WordTask):
    """Random words, and the steps of an RNN on them, each as the gates of its circuit. (arXiv:2402.18510, Theorem 4.8.)

    In `cot`, a step writes the gates as g0 and g1, and then the next word of the RNN's text. Up to the `?` this is the
    next word of the prompt; after it, the word that the RNN writes. A sample of a circuit for parity, `{n: input number
    0, b: state p, p: xor b n, one: one, e: xor p one}`, which says YES for p and NO for e::

        prompt:  <s> x1 x0 ?
        vanilla: YES
        cot:     g0 g0 g0 g1 g1 x1 g1 g0 g1 g1 g0 x0 g0 g1 g1 g1 g0 ? g0 g1 g1 g1 g0 YES

    The size of a problem is the number of its words. There is nothing to search for, so it has no `retrieval`.

    Args:
        circuit: The RNN, or the path of its YAML file; see `lit_retrieval.circuits.Circuit`.
        max_steps: Largest number of words that the RNN writes, including its answer; a longer run is an error.
    """

    regimes = ("vanilla", "cot")

    def __init__(self, circuit: Table, max_steps: int = 16) -> None:
        check_numbers("data.task.init_args", max_steps=(max_steps, 1))
        self.circuit = circuit
        self.rnn = Circuit.from_table(circuit)
        self.max_steps = max_steps
        super().__init__(["g0", "g1", *self.rnn.words], answers=self.rnn.answers)

    def draw(self, rng: np.random.Generator, size: int) -> list[str]:
        """Random words that the RNN reads."""
        return [self.rnn.reads[at] for at in rng.integers(len(self.rnn.reads), size=size)]

    def write_turns(self, problem: list[str], regime: Regime) -> list[Turn]:
        """Write the prompt, and the gates of all steps or only the answer."""
        prompt = ["<s>", *problem, "?"]
        steps = list(self.rnn.run(prompt, self.max_steps))
        answer = steps[-1][1]
        if answer not in self.rnn.answers:
            raise UserError(f"the RNN has no answer to {problem} after max_steps={self.max_steps}; raise max_steps")
        words = [part for gates, word in steps for part in (*(f"g{gate}" for gate in gates), word)]
        return [Turn(" ".join(prompt), answer if regime == "vanilla" else " ".join(words))]

    def longest_reply(self, size: int, regime: Regime) -> int:
        """The gates and the word of all steps, with `max_steps` of the RNN's own words."""
        return 1 if regime == "vanilla" else (size + 1 + self.max_steps) * (len(self.rnn.gates) + 1)
