"""Any number of workers and ranks sees the same global batches, and learns and scores the same."""

import json
import os
import signal
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from warm import children, is_running

slow = pytest.mark.slow
CONSTRUCTIONS = Path(__file__).parents[2] / "configs/constructions"
TWO = ["--trainer.strategy", "ddp", "--trainer.devices", "2"]
# Retrieval, where the rows of a batch have different numbers of words to learn.
STEPS = [
    "--data.regime", "retrieval", "--data.sizes", "[4]", "--trainer.max_steps", "12", "--trainer.val_check_interval",
    "5", "--data.val_samples", "7", "--data.test_samples", "7",
]  # fmt: skip
# No noise here: two ranks draw two rows of it each, one rank four.
QUIET = ["--model.stages", "[{mixers: [{class_path: lit_retrieval.mixers.Mamba, init_args: {state_dim: 2}}]}]"]
# A model whose weights are written down searches and answers without training. The budget leaves some of its answers
# open, so that the scores of the samples differ.
SEARCHING = [
    "--config", str(CONSTRUCTIONS / "theorem_5_3_is_tree.yaml"), "--data.task.init_args.max_size", "8",
    "--data.sizes", "[4, 8]", "--data.val_samples", "7", "--data.test_samples", "7", "--data.eval_batch_size", "4",
    "--data.max_new_tokens", "110", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
    "--trainer.callbacks", "[{class_path: scored.Scored}]",
]  # fmt: skip
# Writes down all scores, under the number of ranks.
SCORED = """
import json
from lightning.pytorch import Callback

class Scored(Callback):
    def on_validation_end(self, trainer, pl_module):
        if trainer.is_global_zero:
            with open(f"scored_{trainer.world_size}.json", "w") as file:
                json.dump({name: float(value) for name, value in trainer.callback_metrics.items()}, file)

    on_test_end = on_validation_end
"""
# A time limit of four batches, by a clock that stands still on rank 1.
LIMIT = """
from lightning.pytorch.callbacks import Timer

class Limit(Timer):
    def __init__(self) -> None:
        super().__init__({"seconds": 4})
        self.batches = 0

    def on_train_batch_end(self, trainer, *arguments) -> None:
        self.batches += trainer.global_rank == 0
        super().on_train_batch_end(trainer, *arguments)

    def time_elapsed(self, stage="train") -> float:
        return self.batches
"""
# Writes down the hash of every row that a rank trains on, with the number of its global batch, and how many collectives
# there have been before each batch, beside those of the gradients.
WITNESS = """
import hashlib, os
import torch
from lightning.pytorch import Callback

class Witness(Callback):
    def on_train_start(self, trainer, pl_module):
        self.count = 0
        for name in ("all_reduce", "broadcast", "barrier", "all_gather", "reduce", "all_gather_into_tensor"):
            setattr(torch.distributed, name, self.counted(getattr(torch.distributed, name)))

    def counted(self, collective):
        def run(*arguments, **options):
            self.count += 1
            return collective(*arguments, **options)
        return run

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        done = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        with open(f"collectives_{trainer.global_rank}.txt", "a") as file:
            print(self.count, file=file)
        with open(f"witness_{trainer.global_rank}.txt", "a") as file:
            for row, length in zip(batch.tokens.tolist(), batch.length.tolist()):
                print(done, hashlib.sha256(str(row[:length]).encode()).hexdigest(), file=file)
"""


def batches(place):
    """The rows of each global batch, as a set of hashes: their order within a batch is the ranks'."""
    found = defaultdict(list)
    for path in place.path.glob("witness_*.txt"):
        for line in path.read_text().splitlines():
            number, digest = line.split()
            found[int(number)].append(digest)
    return {number: sorted(rows) for number, rows in found.items()}


def fit(place, *arguments):
    (place.path / "witness.py").write_text(WITNESS)
    return place.fit(*STEPS, "--trainer.callbacks", "[{class_path: witness.Witness}]", *arguments)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, make_place):
    place = make_place(tmp_path_factory.mktemp("alone"))
    fit(place, *QUIET)
    return place


def assert_same_losses(one, other):
    first, second = one.scalars(), other.scalars()
    for tag in ("train/loss", "train/token_accuracy", "val/loss", "val/closed_loop_accuracy", "val/undecided"):
        steps = [step for step, _ in first[tag]]
        assert steps == [step for step, _ in second[tag]] == ([4, 9, 11] if tag.startswith("val") else list(range(12)))
        for (_, a), (_, b) in zip(first[tag], second[tag], strict=True):
            assert a == pytest.approx(b, abs=1e-6), tag


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--data.num_workers", "1"], marks=slow, id="1 worker"),
        pytest.param(["--data.num_workers", "2"], marks=slow, id="2 workers"),
        pytest.param(TWO, marks=slow, id="2 ranks"),
        pytest.param([*TWO, "--data.num_workers", "1"], id="2 ranks with a worker each"),
    ],
)
def test_workers_and_ranks_change_nothing(place, alone, options):
    fit(place, *QUIET, *options)
    assert batches(place) == batches(alone) and len(batches(alone)) == 12
    assert_same_losses(alone, place)
    counts = [int(line) for line in (place.path / "collectives_0.txt").read_text().split()]
    ranks = len(list(place.path.glob("collectives_*.txt")))
    steps = [after - before for before, after in pairwise(counts)]
    # After batches 5 and 10 there is a validation, whose checkpoint the next batch begins with.
    assert [number for batch, number in enumerate(steps, start=1) if batch not in (5, 6, 10, 11)] == [ranks - 1] * 7


