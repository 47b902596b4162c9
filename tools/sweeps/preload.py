"""What a process imports and loads once, before commands are forked from it; see `commands.start_warm`."""

import importlib
import signal

import numpy as np

from lit_retrieval.cli import read_configuration
from lit_retrieval.ops import fla_cpu
from lit_retrieval.tasks import Index
from lit_retrieval.training.preemption import SIGNALS

# A signal to all processes of a sweep, as from `timeout`, must not end this one: its commands would end with it before
# they save. Each of them lets the signals through again.
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
for module in ("fla.layers", "torch.utils.tensorboard", "tensorboard.backend.event_processing.event_accumulator"):
    importlib.import_module(module)
fla_cpu.install()
# A parser that has read the docstrings, and Numba with its registries; no operation of torch, which may start threads.
read_configuration(["fit", "--config", "quickstart"])
Index(max_size=4).sample(0, np.arange(2), np.full(2, 4), "vanilla")
