"""A long run takes no more memory, and has no more files open, than a short one."""

import pytest

GAUGE = """
import os
from lightning.pytorch import Callback

class Gauge(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step % EVERY == EVERY - 1:
            with open("/proc/self/statm") as file:
                pages = int(file.read().split()[1])
            with open("gauge.txt", "a") as file:
                print(pages, len(os.listdir("/proc/self/fd")), file=file)
"""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [400, 20_000])
def test_memory_and_open_files_do_not_grow(place, steps):
    every = steps // 20
    (place.path / "gauge.py").write_text(GAUGE.replace("EVERY", str(every)))
    place.fit(
        "--trainer.max_steps", str(steps), "--trainer.val_check_interval", str(every), "--data.num_workers", "1",
        "--trainer.callbacks", "[{class_path: gauge.Gauge}]", "--trainer.log_every_n_steps", "10",
        limit=100 + 0.1 * steps,  # a step takes 0.013 s of a processor, which may have much else to do
    )  # fmt: skip
    measured = [[int(one) for one in line.split()] for line in (place.path / "gauge.txt").read_text().splitlines()]
    pages, files = zip(*measured[4:], strict=True)  # the first validations still make what is kept
    assert len(measured) == 20
    assert max(pages) <= 1.05 * pages[0], pages
    assert max(files) <= files[0] + 2, files
