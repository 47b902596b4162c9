"""`python -m lit_retrieval export`: a run as a folder that transformers loads, with the logits of the run."""

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pretrained_models import write_folder
from text_tokenizers import byte_level, save

import lit_retrieval
from lit_retrieval import export
from lit_retrieval.__main__ import run as run_command
from lit_retrieval.mixers import Attention, SwiGLU
from lit_retrieval.models import SequenceModel, Stage
from lit_retrieval.pretrained import Folder
from lit_retrieval.tokens import Tokens

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
SWIGLU = {"class_path": "lit_retrieval.mixers.SwiGLU", "init_args": {"intermediate_size": 24}}
HEADS = {"num_heads": 4, "num_kv_heads": 2}
WINDOW = {"class_path": "lit_retrieval.mixers.SlidingWindowAttention", "init_args": {"window": 6, **HEADS}}
ATTENTION = {"class_path": "lit_retrieval.mixers.Attention", "init_args": HEADS}
GLA = {"class_path": "fla.layers.GatedLinearAttention", "init_args": {"num_heads": 2}}
MAMBA = {"class_path": "lit_retrieval.mixers.Mamba"}


def of(*mixers, **others):
    """The options for a model of these layers."""
    keys = {"hidden_size": 16, "stages": json.dumps([{"mixers": mixers}]), **others}
    return [str(word) for key, value in keys.items() for word in (f"--model.{key}", value)]


def loaded_by(name, folder, **arguments):
    loader = {"class_path": f"lit_retrieval.pretrained.{name}", "init_args": {"folder": str(folder), **arguments}}
    return ["--model.pretrained", json.dumps(loader)]


@pytest.fixture
def exported(command, capsys):
    """Trains a model for two steps and exports it: the run, the exported model and what the command said."""

    def train_and_export(options):
        command("fit", *options, "--trainer.max_steps", "2", "--run_dir", "run")
        capsys.readouterr()
        export.main(["run", "--to", "models/mine", "--checkpoint", "last"])
        run = lit_retrieval.load("run", "last")
        return run, Folder(Path("models/mine")).load(vocab_size=len(run.task.vocabulary)), capsys.readouterr().out

    return train_and_export


MODELS = {
    "LlamaForCausalLM": of(ATTENTION, SWIGLU, norm_eps=1e-3, head="untied"),
    "MinistralForCausalLM": of(ATTENTION, SWIGLU, WINDOW, SWIGLU, embedding="learned"),
    "MambaForCausalLM": of(MAMBA, MAMBA),
    "GLAForCausalLM": of(GLA, SWIGLU, norm_eps=1e-5),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(one, marks=pytest.mark.slow) if one == "GLAForCausalLM" else one for one in MODELS]
)
@torch.no_grad()
def test_an_exported_run_has_its_logits_and_its_words(kind, exported):
    run, network, said = exported(MODELS[kind])
    tokens = torch.arange(2 * 13).view(2, 13) % len(run.task.vocabulary)
    expected = run.model(tokens)[0]
    torch.testing.assert_close(network.eval()(tokens)[0], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert type(network.model).__name__ == kind and f"wrote models/mine: {kind}, " in said
    assert ("import fla; " in said) == (kind == "GLAForCausalLM")


def test_words_are_tokens_of_the_exported_tokenizer(exported):
    from transformers import AutoTokenizer

    run, _, _ = exported([])
    tokenizer = AutoTokenizer.from_pretrained("models/mine")
    text = "<s> 1 ~ 2 2 ~ 3 ? <StartSearch>"
    ids = tokenizer(text).input_ids
    assert ids == run.task.vocabulary.encode(text.split()).tolist() and tokenizer.decode(ids) == text


@torch.no_grad()
def test_a_replaced_layer_is_trained_alone_and_goes_out_with_the_others(exported, tmp_path):
    folder = write_folder(tmp_path / "llama", "llama")
    window = {"class_path": WINDOW["class_path"], "init_args": {**HEADS, "window": 5}}
    run, network, _ = exported(loaded_by("Layers", folder, replace={1: window}, train="replaced"))
    assert isinstance(run.model, SequenceModel) and set(run.model.state_sizes(9)) == {
        "Attention",
        WINDOW["class_path"][21:],
    }
    held = {name for name in torch.load("run/checkpoints/step_2.ckpt")["state_dict"] if "scores" not in name}
    assert held == {"model.mixers.2.qkv_proj.weight", "model.mixers.2.out_proj.weight", "model.norms.2.weight"}
    before = Folder(folder).load(vocab_size=97).model.state_dict()
    after = network.model.state_dict()
    changed = {name for name, one in after.items() if not torch.equal(one, before[name][: len(one)])}
    assert {name.split(".")[2] for name in changed} == {"1"} and "model.layers.1.self_attn.q_proj.weight" in changed
    tokens = torch.arange(9)[None]
    torch.testing.assert_close(network.eval()(tokens)[0], run.model(tokens)[0], rtol=0, atol=1e-5)


@torch.no_grad()
def test_adapters_are_merged(exported, tmp_path):
    pytest.importorskip("peft")
    run, network, _ = exported(loaded_by("Folder", write_folder(tmp_path / "llama", "llama"), lora_rank=2))
    tokens = torch.arange(9)[None]
    torch.testing.assert_close(network.eval()(tokens)[0], run.model(tokens)[0], rtol=0, atol=1e-5)
    assert not any("lora" in name for name in network.state_dict())


def test_the_tokenizer_of_a_text_task_goes_along(tmp_path):
    folder = save(byte_level(["some text"], 300), tmp_path / "there")
    (folder / "generation_config.json").write_text('{"eos_token_id": 0}')
    (tmp_path / "here").mkdir()
    export._write_tokenizer(Tokens(folder), tmp_path / "here")
    assert Tokens(tmp_path / "here").ends == Tokens(folder).ends == {0}


def test_the_tokens_that_begin_and_end_a_text_go_along(tmp_path, monkeypatch):
    from transformers import AutoConfig, GenerationConfig

    tokens = Tokens(save(byte_level(["some text"], 300, first="<s>"), tmp_path / "there"))
    model = SequenceModel(len(tokens), 16, [Stage([Attention, partial(SwiGLU, intermediate_size=24)])])
    run = SimpleNamespace(model=model, task=SimpleNamespace(vocabulary=tokens))
    monkeypatch.setattr(export, "load", lambda *_: run)
    export.export("run", tmp_path / "here")
    for kind in (AutoConfig, GenerationConfig):
        found = kind.from_pretrained(tmp_path / "here")
        assert (found.bos_token_id, {found.eos_token_id}) == (tokens.prefix, tokens.ends)


def test_what_others_do_not_have_is_refused_and_leaves_nothing(command, capsys):
    command("fit", *of(MAMBA, ATTENTION), "--trainer.max_steps", "1", "--run_dir", "run")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        export.main(["run", "--to", "models/mine"])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: layer 0, Mamba, can't be exported; transformers and fla")
    assert not list(Path("models").iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no", "--to", "new"], "there is no run no; write the folder of one"),
        (["there", "--to", "there"], "there exists; name a new folder, or delete it"),
        (["there"], "required: to"),
    ],
)
def test_a_mistake_is_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    monkeypatch.setattr("sys.argv", ["lit_retrieval", "export", *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command()
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: ") and said in line
    assert [path.name for path in Path().iterdir()] == ["there"]
