"""The curriculum in real runs of models too small to learn, whose accuracy the tests decide."""

from types import SimpleNamespace

import pytest
import torch

from lit_retrieval.cli import main
from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import IsTree
from lit_retrieval.training import Curriculum
from lit_retrieval.training.curriculum import _LEAD


class Run:
    """A trainer of which a curriculum sees what it needs."""

    def __init__(self, curriculum, **arguments):
        self.curriculum = curriculum
        self.datamodule = TranscriptData(IsTree(16), "vanilla", batch_size=4, **arguments)
        self.datamodule.trainer = self
        self.sanity_checking, self.state = False, SimpleNamespace(fn="fit")
        self.progress = SimpleNamespace(processed=0)
        self.fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=self.progress)))
        self.callback_metrics, self.limit_val_batches = {}, 1.0
        curriculum.on_fit_start(self, None)

    def validate(self, batch, **accuracies):
        self.progress.processed = batch
        self.callback_metrics = {
            f"val/{group}/closed_loop_accuracy": torch.tensor(accuracy) for group, accuracy in accuracies.items()
        }
        self.curriculum.on_validation_end(self, None)
        return self.datamodule.first_samples.tolist()


NEVER = 2**62


def test_a_fixed_set_of_samples_is_refused():
    with pytest.raises(UserError, match=r"sizes of a fixed set; leave out data\.train_samples or Curriculum"):
        Run(Curriculum(0.9), sizes=[4, 8], train_samples=10)


def test_a_size_is_added_when_the_one_before_it_has_been_learned():
    run = Run(Curriculum(0.9), sizes=[4, 8, 16])
    assert run.datamodule.first_samples.tolist() == [0, NEVER, NEVER]
    assert run.validate(10, size_4=0.89, size_8=0.5, size_16=0.5) == [0, NEVER, NEVER]
    begun = 4 * (20 + _LEAD)
    assert run.validate(20, size_4=0.9, size_8=0.95, size_16=0.5) == [0, begun, NEVER]
    assert run.validate(30, size_4=1.0, size_8=0.95, size_16=0.5) == [0, begun, NEVER], "size 8 has not begun"
    assert run.validate(20 + _LEAD, size_4=0.5, size_8=0.95, size_16=0.5) == [0, begun, 4 * (20 + 2 * _LEAD)]


def test_the_largest_size_is_logged_alike_on_all_ranks_whatever_their_rows_have():
    run, logged = Run(Curriculum(0.9), sizes=[4, 8, 16]), []
    module = SimpleNamespace(log=lambda name, value: logged.append((name, value)))
    run.validate(20, size_4=0.9)
    small = SimpleNamespace(sizes=torch.tensor([4, 4]))
    for batches in (20 + _LEAD, 21 + _LEAD):
        run.progress.processed = batches
        run.curriculum.on_train_batch_end(run, module, None, small, batches - 1)
    assert logged == [("train/largest_size", 4.0), ("train/largest_size", 8.0)]


def test_a_checkpoint_keeps_what_has_been_reached():
    run = Run(Curriculum(0.9), sizes=[4, 8, 16])
    reached = run.validate(20, size_4=0.9)
    resumed = Curriculum(0.9)
    resumed.load_state_dict(run.curriculum.state_dict())
    assert Run(resumed, sizes=[4, 8, 16]).datamodule.first_samples.tolist() == reached
    late = Run(Curriculum(0.9), sizes=[4, 8, 16])
    late.curriculum.load_state_dict(run.curriculum.state_dict())  # with FSDP it follows on_fit_start
    assert late.datamodule.first_samples.tolist() == reached


def test_sizes_that_another_run_has_not_reached_begin_with_the_smallest():
    run = Run(Curriculum(0.9), sizes=[4, 8, 16])
    run.validate(20, size_4=0.9)
    reached = run.curriculum.state_dict()["first_samples"][8]
    for sizes, begun in (([12, 16], [0, NEVER]), ([8, 12], [reached, NEVER]), ([4, 12], [0, NEVER])):
        resumed = Curriculum(0.9)
        resumed.load_state_dict(run.curriculum.state_dict())
        assert Run(resumed, sizes=sizes).datamodule.first_samples.tolist() == begun


def test_a_single_size_to_validate_has_no_group_of_its_own():
    run = Run(Curriculum(0.9), sizes=[4])
    run.callback_metrics = {"val/closed_loop_accuracy": torch.tensor(1.0)}
    run.curriculum.on_validation_end(run, None)
    assert run.datamodule.first_samples.tolist() == [0]


def test_sizes_that_are_never_scored_are_refused():
    with pytest.raises(UserError, match=r"size 8 is not in data\.eval_sizes; add it"):
        Run(Curriculum(), sizes=[4, 8], eval_sizes=[4, 16])


def test_sizes_that_no_validation_sample_has_are_refused():
    with pytest.raises(UserError, match=r"no validation sample has size \d+; raise data\.val_samples"):
        Run(Curriculum(), sizes="4..16", val_samples=4)


def test_a_validation_without_the_size_says_so_and_one_without_training_does_nothing():
    run = Run(Curriculum(), sizes=[4, 8])
    with pytest.raises(UserError, match=r"no sample of size 4; leave out trainer\.limit_val_batches"):
        run.validate(10)
    run.state.fn, run.curriculum = "validate", Curriculum()
    run.validate(10)


def test_more_workers_than_a_new_size_waits_for_are_refused():
    with pytest.raises(UserError, match=r"Curriculum needs less than 50 data\.num_workers, got 50"):
        Run(Curriculum(), sizes=[4, 8], num_workers=50)


@pytest.mark.parametrize("threshold", [0.0, 1.1])
def test_a_threshold_that_is_no_accuracy_is_refused(threshold):
    with pytest.raises(UserError, match=f"threshold must be above 0 and at most 1, got {threshold}"):
        Curriculum(threshold)


def test_a_run_begins_with_the_smallest_size_and_goes_on_from_its_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lit_retrieval"])
    monkeypatch.setattr("lit_retrieval.training.curriculum._LEAD", 2)
    seen = []
    monkeypatch.setattr(Curriculum, "on_train_batch_end", lambda *hook: seen.append(hook[4].sizes.max().item()))
    (tmp_path / "config.yaml").write_text(
        """
data:
  task: {class_path: lit_retrieval.tasks.IsTree, init_args: {max_size: 8}}
  regime: vanilla
  sizes: [4, 8]
  batch_size: 16
  val_samples: 32
model:
  hidden_size: 16
  learning_rate: 0.1
  warmup_samples: 0
  stages: [{mixers: [{class_path: lit_retrieval.mixers.SwiGLU, init_args: {intermediate_size: 16}}]}]
trainer:
  max_steps: 6
  val_check_interval: 3
  accelerator: cpu
  enable_progress_bar: false
  callbacks: [{class_path: lit_retrieval.training.Curriculum, init_args: {threshold: 0.2}}]
"""
    )
    main(["fit", "--config", "config.yaml"])
    assert seen == [4, 4, 4, 4, 4, 8], "learned at 3, and two batches later"
    (checkpoint,) = tmp_path.rglob("step_6.ckpt")
    seen.clear()
    main(["fit", "--config", "config.yaml", "--trainer.max_steps", "8", "--ckpt_path", str(checkpoint)])
    assert seen == [8, 8]
