"""Samples that are written to a file and read back, and files that something has happened to."""

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from catalogue import TASKS

from lit_retrieval.errors import UserError
from lit_retrieval.tasks import SampleStream, SetDisjointness, describe, load_samples, save_samples
from lit_retrieval.tasks.sample_file import manifest_path

FORMS = [(".npz", "ids"), (".jsonl", "ids"), (".jsonl", "words")]


def batches(name, regime="retrieval", count=100, batch=32):
    task, sizes = TASKS[name]
    stream = SampleStream(task, regime, sizes, 0, "fit")
    return [stream.take(np.arange(start, min(start + batch, count))) for start in range(0, count, batch)]


def assert_same(ours, theirs):
    for field in fields(ours):
        assert (getattr(ours, field.name) == getattr(theirs, field.name)).all(), field.name
        assert getattr(ours, field.name).dtype == getattr(theirs, field.name).dtype


@pytest.mark.parametrize(("suffix", "form"), FORMS)
@pytest.mark.parametrize("name", ["associative_recall_4", "string_copying", "mixture", "counting_code", "own_task"])
def test_what_is_written_is_read_back_the_same(name, suffix, form, tmp_path):
    task, sizes = TASKS[name]
    path = tmp_path / f"samples{suffix}"
    manifest = save_samples(path, task.vocabulary, batches(name), {"task": describe(task), "regime": "retrieval"}, form)
    file = load_samples(path)
    assert len(file) == 100 == file.manifest["samples"] and file.manifest == manifest
    assert file.identity == task.vocabulary.words and file.sizes == sorted(sizes)
    chosen = np.array([99, 3, 40])
    assert_same(file.take(chosen), SampleStream(task, "retrieval", sizes, 0, "fit").take(chosen))
    assert sorted(path.parent.iterdir()) == sorted([path, manifest_path(path)]), "nothing half-written stays"


def test_the_hash_does_not_depend_on_form_or_batches(tmp_path):
    task, _ = TASKS["string_copying"]
    about = {"regime": "retrieval"}
    hashes = {
        save_samples(
            tmp_path / f"{batch}{form}{suffix}", task.vocabulary, batches("string_copying", batch=batch), about, form
        )["sha256"]
        for batch in (7, 100)
        for suffix, form in FORMS
    }
    assert len(hashes) == 1


def test_the_manifest_says_how_to_make_the_task_again():
    described = describe(TASKS["mixture"][0])
    assert described["class_path"].endswith(".Mixture") and described["init_args"]["weights"] == [2.0, 1.0, 1.0]
    assert described["init_args"]["tasks"][1] == {
        "class_path": "lit_retrieval.tasks.recall.string_copying.StringCopying",
        "init_args": {"max_size": 16, "vocab_size": 5, "query_form": "short"},
    }


def test_arguments_that_json_does_not_know_are_written_too(tmp_path):
    task = SetDisjointness(8)
    task.first_shares, task.question = np.array([0.5]), {"whether"}
    save_samples(tmp_path / "a.npz", task.vocabulary, batches("index"), {"regime": "vanilla", "task": describe(task)})
    named = json.loads((tmp_path / "a.npz.manifest.json").read_text())["task"]["init_args"]
    assert named["first_shares"] == [0.5] and named["question"] == "{'whether'}"


@pytest.fixture(params=FORMS, ids="-".join)
def written(request, tmp_path):
    suffix, form = request.param
    path = tmp_path / f"samples{suffix}"
    save_samples(path, TASKS["index"][0].vocabulary, batches("index"), {"regime": "retrieval"}, form)
    return path


def test_a_flipped_bit_is_noticed_wherever_it_is(written):
    whole = written.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << rng.integers(0, 8)
        written.write_bytes(spoilt)
        with pytest.raises(
            UserError, match="is damaged: its sha256 is not the one in its manifest; copy or write it again"
        ):
            load_samples(written)


@pytest.mark.parametrize("keep", [0, 0.5, 0.99])
def test_a_file_cut_short_is_refused(written, keep):
    whole = written.read_bytes()
    written.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(UserError, match="its sha256 is not the one in its manifest"):
        load_samples(written)


@pytest.mark.parametrize("content", ["", "[]", '{"words": 3}', "{", b"\xff"])
def test_a_damaged_manifest_is_refused(written, content):
    manifest_path(written).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"the manifest .* is damaged.*; write the samples again with --overwrite true"):
        load_samples(written)


@pytest.mark.parametrize("key", ["words", "form", "regime", "samples", "version", "sha256", "file_sha256"])
@pytest.mark.parametrize("value", [None, 3.5, True, "bogus", [1], "absent"])
def test_a_manifest_with_a_wrong_value_is_refused(written, key, value):
    manifest = json.loads(manifest_path(written).read_text())
    del manifest[key]
    manifest_path(written).write_text(json.dumps(manifest if value == "absent" else {**manifest, key: value}))
    if (key, value) == ("version", "bogus"):
        assert len(load_samples(written)) == 100, "a version is any word"
        return
    with pytest.raises(UserError, match=r"again") as refused:
        load_samples(written)
    assert "\n" not in str(refused.value) and written.name in str(refused.value)


