"""Theorem 4.8: a Transformer that writes the gates of an RNN, against an evaluator that shares no code with ours."""

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from lit_retrieval.circuits import Circuit, read_circuit
from lit_retrieval.constructions import Theorem48, Theorem52
from lit_retrieval.constructions.compile import RoundedGRU, compile_gru, compile_linear_rnn, round_gru
from lit_retrieval.constructions.linear_unit import remember
from lit_retrieval.constructions.model import ConstructedModel
from lit_retrieval.constructions.registers import Registers
from lit_retrieval.constructions.wiring import Wiring
from lit_retrieval.decoding import begin, generate
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import GRU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tasks import AssociativeRecall, CircuitRun, Counting, Index, NGramRetrieval
from lit_retrieval.tasks.task import Author
from lit_retrieval.vocabulary import Vocabulary

TABLES = {
    path.stem: yaml.safe_load(path.read_text()) for path in (Path(__file__).parents[2] / "configs/circuits").iterdir()
}
PARITY, TRAINED = TABLES["parity"], TABLES["gru_parity"]


def split(word):
    """The kind of a word and its number."""
    digits = len(word) - len(word.rstrip("0123456789"))
    kind = word[: len(word) - digits]
    return (kind, int(word[len(word) - digits :])) if digits and kind.isalpha() else (word, 0)


def evaluate(table, text):
    """A function of a gate's name and the index of a word in the text, which may grow: the gate's value."""

    @cache
    def value(name, at):
        if at < 0:
            return 0
        kind, *parts = table["gates"][name].split()
        if kind == "state":
            return value(parts[0], at - 1)
        if kind == "input":
            read, number = split(text[at])
            return number // 2 ** int(parts[1]) % 2 if parts[0] == "number" else int(read == parts[1])
        return {"one": lambda: 1, "and": all, "xor": lambda two: sum(two) == 1}[kind](
            *([[value(part, at) for part in parts]] if parts else [])
        )

    return value


def answer_word(table, value, at):
    """What the step at a word says."""
    said = {}
    for place, gate in table["says"].items():
        name, bit = [*place.split(), "0"][:2]
        said[name] = said.get(name, 0) + value(gate, at) * 2 ** int(bit)
    number = said.pop("number", 0)
    (kind,) = [kind for kind, is_said in said.items() if is_said]
    return f"{kind}{number}" if f"{kind}{number}" in [*table["writes"], *table["answers"]] else kind


def transcript(table, problem, most=8):
    """The words of a run from the prompt to the answer, or to `most` words of the RNN's own."""
    text = ["<s>", *problem, "?"]
    words, prompt, value = list(text), len(text), evaluate(table, text)
    for at in range(prompt + most - 1):
        words += [f"g{int(value(name, at))}" for name in table["gates"]]
        if at >= prompt - 1:
            text.append(answer_word(table, value, at))
        words.append(text[at + 1])
        if text[-1] in table["answers"] and at >= prompt - 1:
            break
    return words


def model_of(table, vocabulary=None, precision="float64"):
    task = None if vocabulary else CircuitRun(read_circuit(table))
    return Theorem48(read_circuit(table), precision).write(vocabulary or task.vocabulary), task


def assert_writes(model, vocabulary, words):
    """Every word behind the `?` is by far the likeliest after those before it: greedy decoding writes them."""
    tokens = torch.from_numpy(vocabulary.encode(words)).long()
    first = words.index("?")
    with torch.no_grad():
        logits = model(tokens[None])[0][0, first:-1]
    best = logits.topk(2).values
    assert logits.argmax(-1).tolist() == tokens[first + 1 :].tolist()
    # Numbers i and i + 1 differ by 1, kinds by more.
    assert float((best[:, 0] - best[:, 1]).min()) > 0.99


