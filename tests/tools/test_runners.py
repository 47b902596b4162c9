"""How trials are run: several at a time here, on Ray, or as jobs of SLURM."""

import os
import signal
import sys
import threading
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from sweeps import runners
from sweeps.grid import read_grid, trials
from tiny_sweep import write_grid

from lit_retrieval.errors import PREEMPTED, RunEndedError, UserError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("visible", [None, "4,6,7"])
def test_slots_share_the_gpus_of_a_machine(place, monkeypatch, visible):
    given = []
    monkeypatch.setattr(runners, "run_trial", lambda *arguments: given.append(arguments[-1]))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    waiting = [SimpleNamespace(gpus=gpus) for gpus in (0.5, 1.0, 2.0)]
    runners.run_here(waiting, read_grid(write_grid(place)), place, "abc", slots=1)
    first = {"CUDA_VISIBLE_DEVICES": "4" if visible else "0"}
    assert given == [first, first, {}], "which needs two"
    names = [one["CUDA_VISIBLE_DEVICES"] for one in runners._places(4)]
    assert names == (["4", "6", "7", "4"] if visible else ["0", "1", "2", "0"])


def test_slots_run_at_a_time_and_a_signal_stops_them_all(place, monkeypatch):
    barrier, begun = threading.Barrier(2), []

    def run_trial(trial, sweep, commit, retries, cpus, stopping, environment):
        assert environment == {}
        if stopping.is_set():
            return
        begun.append(trial.point)
        if barrier.wait(30) == 0:  # both run at the same time
            os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.wait(30)

    monkeypatch.setattr(runners, "run_trial", run_trial)
    with pytest.raises(RunEndedError, match="resumes") as stopped:
        waiting = [SimpleNamespace(point=point, gpus=1.0) for point in ("one", "two", "three")]
        runners.run_here(waiting, read_grid(write_grid(place)), place, "abc", slots=2)
    assert stopped.value.status == PREEMPTED and sorted(begun) == ["one", "two"]


def test_an_error_that_is_not_of_one_trial_stops_the_others(place, monkeypatch):
    begun = []

    def run_trial(trial, sweep, commit, retries, cpus, stopping, environment):
        begun.append(trial.point)
        if trial.point == "one":
            raise OSError("no space")
        assert stopping.wait(30)

    monkeypatch.setattr(runners, "run_trial", run_trial)
    waiting = [SimpleNamespace(point=point, gpus=1.0) for point in ("one", "two")]
    with pytest.raises(OSError, match="no space"):
        runners.run_here(waiting, read_grid(write_grid(place)), place, "abc", slots=2)
    assert sorted(begun) == ["one", "two"]


@pytest.mark.parametrize(("there", "asked"), [(2.0, [0.25, 1]), (None, [0, 0])])
def test_ray_gets_the_share_of_each_trial(place, monkeypatch, there, asked):
    """In place of Ray there is what `run_on_ray` calls of it."""
    path = write_grid(place, grid={"data.regime": ["cot", "retrieval"]}, gpus={"any": 0.25, "retrieval": 1}, cpus=2)
    grid = read_grid(path)
    found = trials(grid, place)
    tune, ray = MagicMock(PlacementGroupFactory=lambda bundles: bundles), MagicMock()
    ray.tune, ray.cluster_resources.return_value = tune, {"GPU": there}
    monkeypatch.setitem(sys.modules, "ray", ray)
    runners.run_on_ray(found, grid, place, "abc")
    resources = tune.with_resources.call_args.args[1]
    assert [resources({"place": place}) for place in range(2)] == [[{"CPU": 2, "GPU": share}] for share in asked]


def test_slurm_gets_an_array_for_each_number_of_gpus(place, monkeypatch):
    """In place of submitit there is what `run_on_slurm` calls of it."""
    path = write_grid(
        place, grid={"data.regime": ["cot", "vanilla", "retrieval"]}, gpus={"any": 0.25, "cot": 0, "retrieval": 2}
    )
    grid = read_grid(path)
    submitit = MagicMock()
    executor = submitit.AutoExecutor.return_value
    executor.cluster = "slurm"
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    for name in ("PYTHONPATH", "SUBMITIT_PREEMPT_SIGNAL"):  # which it changes
        monkeypatch.setenv(name, os.environ.get(name, "USR1"))
    runners.run_on_slurm(trials(grid, place), grid, place, "abc")
    assert [call.kwargs.get("gpus_per_node") for call in executor.update_parameters.call_args_list] == [None, 1, 2]
    asked = [call.args[1].configuration["data"]["regime"] for call in executor.submit.call_args_list]
    assert asked == ["cot", "vanilla", "retrieval"]


