import subprocess
import sys

import pytest
import yaml

from lit_retrieval import runs
from lit_retrieval.errors import FolderInUseError, UserError
from lit_retrieval.runs import RunFolder


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for step in (5, 20, 100):
        save(folder, step)
    return folder


def save(folder, step):
    runs.save_checkpoint({"pytorch-lightning_version": "2", "global_step": step}, folder.step_file(step))


def test_the_newest_is_the_one_of_the_latest_step(folder):
    assert folder.newest().content["global_step"] == 100
    assert RunFolder(folder.path / "empty").newest() is None


def test_a_damaged_checkpoint_gives_way_to_the_one_before(folder):
    for step in (100, 20):
        folder.step_file(step).write_bytes(b"")
    found = folder.newest()
    assert found.path == folder.step_file(5) and len(found.damaged) == 2
    folder.step_file(5).write_bytes(b"")
    with pytest.raises(UserError, match=r"no older valid one; add --fresh"):
        folder.newest()


def test_pruning_keeps_the_newest_and_removes_what_is_from_after_now(folder):
    save(folder, 30)
    folder.prune(30, keep=2)
    assert folder.step_files() == [folder.step_file(30), folder.step_file(20)]


def test_each_fresh_folder_is_the_next_beside_it(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.next_beside() == folder == folder.newest_beside()
    folder.path.mkdir()
    assert folder.next_beside().path.name == "run-2"
    folder.next_beside().path.mkdir()
    assert folder.newest_beside().path.name == "run-2" and folder.next_beside().path.name == "run-3"


def test_only_one_process_writes_and_a_killed_one_lets_go(folder):
    program = f"""
from pathlib import Path
from lit_retrieval.runs import RunFolder
with RunFolder(Path({str(folder.path)!r})).writing():
    print("has it", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stdin=subprocess.PIPE)
    assert other.stdout.readline() == b"has it\n"
    with pytest.raises(FolderInUseError, match="another process is training in"), folder.writing():
        pass
    other.kill()
    other.communicate()
    with folder.writing():
        pass


def test_a_folder_in_which_another_process_has_just_written_is_in_use(tmp_path):
    folder = RunFolder(tmp_path / "run")
    seen = folder.step_files()
    with folder.writing(seen):
        (folder.path / "checkpoints").mkdir(parents=True)
        (folder.path / "checkpoints/step_5.ckpt").touch()
    with pytest.raises(FolderInUseError, match="another process has just trained in"), folder.writing(seen):
        pass
    with folder.writing(folder.step_files()):
        pass


def test_mqar_of_an_older_version_wrote_all_of_its_answers(tmp_path):
    old = {"class_path": "lit_retrieval.tasks.MQAR", "init_args": {"num_kv_pairs": 2}}
    mixture = {"class_path": "lit_retrieval.tasks.Mixture", "init_args": {"tasks": [old, {**old, "init_args": None}]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"task": mixture}}))
    (first, second) = RunFolder(tmp_path).configuration()["data"]["task"]["init_args"]["tasks"]
    assert first["init_args"] == {"num_kv_pairs": 2, "answers": "written"} and second["init_args"] == {
        "answers": "written"
    }