def decoded(model, task, problems):
    """What the model writes, words of whole transcripts."""
    prompts = [[task.vocabulary.encode(["<s>", *problem, "?"])] for problem in problems]
    longest = max(task.longest_reply(len(problem), "cot") for problem in problems)
    asked = begin(prompts, task, RegularExpressionRetriever(), longest)
    return [task.vocabulary.decode(reply.tokens) for reply in generate(model, asked)]


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_prompt_of_up_to_four_words_is_answered_word_for_word(precision):
    model, task = model_of(PARITY, precision=precision)
    problems = [problem for size in range(5) for problem in product(["x0", "x1"], repeat=size)]
    texts = [transcript(PARITY, problem) for problem in problems]
    assert decoded(model, task, problems) == texts
    for problem, text in zip(problems, texts, strict=True):
        odd = problem.count("x1") % 2
        assert text[-1] == ("YES" if odd else "NO") and f"q{odd}" in text, "the circuit is right"
        assert len(text) - len(problem) - 2 == (len(PARITY["gates"]) + 1) * (len(problem) + 3), "(C + 1) T tokens"


@pytest.mark.parametrize(
    ("size", "precision"),
    [(16, "float64"), (64, "float64"), (64, "float32"), pytest.param(512, "float64", marks=pytest.mark.slow)],
)
def test_longer_prompts_are_answered_word_for_word(size, precision):
    model, task = model_of(PARITY, precision=precision)
    transcripts = task.sample(3, np.arange(2), np.full(2, size), "cot")
    for row in range(2):
        words = task.vocabulary.decode(transcripts.tokens[row, : transcripts.length[row]])
        assert words == transcript(PARITY, words[1 : words.index("?")])
        assert_writes(model, task.vocabulary, words)


def random_table(seed, count, bits):
    """A table of so many random gates, that says words of two kinds with random numbers, or an answer."""
    rng = np.random.default_rng(seed)
    gates = {f"bit{bit}": f"input number {bit}" for bit in reversed(range(bits))}
    gates |= {"one": "one", "q": "input is q", "start": "input is <s>", "asked": "input is ?"}
    for place in range(count):
        before = list(gates)
        kind = rng.choice(["and", "xor", "xor", "state"])
        past = [f"gate{rng.integers(count)}"] if kind == "state" else rng.choice(before[-12:], 2).tolist()
        gates[f"gate{place}"] = " ".join([kind, *past])
    first, second, third = rng.choice([f"gate{place}" for place in range(count)], 3)
    gates |= {"not1": f"xor one {first}", "not2": f"xor one {second}", "p": f"and {first} not2",
              "end": f"and {first} {second}", "yes": f"and end {third}", "not3": f"xor one {third}",
              "no": "and end not3"}  # fmt: skip
    numbers = {f"number {bit}": f"gate{rng.integers(count)}" for bit in range(bits)}
    numbered = [f"{kind}{number}" for kind in "qp" for number in range(2**bits)]
    return {
        "reads": [f"x{number}" for number in range(2**bits)], "writes": numbered, "answers": ["NO", "YES"],
        "gates": gates, "says": {"q": "not1", "p": "p", "YES": "yes", "NO": "no", **numbers},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("count", "bits", "seeds"),
    [(3, 1, 8), (30, 2, 8), (120, 5, 3), pytest.param(400, 8, 4, marks=pytest.mark.slow)],
)
def test_random_circuits_are_run_gate_by_gate(count, bits, seeds):
    lengths = set()
    for seed in range(seeds):
        table = random_table(seed, count, bits)
        model, task = model_of(table)
        for problem in ([], [f"x{2**bits - 1}"], [f"x{(5 * place + seed) % 2**bits}" for place in range(5)]):
            words = transcript(table, problem)
            assert_writes(model, task.vocabulary, words)
            lengths.add(len(words))
    assert len(lengths) >= 3


def counter(bits):
    """The circuit that counts x1 modulo 2^bits, and says the count after the `?`."""
    wiring = Wiring(bits)
    before = wiring.remember(0, 2**bits - 1)
    is_one = wiring.both(wiring.ask("is x").bits[0], wiring.number.bits[0])
    after = wiring.add([before, wiring.where(is_one, wiring.number)])
    after = wiring.within(after, 0, 2**bits - 1)
    wiring.renew(before, after)
    wiring.say("say number", after)
    wiring.say("say c", wiring.ask("is ?"))
    return wiring.circuit(["x0", "x1"], [], [f"c{number}" for number in range(2**bits)]).to_table()