def test_a_trial_whose_job_slurm_still_has_is_waited_for_and_not_submitted_again(place, monkeypatch, capsys):
    """As after a sweep was stopped, also if the job was requeued since. `squeue` lists it twice, then no more."""
    grid = read_grid(write_grid(place, grid={"data.regime": ["cot", "vanilla", "retrieval"]}))
    found = trials(grid, place)
    submitit = MagicMock()
    executor = submitit.AutoExecutor.return_value
    executor.cluster = "slurm"
    executor.submit.side_effect = [SimpleNamespace(job_id=f"7_{place}", wait=lambda: None) for place in range(4)]
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    monkeypatch.setattr(runners, "_ASK_EVERY", 0.01)
    squeue = place / "squeue"
    squeue.write_text(f'#!/bin/sh\necho "$@" >> {place}/asked\n[ $(wc -l < {place}/asked) -gt 2 ] || echo 7_1 7_11\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    for name in ("PYTHONPATH", "SUBMITIT_PREEMPT_SIGNAL"):  # which it changes
        monkeypatch.setenv(name, os.environ.get(name, "USR1"))
    runners.run_on_slurm(found, grid, place, "abc")
    assert executor.submit.call_count == 3 and not (place / "asked").exists(), "no job is known"
    capsys.readouterr()
    runners.run_on_slurm(found[:2], grid, place, "abc")
    assert capsys.readouterr().out == f"not submitted again, as SLURM still has their jobs: {found[1].hash}\n"
    assert [call.args[1].hash for call in executor.submit.call_args_list[3:]] == [found[0].hash]
    assert len((place / "asked").read_text().splitlines()) == 3
    squeue.write_text("#!/bin/sh\necho slurm_load_jobs error: no controller >&2\nexit 1\n")
    with pytest.raises(UserError, match="squeue must say which jobs SLURM has, got slurm_load_jobs error: no contr"):
        runners.run_on_slurm(found, grid, place, "abc")


def test_jobs_that_slurm_does_not_take_are_one_line(place, monkeypatch):
    path = write_grid(place)
    submitit = MagicMock()
    submitit.core.utils.FailedJobError = FileNotFoundError
    said = "sbatch: error: DNS SRV lookup failed\nsbatch: fatal: no configuration\n"
    submitit.AutoExecutor.return_value.batch.side_effect = FileNotFoundError(said)
    monkeypatch.setitem(sys.modules, "submitit", submitit)
    for name in ("PYTHONPATH", "SUBMITIT_PREEMPT_SIGNAL"):  # which it changes
        monkeypatch.setenv(name, os.environ.get(name, "USR1"))
    grid = read_grid(path)
    with pytest.raises(UserError, match="SLURM takes no jobs: sbatch: fatal: no configuration; start on a machine"):
        runners.run_on_slurm(trials(grid, place), grid, place, "abc")


def test_a_job_that_slurm_stops_saves_its_trial_and_runs_it_again(monkeypatch):
    """SLURM's signal calls `checkpoint` while the job runs."""
    monkeypatch.setitem(sys.modules, "submitit.helpers", SimpleNamespace(DelayedSubmission=lambda *call: call))
    begun, stopped = threading.Event(), []

    def run_trial(trial, stopping):
        begun.set()
        assert stopping.wait(30)
        stopped.append(trial)

    monkeypatch.setattr(runners, "run_trial", run_trial)
    job = runners._Job()
    main_thread = threading.Thread(target=job, args=("a trial",))
    main_thread.start()
    assert begun.wait(30)
    again, *arguments = job.checkpoint("a trial")
    main_thread.join(30)
    assert stopped == ["a trial"] and isinstance(again, runners._Job) and arguments == ["a trial"]
