"""Layers that map (batch, time, hidden_size) to the same, with a state: attention, recurrences, feed-forward layers."""

from lit_retrieval.mixers.attention import Attention, AttentionState, FixedState, WindowState
from lit_retrieval.mixers.auxiliary_loss import balance_loss, has_auxiliary_loss, run_mixer
from lit_retrieval.mixers.canon import Canon
from lit_retrieval.mixers.fla_layer import FlaLayer, FlaState, PastInputs, as_mixer, is_error_of_fla, make_mixer
from lit_retrieval.mixers.gated_rnn import GRU, LSTM, LSTMState
from lit_retrieval.mixers.linear_rnn import LinearRNN
from lit_retrieval.mixers.mamba import Mamba, MambaState
from lit_retrieval.mixers.mixer import (
    Inspectable,
    Mixer,
    MixerFactory,
    State,
    evaluating,
    fix_shapes,
    free_shapes,
    leaves,
    map_tensors,
    select_rows,
    states_are_wanted,
    tensors_of,
    without_states,
)
from lit_retrieval.mixers.parallel import Parallel
from lit_retrieval.mixers.reglu import ReGLU
from lit_retrieval.mixers.sliding_window_attention import SlidingWindowAttention
from lit_retrieval.mixers.swiglu import SwiGLU
from lit_retrieval.mixers.titans import Titans, TitansState
from lit_retrieval.mixers.ttt import TTT, TTTState

__all__ = [
    "GRU", "LSTM", "TTT", "Attention", "AttentionState", "Canon", "FixedState", "FlaLayer", "FlaState", "Inspectable",
    "LSTMState", "LinearRNN", "Mamba", "MambaState", "Mixer", "MixerFactory", "Parallel", "PastInputs", "ReGLU",
    "SlidingWindowAttention", "State", "SwiGLU", "TTTState", "Titans", "TitansState", "WindowState", "as_mixer",
    "balance_loss", "evaluating", "fix_shapes", "free_shapes", "has_auxiliary_loss", "is_error_of_fla", "leaves",
    "make_mixer", "map_tensors", "run_mixer", "select_rows", "states_are_wanted", "tensors_of", "without_states",
]  # fmt: skip