def test_layers_and_width_are_constant_and_parameters_linear_in_the_circuit():
    tables = [PARITY, TRAINED, *(counter(bits) for bits in (1, 2, 4, 8, 10))]
    models = [model_of(table)[0] for table in tables]
    assert {len(model.mixers) for model in models} == {6}
    counters = models[2:]
    assert len({model.registers.width for model in counters}) == 1
    assert max(model.registers.width for model in models) < 70
    for table, model in zip(tables, models, strict=True):
        gates, outputs, width = len(table["gates"]), len(table["says"]), model.registers.width
        # Three hidden units for each gate, three for each bit of a sum; the rest does not depend on the circuit.
        hidden = model.mixers[2].gate_proj.out_features
        bits = sum(gate.startswith("input number") for gate in table["gates"].values())
        assert hidden == 3 * (gates + 1 + bits + outputs) + 8
        rest = model.num_parameters - hidden * (3 * width + 2)
        assert rest < 11 * width**2 + 150 * width


def test_numbers_in_the_model_have_logarithmically_many_bits():
    """Precision O(log n): the largest register is at most a square of a position, or the limit of one."""
    table = counter(4)
    model, task = model_of(table)
    for size in (4, 64):
        words = transcript(table, ["x1"] * size)
        tokens = torch.from_numpy(task.vocabulary.encode(words)).long()
        hidden = model.embedding[tokens][None]
        hidden[..., model.registers["position"]] = torch.arange(len(words)).double()
        hidden, _ = model.mix(hidden, None)
        largest = hidden.abs().max()
        assert largest <= max(2.0**21, len(words) ** 2)
        assert bool((hidden[..., model.registers["say number"]].round(decimals=9) % 1 == 0).all())


def step_gru(gru, word, state):
    """A GRU in integers, in NumPy, from the equations in the docstring of `RoundedGRU`."""
    scale, unit = 2**gru.state_bits, 2**gru.state_bits * gru.weight_scale
    constants, (reset, update, new) = np.array(gru.inputs[gru.words.index(word)]), np.array(gru.recurrent)
    r = np.floor(scale / (1 + np.exp(-(reset @ state + constants[0]) / unit)) + 0.5)
    z = np.floor(scale / (1 + np.exp(-(update @ state + constants[1]) / unit)) + 0.5)
    n = np.floor(
        scale * np.tanh((r * (new @ state + np.array(gru.bias)) + scale * constants[2]) / (scale * unit)) + 0.5
    )
    state = np.floor(((scale - z) * n + z * state) / scale + 0.5)
    logits = np.array(gru.head) @ state + np.array(gru.logits[gru.words.index(word)])
    return state, gru.answers[int(logits.argmax())]


def random_gru(seed, dim, state_bits, weight_scale, num_words=3, num_answers=3):
    rng = np.random.default_rng(seed)
    unit = weight_scale * 2**state_bits
    words = ["<s>", *(f"x{number}" for number in range(num_words)), "?"]

    def draw(most, *shape):
        return rng.integers(-most, most + 1, shape).tolist()

    return RoundedGRU(
        words, ["NO", "MAYBE", "YES"][:num_answers], state_bits, weight_scale,
        draw(2 * unit, len(words), 3, dim), draw(3 * weight_scale, 3, dim, dim), draw(unit, dim),
        draw(3 * weight_scale, num_answers, dim), draw(unit, len(words), num_answers),
    )  # fmt: skip


@pytest.mark.parametrize(("dim", "state_bits", "weight_scale"), [(1, 1, 1), (1, 3, 4), (2, 2, 2), (3, 1, 3), (2, 0, 1)])
def test_the_circuit_of_a_gru_says_what_the_gru_says(dim, state_bits, weight_scale):
    said = set()
    for seed in range(3):
        gru = random_gru(seed, dim, state_bits, weight_scale)
        circuit, rng = compile_gru(gru), np.random.default_rng(seed)
        state, values = np.zeros(dim), []
        for word in ["<s>", *rng.choice(circuit.reads, 12).tolist(), "?"]:
            state, answer = step_gru(gru, word, state)
            values = circuit.step(word, values)
            assert circuit.say(values) == answer
            said.add(answer)
    assert len(said) > 1


