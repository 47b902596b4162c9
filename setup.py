"""What pyproject.toml can't say: a wheel has the folder `configs` inside the package."""

from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies `configs` into `lit_retrieval`, but for own_task and compare, which are used from a checkout."""

    def run(self) -> None:
        """Build the package; an editable install finds the checkout's own folder."""
        super().run()
        if not self.editable_mode:
            copytree(
                "configs", Path(self.build_lib) / "lit_retrieval/configs",
                ignore=ignore_patterns("own_task", "compare"), dirs_exist_ok=True,
            )  # fmt: skip


setup(cmdclass={"build_py": BuildWithConfigs})
