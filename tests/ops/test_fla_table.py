"""The table of fla's functions: replaced wherever they are held, called with fla's arguments, and in the docs."""

import importlib
import inspect
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch
from fla_layers import make_layer

from lit_retrieval.errors import UserError
from lit_retrieval.ops import fla_cpu
from lit_retrieval.ops.fla_cpu import __main__ as docs
from lit_retrieval.ops.fla_cpu import recurrences
from lit_retrieval.ops.fla_cpu.arguments import CHOOSE_KERNELS, OURS, names_of, with_arguments_of
from lit_retrieval.ops.fla_cpu.install import find, rebind
from lit_retrieval.ops.fla_cpu.table import TABLE, Row

with_fla = pytest.mark.skipif(sys.platform != "linux", reason="fla needs triton, which is for Linux only")
ROW = Row("ours", "fake.ops.chunk_gla", "recurrences.gla")


def make_theirs():
    """A function with arguments as fla's have."""

    def chunk_gla(q, k, v, g=None, scale=None, chunk_size=64, cp_context=None, **kwargs):
        return "theirs"

    return chunk_gla


@pytest.fixture
def fake(monkeypatch) -> dict[str, ModuleType]:
    """Modules `fake.ops`, which has a function, and `fake.user`, which imported it; no fla is needed."""
    modules = {name: ModuleType(name) for name in ("fake", "fake.ops", "fake.user")}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    vars(modules["fake.ops"])["chunk_gla"] = vars(modules["fake.user"])["their_name"] = make_theirs()
    return modules


def test_a_function_is_replaced_wherever_it_is_held(fake):
    rebind([ROW])
    q = torch.randn(1, 3, 2, 4)
    for choose in (fake["fake.ops"].chunk_gla, fake["fake.user"].their_name):
        torch.testing.assert_close(choose(q, q, q)[0], recurrences.gla(q, q, q)[0])
        assert choose(q.to("meta"), q, q) == "theirs"


def test_a_method_is_replaced_in_its_class(fake):
    vars(fake["fake.ops"])["Layer"] = type("Layer", (), {"run": lambda self, input_states: "theirs"})
    rebind([Row("refused", "fake.ops.Layer.run", "why")])
    layer = fake["fake.ops"].Layer()
    assert layer.run(torch.empty(1, device="meta")) == "theirs"
    with pytest.raises(UserError, match=r"fake\.ops\.Layer\.run runs on a GPU only: why"):
        layer.run(torch.empty(1))


def test_only_what_has_moved_is_left_out_with_a_line_a_name(fake):
    moved = ["fake.ops.chunk_gone", "fake.elsewhere.chunk_gla"]
    with pytest.warns(UserWarning) as caught:
        rebind([Row("ours", moved[0], "recurrences.gla"), ROW, Row("ours", moved[1], "recurrences.gla")])
    for place, warning in zip(moved, caught, strict=True):
        line = str(warning.message)
        assert f" {place} " in line and "pip install" in line and "\n" not in line
    q = torch.randn(1, 3, 2, 4)
    assert fake["fake.ops"].chunk_gla(q, q, q) != "theirs"


def test_a_slow_function_says_so_once(fake):
    rebind([ROW._replace(kind="naive")])
    q = torch.randn(1, 3, 2, 4)
    with pytest.warns(UserWarning, match=r"fake\.ops\.chunk_gla has no fast form") as caught:
        for _ in range(2):
            fake["fake.ops"].chunk_gla(q, q, q)
    assert len(caught) == 1


def test_arguments_keep_flas_order_and_defaults():
    call = with_arguments_of(lambda v, k, q, scale=0.5: None, recurrences.gla, "fake")
    q, k, v = torch.randn(3, 1, 3, 2, 4)
    torch.testing.assert_close(call(v, k, q)[0], recurrences.gla(q, k, v, scale=0.5)[0])


@pytest.mark.parametrize(
    "given", [{"cp_context": None}, {"chunk_size": 16}, {"disable_recompute": True}, {"what": None}]
)
def test_arguments_that_change_nothing_are_taken(given):
    call = with_arguments_of(make_theirs(), recurrences.gla, "fake")
    q = torch.randn(1, 3, 2, 4)
    torch.testing.assert_close(call(q, q, q, **given)[0], recurrences.gla(q, q, q)[0])


@pytest.mark.parametrize("key", ["cp_context", "what"])
def test_other_arguments_are_refused_by_name(key):
    q = torch.randn(1, 3, 2, 4)
    with pytest.raises(UserError, match=f"fake takes no {key} on a CPU"):
        with_arguments_of(make_theirs(), recurrences.gla, "fake")(q, q, q, **{key: True})
    with pytest.raises(UserError, match="fake takes no what"):  # where fla has no `**kwargs`
        with_arguments_of(lambda q, k, v: None, recurrences.gla, "fake")(q, q, q, what=None)


