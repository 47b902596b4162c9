"""The blocks of a model, each compiled by `torch.compile`; equal blocks share their code."""

import torch
from torch import Tensor, nn

from lit_retrieval.errors import UserError, one_line
from lit_retrieval.mixers import TTT, FlaLayer, LinearRNN, Mamba, State, Titans
from lit_retrieval.models.block import Block, Output, run_block

FIX = "leave out model.compile"
_MOST_KINDS = 64  # graphs per function; PyTorch's default is 8, but a model may have more kinds of blocks


def compile_block() -> Block:
    """`run_block`, compiled by `torch.compile` once for each kind of mixer and of arguments, for any length.

    The modules are arguments, so that weights are inputs of the compiled code and keep their names in checkpoints.
    """
    torch._dynamo.config.recompile_limit = max(_MOST_KINDS, torch._dynamo.config.recompile_limit)
    compiled = torch.compile(run_block, fullgraph=True, dynamic=True)

    def run(mixer: nn.Module, norm: nn.Module, hidden: Tensor, state: State, is_token: Tensor | None) -> Output:
        try:
            return compiled(mixer, norm, hidden, state, is_token)
        except Exception as error:  # PyTorch's errors have no common class
            if not type(error).__module__.startswith("torch._"):
                raise
            reason = one_line(error)[:200]
            raise UserError(f"model.compile can't compile {type(mixer).__name__}: {reason}; {FIX}") from error

    return run


def check_mixers(mixers: nn.ModuleList, device: torch.device) -> None:
    """Raise `UserError` if a mixer can't be compiled, or compiling would take very long."""
    for module in mixers.modules():
        if isinstance(module, FlaLayer):
            kind = type(module.layer).__name__
            raise UserError(f"model.compile can't compile fla's {kind}, whose kernels are compiled already; {FIX}")
        if isinstance(module, nn.RNNBase):
            raise UserError(f"model.compile can't compile {type(module).__name__}, which is one kernel already; {FIX}")
        if isinstance(module, TTT | Titans):
            kind = type(module).__name__
            raise UserError(f"model.compile would compile {kind} again for each number of chunks; {FIX}")
        if isinstance(module, Mamba | LinearRNN) and device.type == "cpu":
            kind = type(module).__name__
            raise UserError(f"model.compile would unroll the steps of {kind} on a CPU; {FIX}, or train on a GPU")
