"""Sweeps in processes of their own: killed, crashed, on Ray and SLURM, and on two machines."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from machines import two_machines
from slurm import cluster
from sweeps import files
from tiny_sweep import ROOT, TINY, results, write_grid

from lit_retrieval.runs import RunFolder

pytestmark = pytest.mark.slow
CALLBACKS = """
from pathlib import Path
from lightning.pytorch import Callback

class Crashing(Callback):
    def on_train_batch_start(self, *arguments):
        raise RuntimeError("crashed on purpose")

class CrashingOnce(Callback):
    def on_train_batch_start(self, *arguments):
        if not Path("has_crashed").exists():
            Path("has_crashed").touch()
            raise RuntimeError("crashed on purpose, once")
"""
# While there is a file `slow`, the first start of a job takes longer than a time limit.
SLOW = """
import os, time
from pathlib import Path
from lightning.pytorch import Callback

class Slow(Callback):
    def on_train_batch_end(self, trainer, *arguments):
        if Path("slow").exists() and "SLURM_RESTART_COUNT" not in os.environ:
            time.sleep(5)
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crashing.py").write_text(CALLBACKS)
    return tmp_path


def start(*arguments):
    """Start tools/sweep.py in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{Path.cwd()}:{ROOT}"}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tools/sweep.py"), *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip


def run(*arguments, status=0):
    process = start(*arguments)
    out, err = process.communicate(timeout=500)
    assert process.returncode == status, out + err
    return out, err


def test_a_sweep_that_is_killed_goes_on_without_what_is_done(place):
    path = write_grid(place, grid={"data.regime": ["vanilla", "cot", "retrieval"]})
    killed = start(path, "--on", "here")
    deadline = time.monotonic() + 300
    while not results(place) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(3)  # into the second trial
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = {path: path.stat().st_mtime_ns for path in results(place)}
    assert 0 < len(done) < 3
    out, _ = run(path, "--on", "here", "--any_commit")
    assert f"3 trials, {len(done)} of them finished" in out
    assert len(results(place)) == 3 and done.items() <= {one: one.stat().st_mtime_ns for one in results(place)}.items()
    rows = (place / "sweeps/tiny/results.csv").read_text().splitlines()
    assert len(rows) == 4 and len({row.split(",")[0] for row in rows}) == 4
    assert "3 trials, 3 of them finished" in run(path, "--on", "here", "--any_commit")[0]


@pytest.mark.parametrize("on", ["here", "ray"])
def test_a_trial_that_crashes_is_retried_then_reported_and_the_others_finish(place, on):
    pytest.importorskip("ray" if on == "ray" else "lit_retrieval")
    crashing = {
        name: {"trainer.callbacks": [{"class_path": f"crashing.{name}"}]} for name in ("Crashing", "CrashingOnce")
    }
    path = write_grid(place, points={"Plain": {}, **crashing}, retries=1)
    _, err = run(path, "--on", on, status=1)
    notes = {one["point"]: one for one in map(files.read, (place / "sweeps/tiny").glob("trials/*/trial.json"))}
    assert {name: one["status"] for name, one in notes.items()} == {
        "Plain": "finished", "Crashing": "failed", "CrashingOnce": "finished",
    }  # fmt: skip
    assert {name: one["attempts"] for name, one in notes.items()} == {"Plain": 1, "Crashing": 2, "CrashingOnce": 2}
    (line,) = err.strip().splitlines()
    assert "Crashing" in line and "crashed 2 times" in line and "crashed on purpose" in line


def test_ray_runs_a_grid_that_is_killed_and_started_again(place):
    pytest.importorskip("ray")
    path = write_grid(place, grid={"data.regime": ["vanilla", "cot", "retrieval"]})
    killed = start(path)
    deadline = time.monotonic() + 300
    while not results(place) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    done = {path: path.stat().st_mtime_ns for path in results(place)}
    assert 0 < len(done) < 3
    run(path, "--any_commit")
    assert len(results(place)) == 3 and done.items() <= {one: one.stat().st_mtime_ns for one in results(place)}.items()


def test_submitit_runs_a_grid_where_there_is_no_slurm(place, monkeypatch):
    pytest.importorskip("submitit")
    folders = os.environ["PATH"].split(os.pathsep)
    monkeypatch.setenv("PATH", os.pathsep.join(one for one in folders if not (Path(one) / "srun").exists()))
    run(write_grid(place, grid={"data.regime": ["vanilla", "cot"]}), "--on", "slurm")
    assert len(results(place)) == 2


def fit_on(machine):
    """The folder of the run that is trained on a machine; None if there is none."""
    for pid in machine.pids():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if words[1:4] == ["-m", "lit_retrieval", "fit"]:
                return Path(words[words.index("--run_dir") + 1])
    return None


def test_a_sweep_on_two_machines_of_ray_loses_one_and_has_all_rows(place):
    """One core each, so each machine runs one of the three trials at a time."""
    pytest.importorskip("ray")
    (place / "slow.py").write_text(SLOW)
    (place / "slow").touch()
    path = write_grid(
        place, fixed={**TINY, "trainer.max_steps": 20, "trainer.callbacks": [{"class_path": "slow.Slow"}]},
        grid={"data.regime": ["vanilla", "cot", "retrieval"]},
    )  # fmt: skip
    with TemporaryDirectory(prefix="ray") as temporary, two_machines() as (one, other):
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        address = f"{one.address}:6379"
        # Ray asks for a token wherever a cluster has left one in the home folder.
        environment = {
            **os.environ,
            "PYTHONPATH": f"{place}:{ROOT}",
            "RAY_ADDRESS": address,
            "RAY_AUTH_MODE": "disabled",
        }
        commands = [
            one.command(*ray, "--head", f"--node-ip-address={one.address}", f"--temp-dir={temporary}"),
            other.command(*ray, f"--address={address}", f"--node-ip-address={other.address}"),
            one.command(sys.executable, ROOT / "tools/sweep.py", path, "--on", "ray"),
        ]
        *_, sweep = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for command in commands
        ]
        while (run := fit_on(other)) is None or not RunFolder(run).step_files():
            assert sweep.poll() is None, sweep.communicate()[0]
            time.sleep(0.2)
        other.kill()
        (place / "slow").unlink()
        said, _ = sweep.communicate(timeout=400)
        assert sweep.returncode == 0, said
    lost = files.read(run.parent / "result.json")
    assert lost["attempts"] == 2 and "resuming" in (run.parent / "log.txt").read_text()
    assert len((place / "sweeps/tiny/results.csv").read_text().splitlines()) == 4


def test_an_array_of_slurm_is_saved_before_its_time_limit_requeued_and_resumed(place):
    """Two trials on two nodes. The signal comes after three minutes or later, so a start has time to end."""
    pytest.importorskip("submitit")
    (place / "slow.py").write_text(SLOW)
    (place / "slow").touch()
    path = write_grid(
        place, fixed={**TINY, "trainer.max_steps": 100, "trainer.callbacks": [{"class_path": "slow.Slow"}]},
        grid={"data.regime": ["vanilla", "cot"]}, gpus=0, retries=0,
        slurm={"timeout_min": 4, "slurm_signal_delay_s": 30},
    )  # fmt: skip
    with two_machines() as pair, cluster(place / "slurm", pair) as slurm:
        slurm.run(sys.executable, ROOT / "tools/sweep.py", path, "--on", "slurm", PYTHONPATH=f"{place}:{ROOT}")
    assert len(results(place)) == 2
    for result in map(files.read, results(place)):
        log = (place / "sweeps/tiny/trials" / result["hash"] / "log.txt").read_text()
        assert result["attempts"] >= 2, log
        assert "stopped by SIG" in log and "resuming" in log and "step 100/100" in log
    assert len((place / "sweeps/tiny/results.csv").read_text().splitlines()) == 3