@slow
def test_two_ranks_may_go_on_as_one(place, alone):
    fit(place, *QUIET, *TWO)
    # As if the two ranks had been killed after 10 steps.
    for path in place.folder().glob("step_12.ckpt*"):
        path.unlink()
    for path in place.path.glob("witness_*.txt"):
        lines = [line for line in path.read_text().splitlines() if int(line.split()[0]) < 10]
        path.write_text("".join(f"{line}\n" for line in lines))
    assert "resuming run after 10 steps" in fit(place, *QUIET)
    assert batches(place) == batches(alone)
    assert_same_losses(alone, place)


@slow
def test_two_ranks_hand_their_states_on_to_one(place, twin):
    same = [*QUIET, "--model.first_state", "same"]
    fit(twin, *same)
    fit(place, *same, *TWO)
    for path in place.folder().glob("step_12.ckpt*"):
        path.unlink()
    assert "resuming run after 6 steps" in fit(place, *same)
    assert_same_losses(twin, place)


@slow
def test_accumulation_and_the_interval_of_validations_leave_the_samples_alone(place, alone):
    accumulated = ["--trainer.accumulate_grad_batches", "3", "--trainer.max_steps", "4"]
    fit(place, *QUIET, *accumulated, "--trainer.val_check_interval", "6")
    assert batches(place) == batches(alone)


@pytest.mark.parametrize("command", [pytest.param("validate", marks=slow), "test"])
def test_two_ranks_score_what_one_scores(place, command):
    """Seven samples, four at a time: the ranks have different numbers of rows, and of batches."""
    (place.path / "scored.py").write_text(SCORED)
    for options in ([], TWO):
        process = place.start(command, *SEARCHING, *options)
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err[-3000:]
    one, two = (json.loads((place.path / f"scored_{ranks}.json").read_text()) for ranks in (1, 2))
    split = {"validate": "val", "test": "test"}[command]
    assert one[f"{split}/searches"] > 0 and 0 < one[f"{split}/closed_loop_accuracy"] < 1
    assert {f"{split}/size_4/searches", f"{split}/size_8/undecided"} < one.keys()
    assert two == pytest.approx(one, rel=1e-6)  # sums of 32 bits, in another order


@slow
def test_a_nan_on_two_ranks_ends_both(place):
    broken = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba}, {class_path: noise.Broken}]}]"
    assert "not finite in step 26" in place.fit(*TWO, "--model.stages", broken, "--trainer.max_steps", "30", status=3)


@slow
def test_sigterm_ends_a_test_at_once(place, alone, tiny):
    long = ["--data.test_samples", "100000", "--run_dir", str(alone.path / "run"), "--ckpt_path", "last"]
    process = place.start("test", *tiny, *STEPS, *QUIET, *long)
    time.sleep(12)  # imports, and then a test of minutes
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("rank", [pytest.param(0, marks=slow), 1])
def test_a_killed_rank_ends_the_others(place, tiny, rank):
    process = place.start(
        "fit", *tiny, *TWO, "--run_dir", "run", "--trainer.max_steps", "100000", "--last_checkpoint.every_n_steps", "5"
    )
    while not place.steps():
        assert process.poll() is None
        time.sleep(0.02)
    (child,) = children(process)
    os.kill([process.pid, child][rank], signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    deadline = time.monotonic() + 60
    while is_running(child):
        assert time.monotonic() < deadline, "a rank goes on alone"
        time.sleep(0.02)


@slow
def test_a_time_limit_stops_all_ranks_and_the_same_command_goes_on(place):
    """Each batch takes a second of the limit on rank 0, whose clock decides."""
    (place.path / "limit.py").write_text(LIMIT)
    limited = [*TWO, "--trainer.callbacks", "[{class_path: limit.Limit}]", "--trainer.max_steps", "9"]
    for steps in (4, 8):
        said = place.fit(*limited, "--trainer.val_check_interval", "3")
        assert f"stopped by the time limit after {steps} steps" in said and f"validation after {steps} steps" in said
    said = place.fit(*limited, "--trainer.val_check_interval", "3")
    assert "validation after 9 steps" in said and place.checkpoint("step_9")["is_finished"]
