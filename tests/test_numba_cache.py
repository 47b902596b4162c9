"""Where kernels are kept by a package that can't be written."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import pytest

from lit_retrieval.numba_cache import set_cache_folder

ROOT = Path(__file__).parents[1]
READ_ONLY = Path("/nowhere")  # no user, root neither, can write where nothing is
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.delenv("NUMBA_CACHE_DIR")


def chosen(package=READ_ONLY):
    set_cache_folder(package)
    assert os.environ.get("NUMBA_CACHE_DIR", "") == numba.config.CACHE_DIR
    return Path(numba.config.CACHE_DIR)


def test_a_package_that_can_be_written_keeps_its_own(tmp_path):
    assert chosen(tmp_path) == Path()


def test_a_folder_of_the_users_choice_stands(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "chosen")
    set_cache_folder(READ_ONLY)
    assert os.environ["NUMBA_CACHE_DIR"] == "chosen"


def test_the_home_folder_comes_first(tmp_path):
    assert chosen() == tmp_path / "home/lit_retrieval"
    assert chosen().stat().st_mode & 0o777 == 0o700


def test_without_a_home_folder_it_is_a_temporary_one(tmp_path):
    (tmp_path / "home").write_text("a file")
    assert chosen() == tmp_path / f"temporary/lit_retrieval-{os.getuid()}"


@pytest.mark.parametrize("theirs", ["writable", "link", "file"])
def test_a_folder_that_others_may_have_filled_is_not_used(theirs, tmp_path):
    (tmp_path / "home").write_text("a file")
    known = tmp_path / f"temporary/lit_retrieval-{os.getuid()}"
    if theirs == "writable":
        known.mkdir()
        known.chmod(0o777)
    elif theirs == "link":
        known.symlink_to(tmp_path)
    else:
        known.write_text("")
    assert chosen().parent == tmp_path / "temporary" and chosen() != known


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs root and setpriv")
def test_a_read_only_install_and_home_run(tmp_path):
    for name in ("lit_retrieval", "home"):
        (tmp_path / name).mkdir()
    shutil.copytree(ROOT / "lit_retrieval", tmp_path / "lit_retrieval", dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip
    subprocess.run(["chmod", "-R", "a-w", tmp_path / "lit_retrieval", tmp_path / "home"], check=True)
    kernel = "from lit_retrieval.tasks import Index; print('imported')"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path / "home"),
                   "TMPDIR": str(tmp_path / "temporary")}  # fmt: skip
    ran = subprocess.run([*WITHOUT_RIGHTS, sys.executable, "-c", kernel], cwd=tmp_path, env=environment,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.stdout == "imported\n", ran.stderr[-1000:]


KERNEL = """
import numba
from lit_retrieval.numba_cache import announce_compilation

announce_compilation()

@numba.njit(cache=True)
def thrice(x):
    return 3 * x

assert thrice(1.0) + thrice(1) == 6
"""


def test_compilation_is_announced_once_and_loading_is_not(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    runs = [
        subprocess.run([sys.executable, "kernel.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    assert [run.stderr.splitlines() for run in runs] == [["compiling kernels, once (about a minute)"], []]


WHOLE = """
import importlib, os, sys
from pathlib import Path

import lit_retrieval

def run():
    for name in ("first", "second", "third"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    from first import whole
    return whole(1.0)

def write(factor):
    Path("third.py").write_text(f"FACTOR = {factor}")

Path("first.py").write_text("from numba import njit\\nfrom second import half\\n\\n"
                            "@njit(cache=True)\\ndef whole(x):\\n    return 2 * half(x)\\n")
Path("second.py").write_text("from numba import njit\\nfrom third import (\\n    FACTOR,\\n)\\n\\n"
                             "@njit(cache=True)\\ndef half(x):\\n    return FACTOR * x\\n")
sys.dont_write_bytecode = True
for factor in (1, 1, 20, 1):
    write(factor)
    print(run(), len(list(Path().rglob("*.nbc"))))
"""


@pytest.mark.parametrize("folder", ["", "kernels"], ids=["beside the file", "in a folder of its own"])
def test_a_kernel_is_compiled_again_when_a_file_that_it_imports_from_has_changed(tmp_path, folder):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "NUMBA_CACHE_DIR": folder}
    ran = subprocess.run([sys.executable, "-c", WHOLE], cwd=tmp_path, env=environment, capture_output=True, text=True)
    values = [line.split()[0] for line in ran.stdout.splitlines()]
    assert values == ["2.0", "2.0", "40.0", "2.0"], ran.stderr[-500:]


def test_the_stamp_of_a_task_counts_what_it_is_made_of():
    from lit_retrieval.kernel_cache import _imported

    file = ROOT / "lit_retrieval/tasks/recall/index.py"
    found = {one.relative_to(ROOT / "lit_retrieval").as_posix() for one in _imported(file, 0)}
    assert {"tasks/writing.py", "tasks/queries.py", "vocabulary.py", "tasks/random.py"} <= found
