import os

import pytest

from lit_retrieval.files import write_atomically

STOPS = [KeyboardInterrupt, SystemExit, OSError, ValueError]


@pytest.mark.parametrize(("mode", "content"), [("w", "new\n"), ("wb", b"new\n")])
@pytest.mark.parametrize("old", [None, "old\n"])
def test_a_file_is_created_or_replaced(tmp_path, mode, content, old):
    path = tmp_path / "file.txt"
    if old:
        path.write_text(old)
    with write_atomically(path, mode) as file:
        file.write(content)
        assert (path.read_text() if old else path.exists()) == (old or False), "nothing changes before the block ends"
    assert path.read_text() == "new\n" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", STOPS)
@pytest.mark.parametrize("old", [None, "old\n"])
def test_an_interrupted_writer_leaves_the_old_file(tmp_path, error, old):
    path = tmp_path / "file.txt"
    if old:
        path.write_text(old)
    with pytest.raises(error), write_atomically(path) as file:
        file.write("half of the n")
        raise error
    assert [one.read_text() for one in tmp_path.iterdir()] == ([old] if old else [])


@pytest.mark.parametrize("error", STOPS)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_writer_that_stops_after_its_block_leaves_the_old_file(tmp_path, monkeypatch, error, call):
    path = tmp_path / "file.txt"
    path.write_text("old\n")

    def stop(*arguments):
        raise error

    monkeypatch.setattr(os, call, stop)
    with pytest.raises(error), write_atomically(path) as file:
        file.write("new\n")
    assert path.read_text() == "old\n" and list(tmp_path.iterdir()) == [path]


def test_content_is_forced_onto_the_disk_before_its_name_and_the_name_before_it_returns(tmp_path, monkeypatch):
    path, done = tmp_path / "file.txt", []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    with write_atomically(path) as file:
        staged = file.name
    assert done == [staged, "rename", str(tmp_path)]


def test_what_a_killed_writer_left_is_overwritten(tmp_path):
    (tmp_path / ".file.txt.part").write_text("left by a process that was killed, and longer")
    with write_atomically(tmp_path / "file.txt") as file:
        file.write("new")
    assert [one.read_text() for one in tmp_path.iterdir()] == ["new"]
