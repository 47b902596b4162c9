"""The page of the layers."""

import logging
import sys
import warnings

import layers_page
import pytest
from benchmarks.models import MODEL_FILES

DOCS = layers_page.PAGE


@pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
@pytest.mark.parametrize("name", ["mesa_net", "nsa", pytest.param(None, marks=pytest.mark.slow)])
def test_the_page_says_what_runs(name):
    """The line of one layer, which runs it, or the whole page."""
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name is None:
            assert layers_page.page() == DOCS.read_text()
        else:
            assert layers_page._line(MODEL_FILES / f"{name}_0.5M.yaml") in DOCS.read_text()


def test_the_part_of_our_layers_is_that_of_the_code():
    assert layers_page.ours() in DOCS.read_text(), "write it again: python tools/layers_page.py"


def test_every_model_of_fla_has_a_line():
    files = [path for path in MODEL_FILES.glob("*_0.5M.yaml") if "fla.layers" in path.read_text()]
    assert all(f"| `{path.stem.removesuffix('_0.5M')}` |" in DOCS.read_text() for path in files)
