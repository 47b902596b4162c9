import os
import pickle
import stat
from pathlib import Path

import pytest
import torch

from lit_retrieval import runs
from lit_retrieval.errors import DamagedCheckpointError, UserError

CONTENT = {"pytorch-lightning_version": "2", "weights": torch.arange(1000.0), "step": 3}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run/checkpoints/step_3.ckpt"
    runs.save_checkpoint(CONTENT, path)
    return path


def test_what_is_saved_is_loaded_and_its_hash_lies_beside(path):
    loaded = runs.load_checkpoint(path)
    assert torch.equal(loaded["weights"], CONTENT["weights"]) and loaded["step"] == 3
    assert {one.name for one in path.parent.iterdir()} == {"step_3.ckpt", "step_3.ckpt.sha256"}
    digest, name = (path.parent / "step_3.ckpt.sha256").read_text().split()
    assert len(digest) == 64 and name == "step_3.ckpt"


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_a_flipped_byte_anywhere_is_found(path, share):
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match="is damaged: its sha256 is not the one"):
        runs.load_checkpoint(path)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_cut_short_is_refused_with_and_without_a_hash(path, length):
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedCheckpointError, match="is damaged"):
        runs.load_checkpoint(path)
    path.with_name("step_3.ckpt.sha256").unlink()
    with pytest.raises(DamagedCheckpointError, match="can't be read as a checkpoint"):
        runs.load_checkpoint(path)


@pytest.mark.parametrize("hashes", ["", "\n"])
def test_an_empty_hash_is_no_hash_that_fits(path, hashes):
    path.with_name("step_3.ckpt.sha256").write_text(hashes)
    with pytest.raises(DamagedCheckpointError, match="is damaged: its sha256 is not the one"):
        runs.load_checkpoint(path)


def test_every_new_name_is_forced_onto_the_disk(path, monkeypatch):
    """The order of a save: each file's content, its name, and then the folder that the name is in."""
    done, replace, fsync = [], os.replace, os.fsync

    def note_and_replace(source, target):
        done.append(target.name)
        replace(source, target)

    def note_and_force(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    monkeypatch.setattr(os, "replace", note_and_replace)
    monkeypatch.setattr(os, "fsync", note_and_force)
    runs.save_checkpoint(CONTENT, path)
    hashed = ["content", "step_3.ckpt.sha256", "folder"]
    assert done == [*hashed, "content", "step_3.ckpt", "folder", *hashed]


@pytest.mark.parametrize("step", ["the hash", "the file", "the hash again"])
def test_stopping_between_any_two_steps_leaves_a_checkpoint_that_is_whole(path, monkeypatch, step):
    """The three renamings of a save; the process ends before one of them."""
    left, replace = ["the hash", "the file", "the hash again"], os.replace

    def stop_or_replace(source, target):
        if left.pop(0) == step:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_or_replace)
    with pytest.raises(KeyboardInterrupt):
        runs.save_checkpoint({**CONTENT, "step": 4}, path)
    assert runs.load_checkpoint(path)["step"] == (4 if step == "the hash again" else 3)
    monkeypatch.undo()
    runs.save_checkpoint({**CONTENT, "step": 5}, path)
    assert runs.load_checkpoint(path)["step"] == 5
    assert len(path.with_name("step_3.ckpt.sha256").read_text().splitlines()) == 1


def test_code_in_a_file_does_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({**CONTENT, "hyper_parameters": Malicious()}, tmp_path / "torch.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Malicious()))
    for name in ("torch.ckpt", "plain.ckpt"):
        with pytest.raises(DamagedCheckpointError, match="objects other than tensors, numbers and text"):
            runs.load_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path):
    with pytest.raises(
        UserError, match=r"a checkpoint must have only tensors, .* got a PosixPath in hyper_parameters\.files\.0"
    ):
        runs.save_checkpoint({**CONTENT, "hyper_parameters": {"files": [Path("x")]}}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_said_with_the_fix(tmp_path):
    with pytest.raises(UserError, match=r"there is no checkpoint .*none.ckpt; write best, last or"):
        runs.load_checkpoint(tmp_path / "none.ckpt")


def test_a_removed_checkpoint_takes_its_hash_along(path):
    runs.remove_checkpoint(path)
    assert not list(path.parent.iterdir())
