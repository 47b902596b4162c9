"""What `--help` shows on a terminal of 80 columns."""

import re

import pytest

from lit_retrieval import __version__
from lit_retrieval.cli import main
from lit_retrieval.cli.help import COMMANDS, first_sentence


@pytest.fixture
def shown(monkeypatch, capsys):
    """The help that a command line prints."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        assert stopped.value.code == 0
        return capsys.readouterr().out

    return run


def test_the_version_is_that_of_the_package(shown):
    assert shown("--version").split()[-1] == __version__


@pytest.mark.parametrize("command", ["fit", "test"])
def test_our_keys_come_before_those_of_the_trainer(shown, command):
    text = shown(command, "--help")
    keys = re.findall(r"^  (?:-\w(?: \w+)?, )?--([\w.]+)", text, re.MULTILINE)  # from 3.13 on, -c alone
    some = ("model.hidden_size", "data.regime", "checkpoint.monitor", "trainer.accelerator")
    assert sorted(some, key=keys.index) == list(some)
    trainer = keys.index(some[-1])
    for ours in ("config", "seed_everything", "run_dir", "ckpt_path", "inspection.log_text_every"):
        assert keys.index(ours) < trainer
    assert all(key.startswith("trainer") for key in keys[trainer:])
    assert max(map(len, text.splitlines())) <= 80 and "<class" not in text


def test_a_checkpoint_has_its_main_keys_first_and_one_sentence_each(shown):
    text = shown("fit", "--help")
    part = text[text.index("--checkpoint CONFIG") : text.index("--last_checkpoint CONFIG")]
    keys = re.findall(r"^  --checkpoint\.(\w+)", part, re.MULTILINE)
    assert keys[:4] == ["monitor", "mode", "save_top_k", "filename"]
    helps = re.split(r"^  --checkpoint\.\w+(?: \S+)?\s", part, flags=re.MULTILINE)[1:]
    for key, one in zip(keys, helps, strict=True):
        said = " ".join(one.split()).partition(" (type:")[0]
        assert said.endswith(".") and len(said) < 150 and "::" not in said, key


def test_the_sentences_about_commands_are_whole(shown):
    text = " ".join(shown("--help").split())
    for command, about in COMMANDS.items():
        assert f"{command} {about}" in text and about.endswith(".")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--data.task.help", "IsTree"),
        ("--data.retriever.help", "lit_retrieval.retrieval.RegularExpressionRetriever"),
        ("--trainer.callbacks.help", "SolvedStopping"),
    ],
)
def test_the_help_of_a_class_names_the_program(shown, arguments):
    text = shown("fit", *arguments)
    assert text.startswith("usage: python -m lit_retrieval {fit,validate,test,predict} --config FILE")
    assert f"  --{arguments[0].removeprefix('--').removesuffix('.help')}." in text, "the keys of the class"


@pytest.mark.parametrize(
    ("docstring", "sentence"),
    [
        ("Folder of the\n    file. Example: ``x``.", "Folder of the file."),
        ("a name. May be ``None``", "a name."),
        ("Names such as e.g. a.b are kept. More.", "Names such as e.g. a.b are kept."),
        ("checkpoint filename. Can be:: # code", "checkpoint filename."),
        ("no stop", "no stop."),
        ("", ""),
    ],
)
def test_a_sentence_is_whole(docstring, sentence):
    assert first_sentence(docstring) == sentence
