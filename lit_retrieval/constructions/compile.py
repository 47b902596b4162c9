"""Compiles RNNs to circuits: constructed linear RNNs exactly, a trained GRU with rounded weights and activations."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from lit_retrieval.circuits import Circuit
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.wiring import ONE, Number, Wiring, constant
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU, LinearRNN, ReGLU
from lit_retrieval.models import SequenceModel
from lit_retrieval.models.rms_norm import RMSNorm
from lit_retrieval.vocabulary import SPECIAL_WORDS, Vocabulary, read_word

_MOST_ROUNDS = 64  # steps that are run to find the bounds of the state


def compile_linear_rnn(model: ConstructedModel, vocabulary: Vocabulary) -> Circuit:
    """The circuit of a constructed model of linear units and ReGLUs, as Theorem 5.2's are, with integers as weights.

    Its words are those of the vocabulary, except words with a negative number. Raises `UserError` for other layers, and
    for a state without bounds, such as a sum over all words.
    """
    words = [word for word in vocabulary.words if read_word(word)[1] >= 0 and word not in SPECIAL_WORDS[:3]]
    num_bits = max(read_word(word)[1] for word in words).bit_length()
    bounds: dict[tuple[int, int], tuple[int, int]] = {}
    for _ in range(_MOST_ROUNDS):
        wiring = Wiring(num_bits)
        after = _run(wiring, model, bounds)
        wider = {key: (min(low, after[key].low), max(high, after[key].high)) for key, (low, high) in bounds.items()}
        if wider == bounds and after.keys() == bounds.keys():
            return wiring.circuit([], words, [])
        bounds = {key: wider.get(key, (min(0, one.low), max(0, one.high))) for key, one in after.items()}
    raise UserError("an RNN's state must have bounds to be compiled; this one has a sum over all words")


def _run(
    wiring: Wiring, model: ConstructedModel, bounds: dict[tuple[int, int], tuple[int, int]]
) -> dict[tuple[int, int], Number]:
    """Wire one step and its output; returns the new state, by layer and channel."""
    names = model.registers.names
    hidden = [constant(0)] * model.registers.width
    for channel, name in enumerate(names):
        if name == "one":
            hidden[channel] = constant(1)
        elif name == "number":
            hidden[channel] = wiring.number
        elif name.startswith("is ") and not name.endswith(" ago"):
            hidden[channel] = wiring.ask(name)
    states = {}
    for layer, mixer in enumerate(model.mixers):
        if isinstance(mixer, LinearRNN):
            before = [wiring.remember(*bounds.get((layer, channel), (0, 0))) for channel in range(len(hidden))]
            inputs = [*hidden, *before]
            out = [_form(wiring, row, inputs) for row in torch.cat([mixer.B.weight, mixer.A], 1)]
            for channel, (old, new) in enumerate(zip(before, out, strict=True)):
                states[layer, channel] = new
                if old.bits:
                    wiring.renew(old, new)
        elif isinstance(mixer, ReGLU):
            out = _feed_forward(wiring, mixer, hidden)
        else:
            raise UserError(f"an RNN to compile must have LinearRNN and ReGLU layers only, got {type(mixer).__name__}")
        hidden = [wiring.add(pair) for pair in zip(hidden, out, strict=True)]
    for channel, name in enumerate(names):
        if name.startswith("say "):
            wiring.say(name, hidden[channel])
    return states


def _feed_forward(wiring: Wiring, mixer: ReGLU, hidden: list[Number]) -> list[Number]:
    units = []
    for gate, up in zip(mixer.gate_proj.weight, mixer.up_proj.weight, strict=True):
        opened = wiring.relu(_form(wiring, gate, hidden))
        units.append(wiring.multiply(opened, _form(wiring, up, hidden)))
    return [_form(wiring, row, units) for row in mixer.down_proj.weight]


def _form(wiring: Wiring, weights: Tensor, numbers: Sequence[Number]) -> Number:
    """A weighted sum with integer weights."""
    assert bool((weights == weights.round()).all()), "weights are integers"
    return wiring.add(
        wiring.scale(number, int(weight)) for weight, number in zip(weights.tolist(), numbers, strict=True) if weight
    )


class RoundedGRU(NamedTuple):
    """A GRU in integers (`round_gru`): h is in units of 1 / S, weights are in units of 1 / W, S = 2^state_bits.

    r = S sigmoid((R h + a_r) / (S W)), z likewise, n = S tanh((r (N h + b) + S a_n) / (S S W)), and the new h is
    ((S - z) n + z h) / S, each rounded to the nearest integer, halves up; the words' constants a are `inputs`.

    Args:
        words: The words that it reads, including `<s>` and `?`.
        answers: The words that it writes.
        state_bits: log2(S).
        weight_scale: W.
        inputs: For each word, the constants of r, z and n for each element of the state, `(words, 3, state_dim)`.
        recurrent: The weights of r, z and n, `(3, state_dim, state_dim)`.
        bias: b, `(state_dim,)`.
        head: The weights of each answer's logit, `(answers, state_dim)`.
        logits: The constant of each logit after each word, `(words, answers)`.
    """

    words: list[str]
    answers: list[str]
    state_bits: int
    weight_scale: int
    inputs: list[list[list[int]]]
    recurrent: list[list[list[int]]]
    bias: list[int]
    head: list[list[int]]
    logits: list[list[int]]


@torch.no_grad()
def round_gru(
    model: SequenceModel, vocabulary: Vocabulary, reads: Sequence[str], answers: Sequence[str], state_bits: int,
    weight_scale: int,
) -> RoundedGRU:  # fmt: skip
    """Round a trained model of one GRU layer to integers.

    The embedding of a word, its norm and the products with it are constants of the word. The norm before the head is a
    positive factor, which does not change which logit is the largest.
    """
    mixer, norm, final_norm = cast(GRU, model.mixers[0]), cast(RMSNorm, model.norms[0]), cast(RMSNorm, model.final_norm)
    words = ["<s>", *reads, "?"]
    embedded = model.embedding.detach()[torch.from_numpy(vocabulary.encode(words)).long()]
    rnn, dim, unit = dict(mixer.rnn.named_parameters()), mixer.rnn.hidden_size, weight_scale * 2**state_bits
    # PyTorch adds a separate bias to N h, which r multiplies too.
    inner = rnn["bias_hh_l0"].clone()
    bias = inner[2 * dim :].clone()
    inner[2 * dim :] = 0
    inputs = norm(embedded) @ rnn["weight_ih_l0"].T + rnn["bias_ih_l0"] + inner
    head = model.embedding.detach()[torch.from_numpy(vocabulary.encode(answers)).long()] * final_norm.weight
    return RoundedGRU(
        words, list(answers), state_bits, weight_scale,
        _round(inputs.view(-1, 3, dim) * unit), _round(rnn["weight_hh_l0"].view(3, dim, dim) * weight_scale),
        _round(bias * unit), _round(head @ mixer.out_proj.weight * weight_scale), _round(embedded @ head.T * unit),
    )  # fmt: skip


def compile_gru(gru: RoundedGRU) -> Circuit:
    """The circuit of a GRU in integers; it writes the answer with the largest logit, the first of equal ones."""
    most_number = max(read_word(word)[1] for word in gru.words)
    wiring, scale = Wiring(most_number.bit_length()), 2**gru.state_bits
    flags = [_is_word(wiring, word, gru.words) for word in gru.words]
    before = [wiring.remember(-scale, scale) for _ in gru.bias]
    after = [_next(wiring, gru, element, flags, before) for element in range(len(before))]
    for pair in zip(before, after, strict=True):
        wiring.renew(*pair)
    logits = [
        wiring.add([_product(wiring, row, after), wiring.select(flags, constants)])
        for row, constants in zip(gru.head, zip(*gru.logits, strict=True), strict=True)
    ]
    for place, answer in enumerate(gru.answers):
        wins = ONE
        for other, logit in enumerate(logits):
            if other != place:
                lead = wiring.add([logits[place], wiring.scale(logit, -1)])
                wins = wiring.both(wins, wiring.at_least(lead, int(other < place)))
        wiring.say(f"say {answer}", Number(0, 1, (wins,)))
    return wiring.circuit([word for word in gru.words if word not in SPECIAL_WORDS], [], gru.answers)


def _next(wiring: Wiring, gru: RoundedGRU, element: int, flags: Sequence[int], before: Sequence[Number]) -> Number:
    """The next value of an element of the state."""
    scale, unit = 2**gru.state_bits, gru.weight_scale * 2**gru.state_bits
    of_word = [wiring.select(flags, [inputs[gate][element] for inputs in gru.inputs]) for gate in range(3)]
    reset, update, new = (_product(wiring, weights[element], before) for weights in gru.recurrent)
    reset, update = (
        wiring.look_up(wiring.add([one, word]), lambda x: nearest(scale / (1 + math.exp(-x / unit))))
        for one, word in ((reset, of_word[0]), (update, of_word[1]))
    )
    inner = wiring.multiply(reset, wiring.add([new, constant(gru.bias[element])]))
    new = wiring.look_up(
        wiring.add([inner, wiring.scale(of_word[2], scale)]), lambda x: nearest(scale * math.tanh(x / unit / scale))
    )
    rest = wiring.add([constant(scale), wiring.scale(update, -1)])
    mixed = wiring.add([wiring.multiply(rest, new), wiring.multiply(update, before[element]), constant(scale // 2)])
    return wiring.within(wiring.halve(mixed, gru.state_bits), -scale, scale)


def _product(wiring: Wiring, weights: Sequence[int], numbers: Sequence[Number]) -> Number:
    return wiring.add(wiring.scale(number, weight) for weight, number in zip(weights, numbers, strict=True))


def _is_word(wiring: Wiring, word: str, words: Sequence[str]) -> int:
    """The wire that is 1 for this word only."""
    kind, number = read_word(word)
    wire = wiring.ask(f"is {kind}").bits[0]
    if sum(read_word(other)[0] == kind for other in words) > 1:
        for place, bit in enumerate(wiring.number.bits):
            wire = wiring.both(wire, bit if number >> place & 1 else wiring.xor(ONE, bit))
    return wire


def nearest(value: float) -> int:
    """The nearest integer, halves up."""
    return math.floor(value + 0.5)


def _round(tensor: Tensor) -> Any:
    return tensor.round().long().tolist()
