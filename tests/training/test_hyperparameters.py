from types import SimpleNamespace

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from lit_retrieval.training import Hyperparameters

CONFIGURATION = """
seed_everything: 3
model: {hidden_size: 8, embedding: learned}
data: {sizes: [4, 8], seed: 1}
trainer: {max_steps: 5}
checkpoint: {monitor: val/loss, mode: min}
run_dir: run
"""


@pytest.fixture
def written(tmp_path):
    """What is in the run's TensorBoard file when training has begun, and when it has ended."""
    (tmp_path / "config.yaml").write_text(CONFIGURATION)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    trainer = SimpleNamespace(default_root_dir=str(tmp_path), loggers=[logger], logger=logger, is_global_zero=True)
    found, callback = [], Hyperparameters()
    for hook in (callback.on_train_start, callback.on_train_end):
        hook(trainer, None)
        logger.experiment.flush()
        content = EventAccumulator(str(tmp_path)).Reload().PluginTagToContent("hparams")
        found.append({tag: plugin_data_pb2.HParamsPluginData.FromString(one) for tag, one in content.items()})
    return found


def test_a_run_has_what_its_result_depends_on(written):
    values = written[0]["_hparams_/session_start_info"].session_start_info.hparams
    assert values["model.hidden_size"].number_value == 8 and values["seed_everything"].number_value == 3
    assert values["model.embedding"].string_value == "learned" and values["data.sizes.1"].number_value == 8
    assert not [key for key in values if key.startswith(("checkpoint", "run_dir"))]


def test_the_columns_are_the_scores_by_the_names_that_are_logged(written):
    columns = written[0]["_hparams_/experiment"].experiment.metric_infos
    assert {"val/closed_loop_accuracy", "val/loss"} <= {column.name.tag for column in columns}


def test_a_run_that_has_ended_says_so(written):
    before, after = written
    assert "_hparams_/session_end_info" not in before
    assert after["_hparams_/session_end_info"].session_end_info.status == api_pb2.STATUS_SUCCESS
