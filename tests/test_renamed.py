"""Old public names are taken for one more version."""

from importlib import import_module

import pytest

OLD_NAMES = [
    ("data", "FileStream", "FileDataset"),
    ("data", "TranscriptStream", "BatchDataset"),
    ("data.suite", "fingerprint", "hash_samples"),
    ("decoding", "Session", "Conversation"),
    ("tasks", "Fingerprint", "SampleHash"),
    ("tasks", "load", "load_samples"),
    ("tasks", "save", "save_samples"),
]


@pytest.mark.parametrize(("room", "old", "new"), OLD_NAMES)
def test_an_old_name_gives_what_the_new_one_names(room, old, new):
    module = import_module(f"lit_retrieval.{room}")
    with pytest.warns(DeprecationWarning, match=f"lit_retrieval.{room}.{old} is now called {new}$"):
        assert getattr(module, old) is getattr(module, new)


@pytest.mark.parametrize("room", sorted({room for room, _, _ in OLD_NAMES}))
def test_a_name_that_never_was_is_refused(room):
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        import_module(f"lit_retrieval.{room}").nothing  # noqa: B018
