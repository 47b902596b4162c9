"""`model.compile: blocks`: the same training as without, from the same checkpoints."""

import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import FSDPStrategy
from own_networks import Gru
from tiny_fit import fit

from lit_retrieval.cli import main
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import (
    GRU,
    LSTM,
    TTT,
    Attention,
    LinearRNN,
    Mamba,
    Parallel,
    SlidingWindowAttention,
    SwiGLU,
    Titans,
)
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.training import SequenceModule
from lit_retrieval.training.step_graph import StepGraphs

BLOCKS = partial(SequenceModule, compile="blocks")
compile_with = torch.compile


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that have been compiled; no code is generated for them."""
    made = []

    def compile_(function, **options):
        def backend(graph, inputs):
            made.append(graph)
            return graph.forward

        return compile_with(function, backend=backend, **options)

    torch.compiler.reset()
    monkeypatch.setattr("torch.compile", compile_)
    yield made
    torch.compiler.reset()


class Seen(Callback):
    """Keeps the lengths of the batches; takes steps whole, as CUDA graphs do, if asked to; saves after some steps."""

    def __init__(self, as_graphs=False, saves=None):
        self.as_graphs, self.saves, self.lengths = as_graphs, saves, set()

    def on_train_start(self, trainer, pl_module):
        if self.as_graphs:
            pl_module.graphs = StepGraphs(trainer, pl_module, lambda run: run)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.lengths.add(batch.tokens.shape[1])
        if self.saves is not None and trainer.global_step == 3:
            trainer.save_checkpoint(self.saves)


def weights(module):
    return torch.cat([one.detach().flatten() for one in module.parameters()])


def test_weights_are_those_without_and_no_length_is_compiled_again(tmp_path, graphs):
    seen = Seen()
    plain, _ = fit(tmp_path, module=SequenceModule, mixer=Attention, steps=6, batch_size=1)
    assert not graphs
    compiled, _ = fit(tmp_path, module=BLOCKS, mixer=Attention, steps=6, batch_size=1, callbacks=[seen])
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-4, atol=1e-6)  # sums in another order
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert len(graphs) == 1 and len(seen.lengths) > 1


def test_equal_blocks_share_their_code_and_only_training_runs_it(graphs):
    attention = partial(Attention, num_heads=2, num_kv_heads=1)
    stages = [Stage([attention, SwiGLU], 3), Stage([partial(SlidingWindowAttention, window=3)])]
    model = SequenceModel(5, 8, stages, embedding="learned")
    model.compile_blocks(torch.device("cpu"))
    tokens = torch.randint(5, (2, 7))
    with torch.no_grad():
        wanted, state = model(tokens)
    model(tokens[:, :1], state)[0].sum().backward()
    assert not graphs
    torch.testing.assert_close(model(tokens)[0], wanted, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 3, "attention, its window and SwiGLU"


def test_more_kinds_of_blocks_than_pytorch_expects_are_compiled(graphs):
    windows = [partial(SlidingWindowAttention, window=window) for window in range(2, 12)]
    model = SequenceModel(5, 8, [Stage([*windows, SwiGLU])], embedding="learned")
    model.compile_blocks(torch.device("cpu"))
    model(torch.randint(5, (2, 7)))[0].sum().backward()
    assert len(graphs) >= 11


def test_compiled_blocks_may_be_computed_again(tmp_path, graphs):
    plain, _ = fit(tmp_path, module=BLOCKS, mixer=Attention, steps=3)
    again, _ = fit(tmp_path, module=partial(BLOCKS, recompute="blocks"), mixer=Attention, steps=3)
    torch.testing.assert_close(weights(again), weights(plain), rtol=1e-4, atol=1e-6)
    assert graphs


@pytest.mark.slow
@pytest.mark.parametrize("as_graphs", [False, True], ids=["in steps", "as graphs"])
def test_a_resumed_run_repeats_the_bits(tmp_path, graphs, as_graphs):
    whole, _ = fit(
        tmp_path, module=BLOCKS, mixer=Attention, steps=6, callbacks=[Seen(as_graphs, tmp_path / "three.ckpt")]
    )
    resumed, trainer = fit(
        tmp_path, module=BLOCKS, mixer=Attention, steps=6, callbacks=[Seen(as_graphs)],
        ckpt_path=tmp_path / "three.ckpt",
    )  # fmt: skip
    assert graphs and trainer.global_step == 6 and torch.equal(weights(resumed), weights(whole))


def fla_layer(hidden_size, layer_idx):
    from fla.layers import LinearAttention

    return LinearAttention(hidden_size=hidden_size, num_heads=2, layer_idx=layer_idx)


REFUSED = {
    "fla's LinearAttention, whose kernels": fla_layer,
    "LSTM, which is one kernel": LSTM,
    "GRU, which is one kernel": partial(Parallel, mixers=[GRU, Attention]),
    "unroll the steps of Mamba on a CPU": Mamba,
    "unroll the steps of LinearRNN on a CPU": LinearRNN,
    "compile TTT again for each number of chunks": TTT,
    "compile Titans again for each number of chunks": Titans,
}


@pytest.mark.parametrize("said", REFUSED)
def test_a_mixer_that_cant_be_compiled_is_refused(said):
    model = SequenceModel(5, 8, [Stage([SwiGLU, REFUSED[said]])])
    with pytest.raises(UserError, match=rf"^model.compile .*{said}.*; leave out model.compile"):
        model.compile_blocks(torch.device("cpu"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"first_state": "same"}, "needs sequences that begin in zeros; leave out model.compile or model.first_state"),
        ({"network": Gru}, "is for the blocks of model.stages; leave out model.compile"),
    ],
    ids=str,
)
def test_what_has_no_blocks_to_compile_is_refused_before_the_first_step(tmp_path, options, said):
    with pytest.raises(UserError, match=f"^model.compile {said}$"):
        fit(tmp_path, module=partial(BLOCKS, **options), mixer=Attention, steps=1)


def test_sharded_weights_are_refused():
    module = BLOCKS(5, 8, [Stage([Attention])])
    module.trainer = SimpleNamespace(strategy=FSDPStrategy())
    with pytest.raises(UserError, match=r"^model.compile does not work with sharded weights; leave out model.compile"):
        module.on_fit_start()


class Reads(torch.nn.Module):
    """A mixer that looks at a number of its input, which no compiler sees before it runs."""

    def __init__(self, hidden_size, layer_idx):
        super().__init__()
        self.linear = torch.nn.Linear(hidden_size, hidden_size)

    def forward(self, x, state=None):
        return self.linear(x) if float(x.detach().sum()) > 0 else -self.linear(x), None

    def state_size(self, length):
        return 0


def test_a_mixer_of_your_own_that_cant_be_compiled_is_one_line(graphs):
    model = SequenceModel(5, 8, [Stage([Reads])])
    model.compile_blocks(torch.device("cpu"))
    with pytest.raises(UserError, match=r"^model.compile can't compile Reads: .+; leave out model.compile$"):
        model(torch.ones(1, 3, dtype=torch.int64))


ATTENTION = "[{mixers: [{class_path: lit_retrieval.mixers.Attention}, {class_path: lit_retrieval.mixers.SwiGLU}]}]"
RUN = [
    "--config", "quickstart", "--model.hidden_size", "8", "--model.stages", ATTENTION, "--model.compile", "blocks",
    "--data.batch_size", "4", "--data.val_samples", "4", "--data.test_samples", "4", "--trainer.max_steps", "2",
    "--trainer.accelerator", "cpu", "--trainer.val_check_interval", "2", "--inspection.log_images_every", "0",
    "--run_dir", "run",
]  # fmt: skip


def test_the_command_trains_with_compiled_blocks_and_scores_without(tmp_path, monkeypatch, graphs, capsys):
    monkeypatch.chdir(tmp_path)
    main(["fit", *RUN])
    assert len(graphs) == 2
    graphs.clear()
    main(["test", *RUN, "--ckpt_path", "best"])
    assert not graphs and (tmp_path / "run" / "scores.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("has_compiler", [True, False])
def test_the_command_with_a_compiler_and_without(tmp_path, warm, has_compiler):
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    process = warm.start("lit_retrieval", ["fit", *RUN], tmp_path, environment | ({} if has_compiler else {"PATH": ""}))
    _, errors = process.communicate(600)
    if has_compiler:
        assert process.returncode == 0, errors
    else:
        assert process.returncode == 2, errors
        assert errors.splitlines()[-1].startswith("error: model.compile can't compile Attention: ")
