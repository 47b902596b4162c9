"""Commands forked from a process that has imported everything."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from sweeps import commands

from lit_retrieval.errors import PREEMPTED

ROOT = Path(__file__).parents[2]
SWEEP = """
import signal, sys, time
from pathlib import Path
from sweeps.commands import start_warm

if __name__ == "__main__":
    run, log = Path(sys.argv[1]).absolute(), Path("log.txt").absolute()
    arguments = ["fit", "--config", "quickstart", "--run_dir", str(run), "--trainer.max_steps", "100000",
                 "--trainer.enable_progress_bar", "false"]
    fit = start_warm(arguments, ".", log, {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"})
    signal.signal(signal.SIGTERM, lambda *_: None)
    while not (run / "config.yaml").exists() and fit.poll() is None:
        time.sleep(0.1)
    time.sleep(1)
    print("running", flush=True)
    print(fit.wait(), flush=True)
"""


def test_a_forked_command_gets_its_settings_and_leaves_those_of_this_process(tmp_path):
    seen = {}
    with patch.object(commands, "get_context") as get_context, patch.dict(os.environ):
        get_context.return_value.Process.return_value.start = lambda: seen.update(os.environ)
        before = dict(os.environ)
        commands.start_warm(["fit"], str(tmp_path), tmp_path / "log.txt", {"NUMBA_NUM_THREADS": "7"})
        assert dict(os.environ) == before
    assert seen["NUMBA_NUM_THREADS"] == "7" and "tools" in seen["PYTHONPATH"]


@pytest.mark.slow
def test_a_signal_to_all_processes_lets_forked_commands_save(tmp_path):
    """As `timeout`, `scancel` and systemd send it: the process that forks commands must not end before them."""
    (tmp_path / "sweep.py").write_text(SWEEP)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tools'}"}
    sweep = subprocess.Popen(
        [sys.executable, "sweep.py", "run"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert sweep.stdout.readline() == "running\n", (tmp_path / "log.txt").read_text()
    os.killpg(sweep.pid, signal.SIGTERM)
    assert sweep.communicate(timeout=300)[0] == f"{PREEMPTED}\n"
    assert "stopped by SIGTERM" in (tmp_path / "log.txt").read_text()
