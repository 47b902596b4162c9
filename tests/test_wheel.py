"""The package as it is installed: a wheel, and a console script that needs no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("lit_retrieval", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
FEW_STEPS = [
    "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data.batch_size", "2",
    "--data.val_samples", "2", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
]  # fmt: skip


def run(command, folder, **environment):
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stdout[-1000:] + ran.stderr[-2000:]
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of a copy of the checkout: a build leaves files behind that the next one would pack."""
    copy = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        source = ROOT / name
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, copy / name, ignore=leave) if source.is_dir() else shutil.copy(source, copy)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", "dist", "."], copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


def test_a_wheel_has_every_configuration_and_nothing_beside_the_package(wheel):
    names = ZipFile(wheel).namelist()
    kept = {path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "own_task"}
    packed = {name for name in names if name.startswith("lit_retrieval/configs/")}
    assert packed == {f"lit_retrieval/{path.relative_to(ROOT)}" for path in kept} and packed
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lit_retrieval"}
    assert "lit_retrieval/py.typed" in names


def test_the_quickstart_runs_without_a_checkout(wheel, tmp_path):
    environment, here = tmp_path / "environment", tmp_path / "here"
    here.mkdir()
    venv.create(environment, symlinks=True)
    python = environment / "bin/python"
    run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)], here)
    scheme = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said = run([environment / "bin/lit-retrieval", "fit", "--config", "quickstart", *FEW_STEPS], here)
    assert "validation after 2 steps" in said and list(here.glob("runs/quickstart-*/checkpoints/best.ckpt"))
    told = run([python, "-c", "import lit_retrieval; print(lit_retrieval.__file__, lit_retrieval.__version__)"], here)
    assert told.startswith(str(site))
