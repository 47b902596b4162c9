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


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A fresh environment with the wheel, whose dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    run([sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "-q", "--no-deps", wheel], folder)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_quickstart_is_read_without_a_checkout(environment, tmp_path):
    said = run([environment / "bin/lit-retrieval", "fit", "--config", "quickstart", "--print_config"], tmp_path)
    assert "class_path: lit_retrieval.tasks.IsTree" in said
    asked = "import lit_retrieval; print(lit_retrieval.__file__, lit_retrieval.__version__)"
    assert run([environment / "bin/python", "-c", asked], tmp_path).startswith(str(environment))


@pytest.mark.slow  # a package that was just installed compiles its kernels
def test_the_quickstart_runs_without_a_checkout(environment, tmp_path):
    said = run([environment / "bin/lit-retrieval", "fit", "--config", "quickstart", *FEW_STEPS], tmp_path)
    assert "validation after 2 steps" in said and list(tmp_path.glob("runs/quickstart-*/checkpoints/best.ckpt"))
