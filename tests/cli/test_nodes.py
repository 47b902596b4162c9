"""What a run on several nodes says while they wait for each other."""

from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy
from torch import nn

from lit_retrieval.cli.switches import check_processes, check_strategy, meeting_place
from lit_retrieval.errors import UserError

BY_HAND = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
STARTED = {
    LightningEnvironment: {**BY_HAND, "NODE_RANK": "1", "LOCAL_RANK": "0"},
    TorchElasticEnvironment: {**BY_HAND, "LOCAL_RANK": "0"},
    SLURMEnvironment: {"MASTER_PORT": "29500", "SLURM_NODELIST": "10.0.0.[1-2]", "SLURM_LOCALID": "0"},
}


@pytest.mark.parametrize("kind", STARTED, ids=lambda kind: kind.__name__)
def test_the_first_process_of_each_node_says_where_it_waits(monkeypatch, kind):
    for name in ("MASTER_ADDR", "MASTER_PORT"):  # SLURM's sets them
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in STARTED[kind].items():
        monkeypatch.setenv(name, value)
    trainer = SimpleNamespace(num_nodes=2, strategy=SimpleNamespace(cluster_environment=kind()))
    expected = "waiting for the processes of 2 nodes at 10.0.0.1:29500 (MASTER_ADDR and MASTER_PORT)"
    assert meeting_place(trainer) == expected
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.setenv(name, "1")
    assert meeting_place(trainer) is None


def test_one_node_waits_for_none():
    assert meeting_place(SimpleNamespace(num_nodes=1, strategy=SimpleNamespace(cluster_environment=None))) is None


@pytest.mark.parametrize(("devices", "nodes"), [(2, 1), (4, 2)])
def test_processes_that_slurm_has_otherwise_are_one_line(monkeypatch, devices, nodes):
    job = {"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "train"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    launcher = SimpleNamespace(is_interactive_compatible=False)
    strategy = SimpleNamespace(launcher=launcher, cluster_environment=SLURMEnvironment())
    with pytest.raises(UserError, match=r"^trainer: You set .* configured in SLURM") as refused:
        check_processes(SimpleNamespace(accelerator=None, strategy=strategy, num_devices=devices, num_nodes=nodes))
    assert "\n" not in str(refused.value)


def test_forks_of_a_notebook_are_refused():
    strategy = SimpleNamespace(launcher=SimpleNamespace(is_interactive_compatible=True))
    with pytest.raises(UserError, match=r"trainer\.devices must be 1 in a notebook"):
        check_processes(SimpleNamespace(accelerator=None, strategy=strategy, num_devices=2, num_nodes=1))


def test_processes_of_torchrun_that_would_each_train_alone_are_refused(monkeypatch):
    trainer = SimpleNamespace(accelerator=None, strategy=SimpleNamespace(launcher=None), num_devices=1, num_nodes=1)
    monkeypatch.setenv("WORLD_SIZE", "4")  # of another launcher
    check_processes(trainer)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(UserError, match=r"torchrun has started 4 processes, and trainer\.devices is 1; add --trainer"):
        check_processes(trainer)


def test_tasks_of_srun_that_would_each_train_alone_are_refused(monkeypatch):
    trainer = SimpleNamespace(accelerator=None, strategy=SimpleNamespace(launcher=None), num_devices=1, num_nodes=1)
    monkeypatch.setenv("SLURM_NTASKS", "2")  # of a job whose script runs one process itself
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    check_processes(trainer)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    for name in ("bash", "interactive"):
        monkeypatch.setenv("SLURM_JOB_NAME", name)
        check_processes(trainer)
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    with pytest.raises(UserError, match=r"^srun has started 2 proc.*; add --trainer configs/trainer/slurm\.yaml"):
        check_processes(trainer)


def test_what_fsdp_would_do_otherwise_is_refused():
    check_strategy(DDPStrategy(), is_changed=True)
    check_strategy(FSDPStrategy(), is_changed=False)
    with pytest.raises(UserError, match=r"^FSDPStrategy reads a checkpoint from its file, so values of --prefer"):
        check_strategy(FSDPStrategy(), is_changed=True)
    for kind in ("HYBRID_SHARD", "NO_SHARD"):
        with pytest.raises(UserError, match=f"got sharding_strategy {kind}, with which the norm"):
            check_strategy(FSDPStrategy(sharding_strategy=kind, auto_wrap_policy={nn.Linear}), is_changed=False)