def test_a_trained_gru_is_run_gate_by_gate():
    model, task = model_of(TRAINED)
    for problem in (["x1"], ["x0", "x1", "x1"]):
        words = transcript(TRAINED, problem)
        assert words[-1] == f"={problem.count('x1') % 2}"
        assert_writes(model, task.vocabulary, words)


@pytest.mark.parametrize("longest", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_the_trained_gru_is_right(longest):
    circuit = Circuit.from_table(read_circuit(TRAINED))
    for size in range(1, longest + 1):
        for problem in product(["x0", "x1"], repeat=size):
            assert list(circuit.run(["<s>", *problem, "?"], 1))[-1][1] == f"={problem.count('x1') % 2}"


@pytest.mark.slow
@pytest.mark.parametrize("size", [8, 16])
def test_a_trained_gru_is_run_on_longer_prompts(size):
    model, task = model_of(TRAINED)
    problem = ["x1", "x0", "x1", "x1"] * (size // 4)
    (words,) = decoded(model, task, [problem])
    assert words == transcript(TRAINED, problem)


def test_a_finely_rounded_gru_says_what_the_model_says():
    torch.manual_seed(0)
    vocabulary = Vocabulary(["x0", "x1", "NO", "YES"])
    model = SequenceModel(len(vocabulary), 6, [Stage([lambda **kw: GRU(**kw, state_dim=2)])], "learned")
    with torch.no_grad():
        model.norms[0].weight.mul_(torch.linspace(0.5, 2.0, 6))
        model.final_norm.weight.mul_(torch.linspace(2.0, 0.5, 6))
        for parameter in model.mixers.parameters():
            parameter.mul_(2)
    gru = round_gru(model, vocabulary, ["x0", "x1"], ["NO", "YES"], 12, 2**12)
    state, words = np.zeros(2), ["<s>", *np.random.default_rng(0).choice(["x0", "x1"], 40).tolist(), "?"]
    logits, _ = model(torch.from_numpy(vocabulary.encode(words)).long()[None])
    answers = vocabulary.encode(["NO", "YES"])
    said = [gru.answers[place] for place in logits[0][:, answers].argmax(-1).tolist()]
    for word, expected in zip(words, said, strict=True):
        state, answer = step_gru(gru, word, state)
        assert answer == expected
    assert len(set(said)) == 2


PROBLEMS = {
    "index": lambda size: Index(max_size=size, num_words=size, query_form="full"),
    "associative_recall": lambda size: AssociativeRecall(num_keys=size, num_values=size, query_form="full"),
    "ngram_retrieval": lambda size: NGramRetrieval(max_size=size, num_words=size, query_form="full"),
    "counting": lambda size: Counting(max_size=size, num_words=size, query_form="full"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("size", [7, pytest.param(63, marks=pytest.mark.slow)])
def test_the_linear_rnn_of_theorem_5_2_is_run_gate_by_gate(problem, size):
    """On whole transcripts with their searches: the same words after each, but where the retriever writes."""
    task = PROBLEMS[problem](size)
    rnn = Theorem52(problem).write(task.vocabulary)
    circuit = compile_linear_rnn(rnn, task.vocabulary)
    vocabulary = Vocabulary([*task.vocabulary.words[10:], "g0", "g1"])
    model, _ = model_of(circuit.to_table(), vocabulary)
    transcripts = task.sample(1, np.arange(3), np.full(3, 6), "retrieval")
    for row in range(3):
        tokens = transcripts.tokens[row, : transcripts.length[row]]
        text, prompt = task.vocabulary.decode(tokens), int(transcripts.prompt_length[row])
        said = task.vocabulary.decode(rnn(torch.from_numpy(tokens).long()[None])[0][0].argmax(-1).tolist())
        assert said[-2] == text[-1], "the RNN is right"
        words, values = [], []
        for at, word in enumerate(text[:-1]):
            values = circuit.step(word, values)
            assert_word = transcripts.author[row, at + 1] == Author.MODEL and at >= prompt - 1
            assert not assert_word or circuit.say(values) == said[at]
            words += [*(f"g{value}" for value in values), text[at + 1]]
        # The whole text up to the answer is the prompt of the Transformer, which it reads on, up to the answer.
        assert_writes_after(model, vocabulary, text[:-1], words)


def assert_writes_after(model, vocabulary, prompt, words):
    """As `assert_writes`, for a prompt that does not end with a `?`."""
    tokens = torch.from_numpy(vocabulary.encode([*prompt, *words])).long()
    with torch.no_grad():
        logits = model(tokens[None])[0][0, len(prompt) - 1 : -1]
    assert vocabulary.decode(logits.argmax(-1).tolist()) == words
    best = logits.topk(2).values
    assert float((best[:, 0] - best[:, 1]).min()) > 0.99


def test_the_circuit_of_theorem_5_2_grows_with_the_logarithm_of_n():
    counts = []
    for size in (15, 255, 4095):
        task = PROBLEMS["index"](size)
        counts.append(len(compile_linear_rnn(Theorem52("index").write(task.vocabulary), task.vocabulary).gates))
    assert counts[2] - counts[1] == counts[1] - counts[0] < 60


def test_a_sum_over_all_words_has_no_circuit():
    registers = Registers(["sum of one", "say YES"])
    model = ConstructedModel(Vocabulary(["YES"]), registers, [remember(registers, [], 0, sums=["one"])])
    with pytest.raises(UserError, match="state must have bounds"):
        compile_linear_rnn(model, Vocabulary(["YES"]))


def test_the_sample_in_the_docstring_is_right():
    table = {
        "reads": ["x0", "x1"], "writes": [], "answers": ["NO", "YES"],
        "gates": {"n": "input number 0", "b": "state p", "p": "xor b n", "one": "one", "e": "xor p one"},
        "says": {"YES": "p", "NO": "e"},
    }  # fmt: skip
    task, shown = CircuitRun(read_circuit(table)), " ".join((CircuitRun.__doc__ or "").split())
    (prompt, vanilla), (_, cot) = (task.write_turns(["x1", "x0"], regime)[0] for regime in ("vanilla", "cot"))
    assert f"prompt: {prompt} vanilla: {vanilla} cot: {cot} The" in shown
    assert f"{prompt} {cot}".split() == transcript(table, ["x1", "x0"])


GOOD = {"reads": ["x0", "x1"], "writes": [], "answers": ["YES"], "gates": {"a": "input number 0"}, "says": {"YES": "a"}}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gates": {"a": "or a b"}}, "gate a must be one, .*, got 'or a b'"),
        ({"gates": {"a": "and a a"}}, "two gates before it"),
        ({"gates": {"a": "state b"}}, "gate a must be"),
        ({"gates": {"a": "input number 1"}}, r"from the highest to 0, got \[1\]"),
        ({"gates": {"a": "input number 0", "b": "input number 1"}}, r"got \[0, 1\]"),
        ({"reads": ["x0", "x2"]}, "the number in x2 must have 1 bits"),
        ({"reads": ["g0", "x1"]}, "words such as g0 are the gates; rename it"),
        ({"says": {"YES": "b"}}, "says must have a gate for a kind of words.*got YES: b"),
        ({"says": None}, "a circuit's table must be like"),
    ],
)
def test_a_table_that_is_no_circuit_is_refused(changed, message):
    assert Circuit.from_table(read_circuit(GOOD)).words == ["x0", "x1", "YES"]
    with pytest.raises(UserError, match=message):
        Circuit.from_table(read_circuit({**GOOD, **changed}))


def test_an_rnn_that_says_no_word_or_does_not_answer_is_refused():
    silent = read_circuit(GOOD)
    with pytest.raises(UserError, match="a step must say one word of writes and answers"):
        CircuitRun(silent).sample(0, np.arange(1), np.array([1]), "cot")
    endless = {**GOOD, "writes": ["q0"], "gates": {"a": "one"}, "says": {"q": "a"}}
    with pytest.raises(UserError, match=r"no answer to .* after max_steps=3; raise max_steps"):
        CircuitRun(read_circuit(endless), 3).sample(0, np.arange(1), np.array([1]), "cot")
