"""The steps of AGENTS.md, followed: its files in the current folder, and its commands."""

import importlib
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from lit_retrieval.mixers.checks import check_mixer
from lit_retrieval.tasks import Regime
from lit_retrieval.tasks.checks import check_task

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "AGENTS.md").read_text()
FEW = [
    "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.accelerator", "cpu",
    "--data.batch_size", "2", "--data.val_samples", "2", "--trainer.enable_progress_bar", "false",
]  # fmt: skip
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SHOWN = {
    "tasks check-class": r"all \d+ rules that apply hold",
    "tasks show": r"<StartSearch> > l\d <EndSearch>",
    "mixers check": r"all \d+ rules that apply hold",
    "fit": "validation after 2 steps",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in re.findall(r"```(?:python|yaml)\n# (\w+\.(?:py|yaml))\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.slow  # kernels, and all rules of a mixer
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_does_what_the_page_says(line, folder, warm):
    python, module, name, *arguments = shlex.split(line)
    assert (python, module) == ("python", "-m")
    ran = warm.start(name, [*arguments, *(FEW if arguments[0] == "fit" else [])], folder)
    out, err = ran.communicate(timeout=600)
    assert ran.returncode == 0, out + err[-2000:]
    expected = next(shown for words, shown in SHOWN.items() if words in line)
    assert re.search(expected, out), out


@pytest.mark.parametrize("regime", get_args(Regime))
def test_the_task_of_the_page_keeps_the_rules_that_a_run_checks(regime, folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    check_task(importlib.import_module("lights").Lights(), regime, [4])


def test_the_mixer_of_the_page_keeps_the_rules_that_a_run_checks(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    check_mixer(importlib.import_module("decayed").DecayedMemory(64, 0, num_heads=2), 64)


def test_every_path_of_the_page_exists():
    paths = set(re.findall(r"`((?:lit_retrieval|tests|tools|configs|tasks)/[\w./]+)`", PAGE))
    missing = [
        path
        for path in paths
        if "NAME" not in path and not any((root / path).exists() for root in (ROOT, ROOT / "lit_retrieval"))
    ]
    assert paths and not missing
