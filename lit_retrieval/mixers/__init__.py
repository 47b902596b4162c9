"""Layers that map (batch, time, hidden_size) to the same, with a state: attention, Mamba, SwiGLU."""

from lit_retrieval.mixers.attention import Attention, AttentionState
from lit_retrieval.mixers.fla_layer import FlaLayer, FlaState, as_mixer
from lit_retrieval.mixers.mamba import Mamba, MambaState
from lit_retrieval.mixers.mixer import Mixer, MixerFactory, State, select_rows
from lit_retrieval.mixers.swiglu import SwiGLU

__all__ = [
    "Attention", "AttentionState", "FlaLayer", "FlaState", "Mamba", "MambaState", "Mixer", "MixerFactory", "State",
    "SwiGLU", "as_mixer", "select_rows",
]  # fmt: skip