def test_a_deprecated_name_warns_and_works():
    call = with_arguments_of(make_theirs(), recurrences.gla, "fake")
    q, state = torch.randn(1, 3, 2, 4), torch.randn(1, 2, 4, 4)
    options = {"initial_state": state, "output_final_state": True}
    with pytest.warns(DeprecationWarning, match="renamed to `state_v_first`"):
        found = call(q, q, q, transpose_state_layout=True, **options)
    torch.testing.assert_close(found, recurrences.gla(q, q, q, state_v_first=True, **options))
    with pytest.raises(ValueError, match="Cannot pass both"):
        call(q, q, q, transpose_state_layout=True, state_v_first=True)


def test_no_name_is_in_the_table_twice():
    names = [row.theirs for row in TABLE]
    assert len(names) == len(set(names))


def test_the_page_in_the_docs_is_made_from_the_table():
    written = (Path(__file__).parents[2] / "docs" / "fla.md").read_text()
    assert written == docs.page(), "run: python -m lit_retrieval.ops.fla_cpu > docs/fla.md"


@with_fla
def test_every_row_is_in_the_installed_fla():
    make_layer("GatedLinearAttention")
    for row in TABLE:
        assert callable(getattr(*find(row.theirs)))


@with_fla
def test_fla_functions_are_ours_from_every_place():
    fla_cpu.install()
    import fla.layers.gla
    import fla.ops
    import fla.ops.gla.chunk

    q = torch.randn(1, 4, 2, 8)
    expected = recurrences.gla(q, q, q, -q.abs())
    for place in (fla.ops, fla.ops.gla, fla.ops.gla.chunk, fla.layers.gla):
        torch.testing.assert_close(place.chunk_gla(q, q, q, -q.abs()), expected)


# Arguments of fla's that ours refuse by name, if they are not at their defaults.
REFUSED = {
    "cp_context": "several GPUs share a sequence",
    "gk": "the preconditioned rule decays by head",
    "gv": "a decay of each value is another recurrence",
    "return_intermediate_states": "ours have no chunks",
    "reverse": "gated slots and RWKV-6 run forwards",
}


@with_fla
def test_every_argument_of_fla_is_taken_or_refused_by_name():
    make_layer("GatedLinearAttention")
    refused = set()
    for row in TABLE:
        if row.kind not in ("ours", "naive"):
            continue
        module, _, name = row.detail.rpartition(".")
        module = module if module.startswith("fla.") else f"lit_retrieval.ops.fla_cpu.{module}"
        known = set(names_of(getattr(importlib.import_module(module), name))) | CHOOSE_KERNELS | {"kwargs"}
        theirs = inspect.signature(getattr(*find(row.theirs))).parameters
        missing = {key for key in theirs if key not in known and OURS.get(key) not in known}
        assert missing <= REFUSED.keys(), row.theirs
        refused |= missing
    assert refused == REFUSED.keys()


VERSIONS = Path(__file__).parents[1] / "data" / "fla_names"


@pytest.fixture(params=sorted(path.stem for path in VERSIONS.iterdir()))
def version_of_fla(request, monkeypatch) -> tuple[str, set[str]]:
    """The modules of a version of fla, with a function of its own for each name; no fla is needed."""
    for name in [name for name in sys.modules if name.split(".")[0] == "fla"]:
        monkeypatch.delitem(sys.modules, name)
    paths = set()
    for line in (VERSIONS / f"{request.param}.txt").read_text().splitlines():
        module, *names = line.split()
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            name = ".".join(parts[:i])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, ModuleType(name))
                vars(sys.modules[name])["__path__"] = []
        for name in names:
            owner: object = sys.modules[module]
            if "." in name:
                class_name, name = name.split(".")
                owner = vars(owner).setdefault(class_name, type(class_name, (), {}))
            setattr(owner, name, make_theirs())
        paths |= {f"{module}.{name}" for name in names}
    return request.param, paths


def test_in_each_version_of_fla_all_rows_work_but_those_that_moved(version_of_fla):
    version, names = version_of_fla
    rows = [row for row in TABLE if row.kind != "through"]
    moved = [row.theirs for row in rows if row.theirs not in names]
    assert bool(moved) == (version != "0.6.0")
    theirs = {row.theirs: getattr(*find(row.theirs)) for row in rows if row.theirs in names}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rebind(TABLE)
    said = [str(one.message) for one in caught]
    assert [path for path in moved for line in said if f" {path} " in line] == moved and len(said) == len(moved)
    for path, before in theirs.items():
        assert getattr(*find(path)) is not before
