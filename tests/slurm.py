"""A SLURM cluster of network namespaces, for slow tests."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest
from machines import Machine

_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """A running cluster.

    Args:
        environment: Environment variables, which name the cluster's configuration.
        controller: The machine from which jobs are submitted.
    """

    def __init__(self, environment: Mapping[str, str], controller: Machine) -> None:
        self.environment, self._controller = environment, controller

    def run(self, *words: str | Path, folder: Path | None = None, **variables: str) -> str:
        """Run a command, such as those of SLURM, in a folder; returns what it printed."""
        done = subprocess.run(
            self._controller.command(*words), env={**self.environment, **variables}, cwd=folder, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait(self, seconds: float) -> None:
        """Wait until no job is left."""
        deadline = time.monotonic() + seconds
        while jobs := self.run("squeue", "--noheader"):
            assert time.monotonic() < deadline, jobs
            time.sleep(1)


@contextmanager
def cluster(folder: Path, machines: Sequence[Machine]) -> Iterator[Cluster]:
    """Start SLURM on some machines, with its files in a new folder; skips the test where it is not installed."""
    if not all(map(which, ("munged", "slurmctld", "slurmd", "sbatch", "srun"))):
        pytest.skip("needs Debian's packages slurm-wlm and munge")
    names = [f"node{number}" for number in range(len(machines))]
    _write_files(folder, names, machines)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{name}" for name in ("key-file", "socket", "pid-file", "log-file", "seed-file")]
    commands = [
        ["munged", "--foreground", "--force", *munge],
        machines[0].command("slurmctld", "-D", "-i"),
        *(machine.command("slurmd", "-D", "-N", name) for name, machine in zip(names, machines, strict=True)),
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            processes.append(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            time.sleep(1)
        started = Cluster(environment, machines[0])
        while len(started.run("sinfo", "--noheader", "--Node", "--states=idle").splitlines()) < len(names):
            assert all(process.poll() is None for process in processes), f"SLURM has not started; see {folder}"
            time.sleep(1)
        yield started
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def _write_files(folder: Path, names: Sequence[str], machines: Sequence[Machine]) -> None:
    nodes = [
        f"NodeName={name} NodeAddr={machine.address} NodeHostname={name} CPUs=2 State=UNKNOWN"
        for name, machine in zip(names, machines, strict=True)
    ]
    for name in ("state", *(f"spool-{name}" for name in names)):
        (folder / name).mkdir(parents=True)
    host = f"{socket.gethostname()}({machines[0].address})"
    (folder / "slurm.conf").write_text(_CONFIGURATION.format(host=host, folder=folder, nodes="\n".join(nodes)))
    (folder / "munge.key-file").write_bytes(os.urandom(1024))
    (folder / "munge.key-file").chmod(0o400)