def other_form(manifest, path):
    return {"form": "words" if manifest["form"] == "ids" else "ids"}


def two_words_swapped(manifest, path):
    words = manifest["words"]
    return {"words": [*words[:-2], words[-1], words[-2]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (two_words_swapped, "don't match: the sha256 is .*, not "),
        (lambda manifest, path: {"words": manifest["words"][:-1]}, "the sha256 is|is not one of the vocabulary"),
        (lambda manifest, path: {"words": [*manifest["words"], manifest["words"][-1]]}, "listed twice|the sha256 is"),
        (lambda manifest, path: {"sha256": "0" * 64}, "don't match: the sha256 is .*, not "),
        (lambda manifest, path: {"samples": 7}, "don't match: 100 samples, not 7"),
        (lambda manifest, path: {"words": 3}, "words must be of type list, got 3"),
        (other_form, "form must be ids, got 'words'|and its manifest don't match"),
    ],
)
def test_a_manifest_of_other_samples_is_refused(written, change, said):
    manifest = json.loads(manifest_path(written).read_text())
    manifest_path(written).write_text(json.dumps({**manifest, **change(manifest, written)}))
    with pytest.raises(UserError, match=said) as refused:
        load_samples(written)
    assert "again" in str(refused.value) and "\n" not in str(refused.value)


def test_samples_of_no_regime_are_not_written(tmp_path):
    with pytest.raises(UserError, match="regime must be vanilla or cot or retrieval, got ''"):
        save_samples(tmp_path / "samples.npz", TASKS["index"][0].vocabulary, batches("index"), {})
    assert not list(tmp_path.iterdir())


def test_a_missing_manifest_or_file_is_named(written):
    with pytest.raises(UserError, match=r"there is no file .*other.npz; write the path"):
        load_samples(written.with_name("other.npz"))
    manifest_path(written).unlink()
    with pytest.raises(UserError, match=r"there is no manifest .*manifest.json; copy it too"):
        load_samples(written)


def test_samples_with_other_special_words_are_refused(written):
    manifest = json.loads(manifest_path(written).read_text())
    manifest["words"][3] = "<Search>"
    manifest_path(written).write_text(json.dumps({**manifest, "version": "9.9"}))
    with pytest.raises(UserError, match=r"written by version 9\.9, which has other special words"):
        load_samples(written)


def test_nothing_is_overwritten_without_being_told(written):
    before = written.read_bytes()
    with pytest.raises(UserError, match="already exists; write another name, or --overwrite true"):
        save_samples(written, TASKS["index"][0].vocabulary, batches("index", "cot"), {"regime": "cot"})
    assert written.read_bytes() == before
    save_samples(written, TASKS["index"][0].vocabulary, batches("index", "cot"), {"regime": "cot"}, overwrite=True)
    assert_same(load_samples(written).take(np.arange(100)), batches("index", "cot", batch=100)[0])


def test_a_folder_that_is_not_ours_is_noticed_before_samples_are_drawn(tmp_path, monkeypatch):
    def deny(path, mode):
        raise PermissionError(13, "Permission denied", str(path))

    def draw():
        pytest.fail("samples were drawn")
        yield

    monkeypatch.setattr(Path, "open", deny)
    path, words = tmp_path / "samples.npz", TASKS["index"][0].vocabulary
    with pytest.raises(UserError, match=r"/samples\.npz can't be written: Permission denied; write to another folder"):
        save_samples(path, words, draw(), {"regime": "retrieval"})


def test_a_manifest_alone_is_not_overwritten_either(written):
    written.unlink()
    with pytest.raises(UserError, match=r"manifest\.json already exists; write another name"):
        save_samples(written, TASKS["index"][0].vocabulary, batches("index"), {"regime": "retrieval"})


def test_what_breaks_off_leaves_the_old_file_whole(written):
    def break_off():
        yield batches("index")[0]
        raise RuntimeError("the disk is full")

    before = written.read_bytes()
    with pytest.raises(RuntimeError, match="the disk is full"):
        save_samples(written, TASKS["index"][0].vocabulary, break_off(), {"regime": "cot"}, overwrite=True)
    assert written.read_bytes() == before and len(list(written.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("samples.csv", "ids", "suffix must be .npz or .jsonl"),
        ("samples.npz", "words", "write a .jsonl file for words"),
        ("samples.jsonl", "letters", "form must be ids or words, got 'letters'"),
        ("nowhere/samples.npz", "ids", "there is no folder"),
    ],
)
def test_where_nothing_can_be_written_is_said_before_anything_is(tmp_path, name, form, said):
    with pytest.raises(UserError, match=said):
        save_samples(tmp_path / name, TASKS["index"][0].vocabulary, batches("index"), {"regime": "retrieval"}, form)
    assert not list(tmp_path.iterdir())
