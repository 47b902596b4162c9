"""Imports and loads everything once in the server from which commands are forked; see `commands.start_warm`."""

import importlib
import signal

import numpy as np

from lit_retrieval.cli import read_configuration
from lit_retrieval.ops import fla_cpu
from lit_retrieval.tasks import Index
from lit_retrieval.training.preemption import SIGNALS

# A signal to all processes of a sweep, such as from `timeout`, must not end this server, because its commands would end
# with it before they save. Each command unblocks the signals again.
signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
for module in ("fla.layers", "torch.utils.tensorboard", "tensorboard.backend.event_processing.event_accumulator"):
    importlib.import_module(module)
fla_cpu.install()
# Build a parser, which reads the docstrings, and load Numba's registries; torch operations may start threads.
read_configuration(["fit", "--config", "quickstart"])
Index(max_size=4).sample(0, np.arange(2), np.full(2, 4), "vanilla")
