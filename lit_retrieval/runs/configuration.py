"""The identity of a run: the keys of its configuration that its result depends on."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

# Keys for where a run runs, what it shows and what follows training. Any other key, also a new one, is part of the
# run's identity: two runs in one folder would be worse than one run in two.
_OF_THE_MACHINE = {
    "config", "run_dir", "fresh", "prefer", "verbose", "weights_only", "return_predictions", "last_checkpoint",
    "inspection", "gpu.autotune", "gpu.graphs", "model.recompute",
    "checkpoint.dirpath", "checkpoint.verbose",
    "data.num_workers", "data.eval_batch_size", "data.train_file", "data.val_file",  # data.file_sha256 stands for them
    "data.test_samples", "data.test_file", "data.suite", "data.predict_samples",
    "trainer.accelerator", "trainer.strategy", "trainer.devices", "trainer.num_nodes", "trainer.logger",
    "trainer.fast_dev_run", "trainer.max_time", "trainer.limit_test_batches", "trainer.limit_predict_batches",
    "trainer.num_sanity_val_steps", "trainer.log_every_n_steps", "trainer.enable_checkpointing",
    "trainer.enable_progress_bar", "trainer.enable_model_summary", "trainer.deterministic", "trainer.benchmark",
    "trainer.inference_mode", "trainer.use_distributed_sampler", "trainer.profiler", "trainer.detect_anomaly",
    "trainer.barebones", "trainer.plugins", "trainer.sync_batchnorm", "trainer.default_root_dir",
    "trainer.enable_autolog_hparams", "trainer.model_registry",
}  # fmt: skip


def effective(configuration: dict[str, Any]) -> dict[str, Any]:
    """The keys of a configuration that its result depends on, flat: `{"data.sizes.0": 8, ...}`.

    Null keys are left out, so that a new, unused option does not change the run.
    """
    return dict(_flatten(configuration, ""))


def run_hash(configuration: dict[str, Any]) -> str:
    """A hash of eight letters, the same for configurations of the same run."""
    text = json.dumps(effective(configuration), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """The keys in which two configurations differ, such as `data.sizes.0 is 8 there and 16 here`."""
    there, here = effective(there), effective(here)
    keys = [key for key in sorted({*there, *here}) if there.get(key) != here.get(key)]
    return [f"{key} is {there.get(key, 'not set')} there and {here.get(key, 'not set')} here" for key in keys]


def _flatten(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if key in _OF_THE_MACHINE or value is None:
        return
    if not isinstance(value, dict | list):
        yield key, value
    elif not value:
        yield key, str(value)
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in children:
        yield from _flatten(child, f"{key}.{name}" if key else str(name))
