"""Any number of workers and ranks sees the same global batches, and learns and scores the same."""

import json
import os
import signal
import socket
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from machines import INTERFACE, two_machines
from warm import children, is_running
from witness import batches, collectives, copy_witness, forget

from lit_retrieval.cli.endings import LOST
from lit_retrieval.errors import PREEMPTED
from lit_retrieval.parsing import USER_ERROR

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
# Rank 1 stops in its eighth batch, while there is a file `stop`.
STOP = """
import time
from pathlib import Path
from lightning.pytorch import Callback

class Stop(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 7 and trainer.global_rank == 1 and Path("stop").exists():
            Path("stop").rename("has_stopped")
            time.sleep(600)
"""
# Rank 1 asks for the end of the run in its fifth step.
ASKED = """
import os, signal
from lightning.pytorch import Callback

class Asked(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 4 and trainer.global_rank == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
"""
TORCHRUN = Path(__file__).parents[2] / "configs/trainer/torchrun.yaml"
# Some ranks find a mistake in their fourth step.
MISTAKEN = """
from lightning.pytorch import Callback
from lit_retrieval.errors import UserError

class Mistaken(Callback):
    def __init__(self, ranks: list[int]) -> None:
        self.ranks = ranks

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3 and trainer.global_rank in self.ranks:
            raise UserError("there is no cake")
"""
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
# Speeds by a clock that counts its readings, in which rank 1 takes more memory; counts the tokens of each batch.
MEASURED = """
from itertools import count
from types import SimpleNamespace
from lightning.pytorch import Callback
from lit_retrieval.training import throughput

class Measured(Callback):
    def setup(self, trainer, pl_module, stage):
        seconds = count()
        throughput.time = SimpleNamespace(perf_counter=lambda: float(next(seconds)))
        throughput.most_memory = lambda device: (1 + trainer.global_rank) * 1e9

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        with open(f"tokens_{trainer.global_rank}.txt", "a") as file:
            print(int(batch.length.sum()), file=file)
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


def fit(place, *arguments, **options):
    copy_witness(place.path)
    return place.fit(*STEPS, "--trainer.callbacks", "[{class_path: witness.Witness}]", *arguments, **options)


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
    assert batches(place.path) == batches(alone.path) and len(batches(alone.path)) == 12
    assert_same_losses(alone, place)


@pytest.mark.parametrize("parts", [pytest.param(1, marks=slow), 2, pytest.param(3, marks=slow)])
def test_a_step_has_one_collective_and_one_more_for_its_gradient(place, parts):
    """Some steps are logged, and in the fifth rank 1 receives a signal, of which both ranks know before the sixth."""
    (place.path / "asked.py").write_text(ASKED)
    said = fit(
        place, *QUIET, *TWO, "--trainer.callbacks+", "asked.Asked", "--trainer.accumulate_grad_batches", str(parts),
        "--trainer.log_every_n_steps", "3", "--trainer.val_check_interval", "60", status=PREEMPTED,
    )  # fmt: skip
    assert "stopped by SIGUSR1 after 5 steps" in said
    for rank in (0, 1):
        found = collectives(place.path, rank)
        # DDP broadcasts twice, once in a run, which gradients were ready first.
        first = (3, 1) if parts == 1 else (2, 0)
        expected = {batch: (1, 1) if (batch + 1) % parts == 0 else (0, 0) for batch in range(5 * parts)}
        assert found == {**expected, parts: first}


@slow
def test_two_ranks_may_go_on_as_one(place, alone):
    fit(place, *QUIET, *TWO)
    # As if the two ranks had been killed after 10 steps.
    for path in place.folder().glob("step_12.ckpt*"):
        path.unlink()
    forget(place.path, 10)
    assert "resuming run after 10 steps" in fit(place, *QUIET)
    assert batches(place.path) == batches(alone.path)
    assert_same_losses(alone, place)


@slow
def test_two_ranks_hand_their_states_on_to_one(place, twin):
    same = [*QUIET, "--model.first_state", "same"]
    fit(twin, *same)
    fit(place, *same, *TWO)
    for path in place.folder().glob("step_12.ckpt*"):
        path.unlink()
    assert "resuming run after 10 steps" in fit(place, *same)
    assert_same_losses(twin, place)


@slow
def test_accumulation_and_the_interval_of_validations_leave_the_samples_alone(place, alone):
    accumulated = ["--trainer.accumulate_grad_batches", "3", "--trainer.max_steps", "4"]
    fit(place, *QUIET, *accumulated, "--trainer.val_check_interval", "6")
    assert batches(place.path) == batches(alone.path)


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


def test_speed_and_memory_are_those_of_all_ranks(place):
    (place.path / "measured.py").write_text(MEASURED)
    place.fit(*STEPS, *TWO, "--trainer.val_check_interval", "60", "--trainer.callbacks", "[measured.Measured]")
    own, other = (list(map(int, (place.path / f"tokens_{rank}.txt").read_text().split())) for rank in (0, 1))
    timed = slice(1, 10)  # from the end of the first step to that of the tenth: a second
    assert sum(own[timed]) != sum(other[timed]) and len(own) == len(other) == 12
    assert place.scalars(timed=True)["train/tokens_per_second"][0] == (9, sum(own[timed]) + sum(other[timed]))
    assert place.scalars(timed=True)["train/memory_gb"][0] == (9, 2.0)


@slow
def test_a_nan_on_two_ranks_ends_both(place):
    broken = "[{mixers: [{class_path: lit_retrieval.mixers.Mamba}, {class_path: noise.Broken}]}]"
    assert "not finite in step 26" in place.fit(*TWO, "--model.stages", broken, "--trainer.max_steps", "30", status=3)


@slow
@pytest.mark.parametrize(("ranks", "status"), [([1], LOST), pytest.param([0, 1], USER_ERROR, marks=slow)])
def test_a_mistake_on_any_rank_is_said_once(place, ranks, status):
    (place.path / "mistaken.py").write_text(MISTAKEN)
    callback = json.dumps([{"class_path": "mistaken.Mistaken", "init_args": {"ranks": ranks}}])
    said = place.fit(*STEPS, *TWO, "--trainer.callbacks", callback, status=status)
    assert said.count("there is no cake") == 1
    assert ("rank 1: error: there is no cake" in said) == (ranks == [1])


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


def start_apart(places, tiny, command, *arguments):
    """Start a command with a rank in each folder, as on two machines that share no files; returns status and errors."""
    of_two = [*tiny, *arguments, "--trainer.strategy", "ddp", "--trainer.num_nodes", "2", "--trainer.devices", "1"]
    with closing(socket.socket()) as free:
        free.bind(("localhost", 0))
        meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    processes = []
    for rank, place in enumerate(places):
        place.environment.update(meeting, NODE_RANK=str(rank))
        processes.append(place.start(command, *of_two, "--run_dir", "run"))
    said = [process.communicate(timeout=100)[1] for process in processes]
    return [process.returncode for process in processes], "".join(said)


@pytest.mark.parametrize("command", ["fit", pytest.param("test", marks=slow)])
def test_ranks_that_find_different_checkpoints_end_in_one_line(place, twin, tiny, command):
    steps = ["--trainer.max_steps", "4", "--trainer.val_check_interval", "2"]
    place.fit(*steps, "--last_checkpoint.every_n_steps", "2")
    (place.folder() / "step_4.ckpt").unlink()
    if command == "test":
        twin.fit(*steps, "--seed_everything", "1", "--last_checkpoint.every_n_steps", "2")
    before = sorted(twin.path.rglob("*.ckpt"))
    last = ["--ckpt_path", "last"] if command == "test" else []
    statuses, said = start_apart((place, twin), tiny, command, *steps, *last)
    assert statuses == [USER_ERROR, USER_ERROR] and "all ranks must start alike, got step_2.ckpt after 2 steps" in said
    assert ("and no checkpoint on rank 1" in said) == (command == "fit") and "Traceback" not in said
    assert sorted(twin.path.rglob("*.ckpt")) == before
    assert not (twin.path / "run/config.yaml").exists() or command == "test"


def start_on(pair, place, *arguments):
    """Start a run with a rank on each machine, as torchrun's page has it."""
    place.environment["GLOO_SOCKET_IFNAME"] = INTERFACE
    of_two = ["--trainer", str(TORCHRUN), "--trainer.num_nodes", "2", "--trainer.devices", "1"]
    processes = []
    for rank, machine in enumerate(pair):
        words = ["--nnodes", "2", "--node_rank", str(rank), "--master_addr", pair[0].address, "--master_port", "29500"]
        launcher = machine.command(sys.executable, "-m", "lit_retrieval.torchrun", "--nproc_per_node", "1", *words)
        processes.append(place.start("fit", *of_two, *arguments, "--run_dir", "run", launcher=launcher))
    return processes


