"""The package as it is installed: a wheel, and a console script that needs no checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = (
    "lit_retrieval", "configs", "pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md",
    "CITATION.cff", "constraints.txt",
)  # fmt: skip
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
def source(tmp_path_factory):
    """A source distribution of a copy of the checkout: a build leaves files behind that the next one would pack."""
    copy = tmp_path_factory.mktemp("copy")
    for name in SOURCES:
        source = ROOT / name
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source, copy / name, ignore=leave) if source.is_dir() else shutil.copy(source, copy)
    run([sys.executable, "setup.py", "-q", "sdist"], copy)
    (built,) = (copy / "dist").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(source):
    """A wheel that is built from the source distribution."""
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", source], source.parent)
    (built,) = source.parent.glob("*.whl")
    return built


def test_a_source_distribution_has_what_a_wheel_is_built_from_and_no_tests(source):
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"CHANGELOG.md", "CITATION.cff", "LICENSE", "constraints.txt", "pyproject.toml", "setup.py"} <= names
    assert not any(name.startswith(("tests", "configs/own_task", "configs/compare")) for name in names)


def test_a_wheel_has_every_configuration_and_nothing_beside_the_package(wheel):
    names = ZipFile(wheel).namelist()
    kept = {path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in ("own_task", "compare")}
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


@pytest.mark.slow  # as above, and with a mixer that runs step by step
def test_a_mixer_of_ones_own_runs_without_a_checkout(environment, tmp_path):
    """README's recurrence, in the current folder."""
    blocks = re.findall(r"```(?:python|yaml)\n# (ema\.\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    assert {name for name, _ in blocks} == {"ema.py", "ema.yaml"}
    checked = run([environment / "bin/python", "-m", "lit_retrieval.mixers", "check", "ema.EMA"], tmp_path)
    assert re.search(r"all \d+ rules that apply hold", checked)
    command = [environment / "bin/lit-retrieval", "fit", "--config", "quickstart", "--model", "ema.yaml", *FEW_STEPS]
    assert "validation after 2 steps" in run(command, tmp_path)


def test_the_changelog_has_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    heads = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[:2] == ["Unreleased", version]
