"""What a user may write for a mixer: a class in the working directory, attention on top, an fla that is not there."""

import re
import shlex
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_retrieval.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
QUICKSTART = ROOT / "configs/experiments/quickstart.yaml"
WITHOUT_FLA = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "fla":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocker())
from lit_retrieval.cli import main
main(sys.argv[1:])
"""


def readme_block(name):
    """The block of the README that begins with the name of its file, and the commands after it."""
    (block,) = re.findall(rf"```\w+\n(# {re.escape(name)}\n.*?)```", README, re.DOTALL)
    return block


def test_the_recurrence_of_the_readme_is_right_and_trains(tmp_path, warm):
    """The two files of its section in the current folder, and its two commands, the second with a few steps."""
    for name in ("ema.py", "ema.yaml"):
        (tmp_path / name).write_text(readme_block(name))
    commands = re.findall(r"^python -m (lit_retrieval.*) (ema\..*|.* ema\..*)$", README, re.MULTILINE)
    (check, fit) = [f"{module} {rest}".split() for module, rest in commands]
    few = [
        "--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--trainer.accelerator", "cpu",
        "--data.batch_size", "4", "--data.val_samples", "4", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    checking, fitting = warm.start(check[0], check[1:], tmp_path), warm.start(fit[0], [*fit[1:], *few], tmp_path)
    out, err = checking.communicate(timeout=300)
    assert checking.returncode == 0, out + err[-2000:]
    assert out.startswith("ema.EMA, hidden_size 64\n") and "130 tokens: 64, 64, 64, 64 elements" in out
    out, err = fitting.communicate(timeout=300)
    assert fitting.returncode == 0, err[-2000:]
    assert "validation after 3 steps" in out
    saved = next(tmp_path.rglob("runs/*/config.yaml")).read_text()
    assert "ema.EMA" in saved and "state_dim: 64" in saved


def test_the_layer_with_an_auxiliary_loss_is_right_and_its_run_logs_it(tmp_path, warm):
    page = (ROOT / "docs/howto/mixer.md").read_text()
    code, commands = re.search(r"```python\n(# two_decays.py\n.*?)```\n\n```bash\n(.*?)```", page, re.DOTALL).groups()
    (tmp_path / "two_decays.py").write_text(code)
    check, fit = (shlex.split(line)[2:] for line in commands.splitlines())
    few = [
        "--trainer.max_steps", "3", "--trainer.val_check_interval", "3", "--trainer.accelerator", "cpu",
        "--trainer.log_every_n_steps", "1", "--data.batch_size", "4", "--data.val_samples", "4", "--run_dir", "run",
        "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip
    checking, fitting = warm.start(check[0], check[1:], tmp_path), warm.start(fit[0], [*fit[1:], *few], tmp_path)
    out, err = checking.communicate(timeout=300)
    assert checking.returncode == 0 and "broken" not in out, out + err[-2000:]
    assert fitting.communicate(timeout=300) and fitting.returncode == 0
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    losses = [one.value for one in events.Scalars("train/auxiliary_loss")]
    assert len(losses) == 3 and all(0.009 < loss < 0.02 for loss in losses), losses
    assert not [tag for tag in events.Tags()["scalars"] if "auxiliary" in tag and not tag.startswith("train/")]


def test_one_line_puts_attention_on_top(capsys):
    page = (ROOT / "docs/howto/mixer.md").read_text()
    (line,) = [line for line in page.splitlines() if "--model.stages+" in line]
    top = line.split("'")[1]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(QUICKSTART), "--model.stages+", top, "--print_config"])
    assert stopped.value.code == 0
    stages = capsys.readouterr().out.split("stages:")[1].split("embedding:")[0]
    assert stages.index("mixers.Mamba") < stages.index("mixers.Attention") < stages.index("mixers.SwiGLU")
    assert stages.count("repeat:") == 2


def test_a_missing_fla_is_one_line_that_says_what_to_install(tmp_path, warm):
    (tmp_path / "without_fla.py").write_text(WITHOUT_FLA)
    model = str(ROOT / "configs/model/gla_0.5M.yaml")
    ran = warm.start("without_fla", ["fit", "--config", str(QUICKSTART), "--model", model], tmp_path)
    _, err = ran.communicate(timeout=300)
    assert ran.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "No module named 'fla'" in line and "pip install flash-linear-attention triton" in line