@slow
@pytest.mark.parametrize(("loss", "left"), [("killed", 1), ("unplugged", 2)])
def test_a_run_that_loses_a_machine_resumes_on_one_or_on_two(place, alone, tiny, loss, left):
    copy_witness(place.path)
    (place.path / "stop.py").write_text(STOP)
    (place.path / "stop").touch()
    callbacks = "[{class_path: witness.Witness}, {class_path: stop.Stop}]"
    run = [*STEPS, *QUIET, "--trainer.callbacks", callbacks, "--last_checkpoint.every_n_steps", "2"]
    seconds = "{class_path: lightning.pytorch.strategies.DDPStrategy, init_args: {timeout: 0:00:10}}"
    impatient = ["--trainer.strategy", seconds] if loss == "unplugged" else []
    with two_machines() as pair:
        processes = start_on(pair, place, *tiny, *run, *impatient)
        while not (place.path / "has_stopped").exists():
            assert processes[0].poll() is None, processes[0].communicate()[1][-3000:]
            time.sleep(0.1)
        if loss == "unplugged":
            pair[1].unplug()
        else:
            pair[1].kill()
        out, err = processes[0].communicate(timeout=100)
        assert f"waiting for the processes of 2 nodes at {pair[0].address}:29500" in out
        assert processes[0].returncode == LOST, err[-3000:]
        assert "another process of the run has ended or can't be reached" in err and "Traceback" not in err, err[-3000:]
    assert place.steps()[0] == 6
    forget(place.path, 6)
    if left == 1:
        assert "resuming run after 6 steps" in place.fit(*run)
    else:
        with two_machines() as pair:
            for process in start_on(pair, place, *tiny, *run):
                out, err = process.communicate(timeout=300)
                assert process.returncode == 0, err[-3000:]
    assert batches(place.path) == batches(alone.path)
    assert_same_losses(alone, place)
