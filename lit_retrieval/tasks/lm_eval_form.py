"""Writes samples as tasks for lm-evaluation-harness."""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from lit_retrieval import __version__
from lit_retrieval.errors import UserError
from lit_retrieval.files import write_atomically
from lit_retrieval.tasks.sample_file import check_free
from lit_retrieval.tasks.sizes import Sizes
from lit_retrieval.tasks.task import Regime, Task, Transcripts
from lit_retrieval.tasks.text_form import BLANK_LINE, about, question, solve

_LOADS = "custom_dataset: !function samples.load\n"  # no YAML library writes this tag
_SCORES = "process_results: !function samples.score\n"
_SAMPLES = '''"""Loads the problems beside this file, and scores answers, for lm-evaluation-harness."""

import json
import re
from pathlib import Path

from datasets import Dataset


def load(**_):
    """The problems to solve, `test`, and solved ones to show, `shots`."""
    folder = Path(__file__).parent
    lines = {split: (folder / f"{split}.jsonl").read_text().splitlines() for split in ("shots", "test")}
    return {split: Dataset.from_list([json.loads(line) for line in lines[split]]) for split in lines}


def score(problem, results):
    """Whether the answer words outside of searches are right, as many as are asked for."""
    words = re.sub(r"<StartSearch>.*?(<EndSearch>|$)", " ", results[0]).split()
    known = json.loads((Path(__file__).parent / "answers.json").read_text())
    answers = problem["answers"].split()
    given = [word for word in words if word in known][: len(answers)]
    return {"exact_match": float(given == answers)}
'''


def save_lm_eval(
    folder: Path, task: Task, batches: Iterable[Transcripts], shown: Transcripts, manifest: dict[str, Any],
    overwrite: bool = False,
) -> None:  # fmt: skip
    """Write two tasks for lm-evaluation-harness into a folder, which may be moved: `lm_eval --include_path FOLDER`.

    The task with the folder's NAME has few-shot prompts for language models. NAME_run has the same problems in the
    words that trained runs read, for `python -m lit_retrieval.harness`. Raises `UserError` for an existing folder,
    unless `overwrite`.

    Args:
        folder: The folder.
        task: The task.
        batches: Samples that the model is asked to solve.
        shown: Samples from which the harness draws the shots before a problem.
        manifest: The `regime`, the number of `shots`, and anything else.
        overwrite: Replace the files in an existing folder.
    """
    if not re.fullmatch(r"\w[\w-]*", folder.name):
        raise UserError(f"a task's name must be of letters, digits, _ and -, got {folder.name!r}; write another name")
    content = folder / f"{folder.name}.yaml"
    if folder.is_dir():
        check_free(content, overwrite=overwrite)
    else:
        check_free(folder, overwrite=False)
    test, shots = ("".join(_lines(task, part)) for part in (batches, [shown]))
    digest = sha256(test.encode()).hexdigest()
    folder.mkdir(exist_ok=True)
    files = {
        "test.jsonl": test, "shots.jsonl": shots, "samples.py": _SAMPLES,
        "answers.json": json.dumps(task.vocabulary.decode(task.answer_words)),
        f"{folder.name}_run.yaml": _LOADS + _SCORES + _yaml(_run_task(folder.name, task, manifest, test, digest)),
        content.name: _LOADS + _yaml(_task(folder.name, task, manifest, digest)),
    }  # fmt: skip
    for name, text in files.items():
        with write_atomically(folder / name) as file:
            file.write(text)


def _yaml(content: dict[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False))


def _lines(task: Task, batches: Iterable[Transcripts]) -> Iterator[str]:
    for transcripts in batches:
        for solved in solve(task, transcripts):
            yield json.dumps({**solved._asdict(), "answers": " ".join(solved.answers)}) + "\n"


def _longest(task: Task, manifest: dict[str, Any], regimes: Iterable[Regime]) -> int:
    sizes = Sizes.parse(manifest["sizes"]).values.tolist()
    return max(task.longest_reply(size, regime) for size in sizes for regime in regimes)


def _task(name: str, task: Task, manifest: dict[str, Any], digest: str) -> dict[str, Any]:
    """The remaining keys of the YAML file of few-shot prompts."""
    is_cot = manifest["regime"] == "cot"
    longest = _longest(task, manifest, [manifest["regime"]])
    pattern = r"Answer:[ \t]*([^\n]*)" if is_cot else r"\A\s*([^\n]*)"
    filters = [{"function": "regex", "regex_pattern": pattern}, {"function": "take_first"}]
    return {
        "task": name,
        "test_split": "test",
        "fewshot_split": "shots",
        "num_fewshot": manifest["shots"],
        "description": about(task) + BLANK_LINE,
        "output_type": "generate_until",
        "doc_to_text": question("{{problem}}", manifest["regime"]),
        "doc_to_target": "{{answers}}",
        **({"fewshot_config": {"doc_to_target": "{{steps}}\nAnswer: {{answers}}"}} if is_cot else {}),
        "generation_kwargs": {"until": [BLANK_LINE, "Problem:"], "max_gen_toks": 16 + 8 * longest, "do_sample": False},
        "filter_list": [{"name": "answer", "filter": filters}],
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0, "lit_retrieval": {**manifest, "version": __version__, "sha256": digest}},
    }


def _run_task(name: str, task: Task, manifest: dict[str, Any], test: str, digest: str) -> dict[str, Any]:
    """The remaining keys of the YAML file of prompts for trained runs, of any regime."""
    num_answers = max(len(json.loads(line)["answers"].split()) for line in test.splitlines())
    limits = {"max_gen_toks": _longest(task, manifest, task.regimes) * 11 // 10 + 1, "num_answers": num_answers}
    return {
        "task": f"{name}_run",
        "test_split": "test",
        "num_fewshot": 0,
        "output_type": "generate_until",
        "doc_to_text": "{{prompt}}",
        "doc_to_target": "{{answers}}",
        "generation_kwargs": {"until": [], **limits, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0, "lit_retrieval": {**manifest, "version": __version__, "sha256": digest}},
    }
