"""Commands as processes of their own, without the seconds that a process needs to import torch and Lightning.

`WarmServer` starts this file as a program: a process that imports the package once and then forks a child for each
command. The child runs `python -m MODULE ARGUMENTS` as a fresh interpreter would: in a session of its own, with its own
folder, environment, output files and signal handlers. What it shares with its siblings is the hash seed, and what is
read from the environment when torch is imported (the number of threads).
"""

import array
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).parents[1]


class Request(NamedTuple):
    """What a child is to run."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


class WarmProcess:
    """A child of the server, with the part of `subprocess.Popen` that tests use.

    Args:
        connection: Sends the child's process id and, when it has ended, its status.
        out, err: What it prints on standard output and error.
    """

    def __init__(self, connection: socket.socket, out: IO[bytes], err: IO[bytes]) -> None:
        self._connection, self._out, self._err = connection, out, err
        self.returncode: int | None = None
        self.pid = self._receive()

    def poll(self) -> int | None:
        """The status, as `Popen.returncode`; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process, `timeout` seconds at most; returns its status."""
        if self.returncode is None:
            # A timeout of 0 would make the socket raise BlockingIOError in place of TimeoutError.
            self._connection.settimeout(None if timeout is None else max(timeout, 1e-4))
            try:
                self.returncode = self._receive()
            except TimeoutError:
                raise subprocess.TimeoutExpired("the command", timeout or 0) from None
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end of the process; returns what it printed on standard output and on standard error."""
        self.wait(timeout)
        return _read(self._out), _read(self._err)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        self.send_signal(signal.SIGKILL)

    def _receive(self) -> int:
        return array.array("i", self._connection.recv(4))[0]


class WarmServer:
    """Starts commands in children of one process that has imported the package."""

    def __init__(self) -> None:
        self._started: list[WarmProcess] = []
        self._folder = tempfile.TemporaryDirectory()
        self._address = str(Path(self._folder.name) / "socket")
        settings = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._address], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, **settings}, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n", "the server has not started"

    def start(
        self, module: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str] = os.environ
    ) -> WarmProcess:
        """Start `python -m module *arguments` in a folder."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(self._address)
        request = Request(module, list(arguments), str(folder), dict(environment))
        out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 (read when the process has ended)
        socket.send_fds(connection, [b"."], [out.fileno(), err.fileno()])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        self._started.append(WarmProcess(connection, out, err))
        return self._started[-1]

    def close(self) -> None:
        """Kill the commands that still run, and end the server."""
        for process in self._started:
            process.kill()
        self._process.communicate()
        self._folder.cleanup()


def children(process: WarmProcess | subprocess.Popen[str]) -> list[int]:
    """The ids of the processes that a process has started itself."""
    lists = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for one in lists for pid in one.read_text().split()]


def is_running(pid: int) -> bool:
    """Whether a process has not ended, whether or not its parent knows."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(address: str) -> Request:
    """Fork for each connection until standard input is closed; returns in each command's process, with its request."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return _fork_command(connection)
        connection.close()
        _reap(os.WNOHANG)
    _reap(0)
    sys.exit()


def _reap(options: int) -> None:
    """Wait for what has been forked, so that its processor time counts as the server's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options) != (0, 0):
            pass


def _fork_command(connection: socket.socket) -> Request:
    """Fork a command's process, in which this returns; the other one sends its id and its status, and ends."""
    _, files, _, _ = socket.recv_fds(connection, 1, 2)
    request = Request(*json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b""))))
    child = os.fork()
    if child == 0:
        connection.close()
        os.setsid()
        for descriptor, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
            os.dup2(file, descriptor)
            os.close(file)
        return request
    with contextlib.suppress(BrokenPipeError):  # nobody wants to know
        connection.sendall(array.array("i", [child]).tobytes())
        _, status = os.waitpid(child, 0)
        connection.sendall(array.array("i", [os.waitstatus_to_exitcode(status)]).tobytes())
    os._exit(0)


def _run(request: Request) -> None:
    """Do what `python -m` does, in a process that has imported the package already."""
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.path[0] = request.folder
    sys.path[1:1] = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.argv[1:] = request.arguments
    runpy.run_module(request.module, run_name="__main__", alter_sys=True)


def main() -> None:
    """Import what commands need, serve, and be the command in its process."""
    for module in ("lit_retrieval.cli", "torch.utils.tensorboard"):
        importlib.import_module(module)
    assert len(os.listdir("/proc/self/task")) == 1, "a process with several threads can't be forked safely"
    gc.freeze()
    _run(_serve(sys.argv[1]))


if __name__ == "__main__":
    main()
