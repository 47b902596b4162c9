"""Prompts in text: read back, they are the trainer's problems, each after solved ones."""

import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from catalogue import CASES, TASKS

from lit_retrieval.tasks import AssociativeRecall, Author, SampleStream, StateTracking
from lit_retrieval.tasks.__main__ import main
from lit_retrieval.tasks.text_form import about, few_shot, solve

RECALL = ["--task", "AssociativeRecall", "--task.num_keys", "8", "--task.num_values", "4", "--sizes", "[4, 8]"]


@pytest.mark.parametrize(("name", "regime"), [case for case in CASES if case[1] != "retrieval"])
def test_a_problem_and_its_completion_are_the_words_of_the_transcript(name, regime):
    task, sizes = TASKS[name]
    transcripts = task.sample(2, np.arange(8), np.resize(sizes, 8), regime)
    for row, solved in enumerate(solve(task, transcripts)):
        words = task.vocabulary.decode(transcripts.tokens[row, : transcripts.length[row]])
        authors = transcripts.author[row, : len(words)].tolist()
        if Author.ASKED in authors:
            start = len(words) - 1 - authors[::-1].index(Author.ASKED)
            reply = task.vocabulary.decode(transcripts.answers_of(row)[-1:])
        else:
            start = authors.index(Author.MODEL)
            stop = next((at for at in range(start, len(words)) if authors[at] != Author.MODEL), len(words))
            reply = words[start:stop]
        assert solved.problem.split() == [word for word in words[:start] if word != "<s>"]
        ends = set(task.vocabulary.decode(task.answer_words))
        assert solved.answers == [word for word in reply if word in ends] and reply[-1] in ends
        steps = solved.steps.split()
        assert steps == reply[: len(steps)] and set(reply[len(steps) :]) <= ends and not set(steps[-1:]) & ends
        assert solved.size == transcripts.sizes[row]
        assert solved.kind == (task.kinds[transcripts.kinds[row]] if task.kinds else None)


@pytest.mark.parametrize("regime", ["vanilla", "cot"])
def test_prompts_show_solved_problems_and_ask_for_the_trainers(regime, tmp_path):
    path = tmp_path / "prompts.jsonl"
    main(["write", *RECALL, "--form", "text", "--regime", regime, "--shots", "2", "--samples", "1030", "--output",
          str(path)])  # fmt: skip
    samples = [json.loads(line) for line in path.read_text().splitlines()]
    stream = SampleStream(AssociativeRecall(8, 4), regime, [4, 8], 0, "fit").take(np.arange(1030))
    shown = set()
    for sample, solved in zip(samples, solve(AssociativeRecall(8, 4), stream), strict=True):
        first, *shots, asked = (sample["prompt"] + sample["completion"]).split("\n\n")
        assert first == "Pairs of a key and a value, then a key: say its value." and len(shots) == 2
        assert f"Problem: {solved.problem}\n" in asked and sample["answers"] == solved.answers
        assert sample["prompt"].endswith("\nSteps:" if regime == "cot" else "\nAnswer:")
        for text in (*shots, asked):
            pairs, key, steps, value = re.fullmatch(
                r"Problem: (.+) \? (\w+)\n(?:Steps: (.+)\n)?Answer: (\w+)", text
            ).groups()
            listed = pairs.split()
            assert dict(zip(listed[::2], listed[1::2], strict=True))[key] == value
            assert (steps or "").split() == (listed[: listed.index(key) + 1 : 2] if regime == "cot" else [])
        shown |= set(shots)
    assert len(shown) > 1500 and [sample["index"] for sample in samples] == list(range(1030))
    manifest = json.loads((tmp_path / "prompts.jsonl.manifest.json").read_text())
    assert (manifest["samples"], manifest["shots"], manifest["regime"]) == (1030, 2, regime)


def test_vanilla_is_the_regime_of_text_and_no_shots_are_one_problem(tmp_path):
    path = tmp_path / "prompts.jsonl"
    main(["write", *RECALL, "--form", "text", "--shots", "0", "--samples", "2", "--output", str(path)])
    assert [json.loads(line)["prompt"].count("Problem:") for line in path.read_text().splitlines()] == [1, 1]


def test_answers_beside_words_are_asked_for_after_the_last(tmp_path):
    task = StateTracking("parity")
    (solved,) = solve(task, task.sample(0, np.arange(1), np.full(1, 5), "vanilla"))
    prompt = few_shot(task, "vanilla", solved, [])["prompt"]
    assert re.search(r"Problem: (x[01] ){4}x[01]\nAnswer:$", prompt)
    assert solved.answers == [f"={solved.problem.count('x1') % 2}"]


def test_references_are_left_out_of_the_first_line():
    said = {name: about(task) for name, (task, _) in TASKS.items()}
    assert said["is_tree_binary"] == "Is an undirected graph on n vertices with n - 1 edges a tree?"
    assert all(line and "arXiv" not in line for line in said.values())


@pytest.mark.parametrize("regime", ["vanilla", "cot"])
def test_a_task_for_the_harness_scores_right_completions(regime, tmp_path, monkeypatch):
    """As lm-evaluation-harness 0.4.13 does it: fill in the template, generate, take the answer by the filter."""
    folder = tmp_path / "recall"
    for overwrite in ("false", "true"):
        main(["write", *RECALL, "--form", "lm_eval", "--regime", regime, "--samples", "9", "--output", str(folder),
              "--overwrite", overwrite])  # fmt: skip
    tagged, rest = (folder / "recall.yaml").read_text().split("\n", 1)
    assert tagged == "custom_dataset: !function samples.load"
    task = yaml.safe_load(rest)
    assert (task["task"], task["num_fewshot"], task["output_type"]) == ("recall", 4, "generate_until")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(Dataset=SimpleNamespace(from_list=list)))
    monkeypatch.delitem(sys.modules, "samples", raising=False)
    splits = importlib.import_module("samples").load(version=1.0)
    assert len(splits["test"]) == 9 and len(splits["shots"]) == 64

    def fill(template, document):
        return re.sub(r"\{\{(\w+)\}\}", lambda name: document[name[1]], template)

    target = task.get("fewshot_config", task)["doc_to_target"]
    assert ("steps" in target) == (regime == "cot")
    pattern = task["filter_list"][0]["filter"][0]["regex_pattern"]
    stream = SampleStream(AssociativeRecall(8, 4), regime, [4, 8], 0, "fit").take(np.arange(9))
    for document, solved in zip(splits["test"], solve(AssociativeRecall(8, 4), stream), strict=True):
        whole = few_shot(AssociativeRecall(8, 4), regime, solved, [])
        assert task["description"] + fill(task["doc_to_text"], document) == whole["prompt"]
        completion = " " + fill(target, document)
        assert completion == whole["completion"] and not any(stop in completion for stop in
                                                             task["generation_kwargs"]["until"])  # fmt: skip
        for written in (completion, f"\n{completion.lstrip()}\n more"):
            found = re.findall(pattern, written)[0].strip()
            assert found == fill(task["doc_to_target"], document) == " ".join(solved.answers)


def test_a_task_with_a_table_is_written_for_lm_eval(tmp_path):
    """Its arguments are in a YAML, which takes no class derived from dict."""
    machine = Path(__file__).parents[2] / "configs/machines/increment.yaml"
    main(["write", "--task", "MachineRun", "--task.table", str(machine), "--form", "lm_eval", "--regime", "vanilla",
          "--samples", "3", "--sizes", "[4]", "--output", str(tmp_path / "machine")])  # fmt: skip
    (written,) = (tmp_path / "machine").glob("machine.yaml")
    assert "MachineRun" in written.read_text()
