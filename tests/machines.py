"""Two machines on one: network namespaces with a cable between them, for the slow tests of several machines."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

import pytest

INTERFACE = "eth0"


class Machine:
    """A network namespace with one network interface; its processes share everything else with this machine.

    Args:
        name: Name of the namespace.
        address: IP address of its interface.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    def command(self, *words: str | Path) -> list[str]:
        """A command as one that runs on this machine."""
        # `ip netns exec` would hide /sys/fs/cgroup.
        return ["nsenter", f"--net=/run/netns/{self.name}", *map(str, words)]

    def pids(self) -> list[int]:
        """The processes of this machine."""
        return [int(pid) for pid in _ip("netns", "pids", self.name).split()]

    def kill(self) -> None:
        """Kill all processes of this machine."""
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def unplug(self) -> None:
        """Cut the cable: nothing that is sent arrives, and nobody is told."""
        _ip("-n", self.name, "link", "set", INTERFACE, "down")


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Two machines with a cable between them; skips the test where namespaces can't be made."""
    if os.geteuid() != 0 or which("ip") is None:
        pytest.skip("network namespaces need root and the command ip (package iproute2)")
    pair = tuple(Machine(f"retrieval-{os.getpid()}-{number}", f"10.77.0.{number}") for number in (1, 2))
    try:
        for machine in pair:
            _ip("netns", "add", machine.name)
            _ip("-n", machine.name, "link", "set", "lo", "up")
        one, other = pair
        _ip("link", "add", INTERFACE, "netns", one.name, "type", "veth", "peer", "name", INTERFACE, "netns", other.name)
        for machine in pair:
            _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", INTERFACE)
            _ip("-n", machine.name, "link", "set", INTERFACE, "up")
        yield one, other
    finally:
        for machine in pair:
            if machine.name in _ip("netns", "list"):
                machine.kill()
                _ip("netns", "delete", machine.name)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout
