"""Commands that the warm process starts: they can't tell it from an interpreter of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from warm import is_running

# Prints what a program can know about its process, and ends as it is told to.
SHOW = """
import json, os, signal, sys, threading, time

FACTS = [
    "sys.argv[1:]", "sys.path[:2]", "sys.stdin.read()", "sys.modules['__main__'].__spec__.name",
    "os.getcwd()", "dict(os.environ)", "os.getsid(0) == os.getpid()", "sorted(os.listdir('/proc/self/fd'))[:3]",
    "signal.getsignal(signal.SIGINT) is signal.default_int_handler", "signal.getsignal(signal.SIGCHLD).value",
    "threading.active_count()",
]
if __name__ == "__main__":
    print(json.dumps({fact: eval(fact) for fact in FACTS}))
    match sys.argv[1:]:
        case ["exit", status]:
            sys.exit(int(status))
        case ["raise"]:
            raise ValueError("an error")
        case ["wait"]:
            open("waiting", "w").close()
            time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "show.py").write_text(SHOW)
    return tmp_path


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
    reason="whoever started the tests ignores Ctrl-C; the warm process may have started with another handler",
)
@pytest.mark.parametrize("arguments", [[], ["exit", "75"], ["raise"]], ids=" ".join)
def test_a_command_sees_and_says_what_it_does_in_an_interpreter_of_its_own(warm, folder, arguments):
    environment = {**os.environ, "PYTHONPATH": str(folder.parent), "GREETING": "hello"}
    plain = subprocess.run(
        [sys.executable, "-m", "show", *arguments], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, start_new_session=True,
    )  # fmt: skip
    process = warm.start("show", arguments, folder, environment)
    out, err = process.communicate(timeout=60)
    assert json.loads(out) == json.loads(plain.stdout) and process.returncode == plain.returncode
    assert err.splitlines()[-1:] == plain.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_ends_a_command_and_is_its_status(warm, folder, number):
    if number == signal.SIGINT and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("whoever started the tests ignores Ctrl-C, and so do their children")
    process = warm.start("show", ["wait"], folder)
    while not Path(folder / "waiting").exists():
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == process.poll() == -number and not is_running(process.pid)
