"""Layers that each break one rule of a mixer, and a right one that they are made from."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_retrieval.mixers import balance_loss


class Average(nn.Module):
    """A right one: an exponential moving average of the tokens."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(hidden_size, hidden_size)
        self.decay = nn.Parameter(torch.full((hidden_size,), 2.0))

    def forward(self, x: Tensor, state: Any = None) -> Any:
        u, outputs = self.in_proj(x), []
        h = torch.zeros_like(u[:, 0]) if state is None else state
        for step in u.unbind(1):
            h = self.decay.sigmoid() * h + step
            outputs.append(h)
        return torch.stack(outputs, 1), h

    def state_size(self, length: int) -> int:
        return len(self.decay)


class NoIndex(Average):
    """It does not take layer_idx."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 0)


class OtherNames(Average):
    """Its arguments have other names."""

    def __init__(self, dim: int, layer_idx: int = 0) -> None:
        super().__init__(dim, layer_idx)


class Raising(Average):
    """Its constructor fails."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        raise KeyError("no such key")


class NoModule:
    """It is no nn.Module."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        self.hidden_size = hidden_size


class Empty(Average):
    """It has weights without numbers."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.gate = nn.Parameter(torch.zeros(hidden_size, 0))


class NoState(Average):
    """It returns the outputs alone."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x, state)[0]


class Failing(Average):
    """Its forward fails."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x @ x, state)


class Wide(Average):
    """Its outputs are wider than its inputs."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return torch.cat([y, y], -1), h


class Squeezed(Average):
    """It loses the dimension of a batch of one."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y.squeeze(0), h


class Float64(Average):
    """Its outputs are float64 whatever its inputs are."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y.to(torch.float64 if x.dtype == torch.float32 else torch.float32), h


class DictState(Average):
    """Its state is a dict."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, None if state is None else state["h"])
        return y, {"h": h}


class BatchSecond(Average):
    """Its state has the batch second, as that of nn.GRU."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, None if state is None else state[0])
        return y, h[None]


class NoSize(nn.Module):
    """It has no state_size."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__()
        self.inner = Average(hidden_size, layer_idx)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.inner(x, state)


class NoneState(Average):
    """It needs no state and returns None, but its state_size is that of one."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return self.in_proj(x) * self.decay, None


class WrongSize(Average):
    """Its state_size counts one element too many."""

    def state_size(self, length: int) -> int:
        return super().state_size(length) + 1


class Noisy(Average):
    """It draws random numbers in evaluation mode."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y + 0.1 * torch.randn_like(y), h


class InPlace(Average):
    """It changes its inputs in place."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        with torch.no_grad():
            x.mul_(0.5)
        return super().forward(x, state)


class Foreseeing(Average):
    """Each token sees those after it, since it is normed over time."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y - y.mean(1, keepdim=True), h


class Forgetful(Average):
    """It ignores the state that it is given."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x, None)


class Late(Average):
    """The state that it returns is that before the last token."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return (y, h) if x.shape[1] == 1 else (y, y[:, -2])


class WrongLater(Average):
    """Its state_size is right for short sequences only."""

    def state_size(self, length: int) -> int:
        return super().state_size(length) + (length > 100)


class Hidden(Average):
    """Each token sees those after it, but nothing shows before the last projection has left zero."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.zeros_(self.out_proj.weight)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return self.out_proj(y - y.mean(1, keepdim=True)), h


class MiddleLengths(Average):
    """It forgets all in calls of 24 to 60 tokens."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x, None if 24 <= x.shape[1] <= 60 else state)


class Remembering(Average):
    """It counts the tokens of the sequence in the module, not in the state."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        self.first = 0 if state is None else self.first + self.length
        self.length = x.shape[1]
        y, h = super().forward(x, state)
        return y * torch.arange(1 + self.first, 1 + self.first + self.length)[:, None].to(x), h


class Warming(Average):
    """In training it changes a buffer that is not saved."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones(hidden_size), persistent=False)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if self.training:
            self.scale = 0.9 * self.scale
        y, h = super().forward(x, state)
        return y * self.scale, h


class Tabled(Average):
    """It keeps a table that is made when it is first needed, maybe while it decodes."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.table = torch.ones(0)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if len(self.table) < x.shape[1] or self.table.dtype != x.dtype:
            self.table = torch.full((x.shape[1], 1), 2.0).to(x)
        y, h = super().forward(x, state)
        return y * self.table[: x.shape[1]], h


class Restarting(Average):
    """It forgets all at each eighth token of a call."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        outputs = []
        for piece in x.split(8, 1):  # type: ignore[no-untyped-call]
            y, state = super().forward(piece, state if not outputs else None)
            outputs.append(y)
        return torch.cat(outputs, 1), state


class OneStep(Average):
    """Its branch for single tokens is another formula."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return (y, h) if x.shape[1] > 1 or state is None else (1.1 * y, h)


class Crowded(Average):
    """Rows change each other, as in a batch norm."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y - y.mean(0, keepdim=True), h


class Detached(Average):
    """No gradient flows through its state."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y, h.detach()


class Unused(Average):
    """One of its parameters has no effect."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.gate = nn.Parameter(torch.randn(hidden_size))


class Float32(Average):
    """Its outputs are float32 whatever its inputs are."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return (y.float() if x.dtype == torch.bfloat16 else y), h


class Uncopied(Average):
    """A copy of it is another layer."""

    def __deepcopy__(self, memo: Any) -> nn.Module:
        return Average(len(self.decay), 0)


class Unsaved(Average):
    """A random tensor that it uses is not in its state_dict."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.features = torch.randn(hidden_size)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return y * self.features.to(x), h


class LateWeights(Average):
    """It creates a weight in its first forward."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if not hasattr(self, "extra"):
            self.extra = nn.Parameter(torch.ones_like(self.decay))
        y, h = super().forward(x, state)
        return y * self.extra, h


class Unseeded(Average):
    """Its first weights are drawn by a generator that no seed reaches."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        drawn = np.random.default_rng().standard_normal((hidden_size, hidden_size))
        self.in_proj.weight.data.copy_(torch.from_numpy(drawn) / 8)


class Parallel(Average):
    """In training mode all tokens are computed together, with another decay."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        if not self.training:
            return super().forward(x, state)
        y = self.in_proj(x).cumsum(1)
        return y, y[:, -1]


class DroppedParallel(Parallel):
    """The same with a dropout."""

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor, state: Any = None) -> Any:
        y, h = super().forward(x, state)
        return self.dropout(y), h


class Balanced(Average):
    """A right one: a router weighs two averages, and has an auxiliary loss that balances them."""

    has_auxiliary_loss = True

    def __init__(self, hidden_size: int, layer_idx: int) -> None:
        super().__init__(hidden_size, layer_idx)
        self.router = nn.Linear(hidden_size, 2)

    def forward(self, x: Tensor, state: Any = None, is_token: Tensor | None = None) -> Any:
        logits = self.router(x)
        y, h = super().forward(x, state)
        y = y * logits.sigmoid().mean(-1, keepdim=True)
        return (y, h) if is_token is None else (y, h, self.loss(logits, is_token))

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return balance_loss(logits, 1, is_token)


class Undeclared(Balanced):
    """It does not say that it has an auxiliary loss."""

    has_auxiliary_loss = False


class LossByToken(Balanced):
    """Its auxiliary loss is one number for each token."""

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return logits.square().mean(-1)


class DetachedLoss(Balanced):
    """Its auxiliary loss has no gradient."""

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return super().loss(logits, is_token).detach()


class IdleLoss(Balanced):
    """Its auxiliary loss does not depend on its weights."""

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return 0 * logits.sum() + 1


class OtherInTraining(Balanced):
    """Its outputs are others where the auxiliary loss is asked for."""

    def forward(self, x: Tensor, state: Any = None, is_token: Tensor | None = None) -> Any:
        y, *others = super().forward(x, state, is_token)
        return (y if is_token is None else 2 * y, *others)


class PaddedLoss(Balanced):
    """Its auxiliary loss counts padding."""

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return logits.square().mean()


class FirstRow(Balanced):
    """Its auxiliary loss is that of the first row."""

    def loss(self, logits: Tensor, is_token: Tensor) -> Any:
        return super().loss(logits[:1], is_token[:1])


# The rule that each breaks, and a part of its line.
BROKEN: dict[Any, tuple[str, str]] = {
    NoIndex: ("built", "unexpected keyword argument 'layer_idx'"),
    Raising: ("built", "KeyError: 'no such key' (broken_layers.py:"),
    NoModule: ("built", "must make an nn.Module, got a NoModule"),
    Empty: ("built", "must have numbers in each parameter, got gate of shape (16, 0)"),
    NoState: ("result", "forward must return a tuple (y, state), got Tensor; write `return y, state`"),
    Failing: ("result", "it raised RuntimeError: "),
    Wide: ("shape", "got (3, 7, 32) float32"),
    Squeezed: ("shape", "got (7, 16) float32"),
    Float64: ("shape", "outputs must have the dtype of the input"),
    DictState: ("state", "got a dict; write a NamedTuple"),
    BatchSecond: ("state", "must have the batch first, got (1, 2, 16) for a batch of 2"),
    NoSize: ("state_size", "a mixer must have state_size(self, length)"),
    WrongSize: ("state_size", "state_size(1) must be 16"),
    NoneState: ("state_size", "forward must return the state: state_size(1) says 16 elements, got 0"),
    WrongLater: ("state_size", "state_size(130) must be 16"),
    Noisy: ("deterministic", "draw nothing in forward then"),
    InPlace: ("deterministic", "forward must not change its input in place; write `x = x * 0.5`"),
    Foreseeing: ("causal", "outputs before token 1 must not depend on it"),
    Forgetful: ("reads its state", "start from `state` where it is given"),
    Late: ("in pieces", "3 + 4 tokens must give what 7 in one call do"),
    Hidden: ("causal", "outputs before token 1 must not depend on it"),
    Restarting: ("in long pieces", "62 + 68 tokens must give what 130 in one call do"),
    MiddleLengths: ("in random pieces", "in one call do"),
    Remembering: ("in turns", "a sequence must go on as before after another one was read"),
    OneStep: ("token by token", "7 tokens one by one must give what 7 in one call do"),
    Parallel: ("training mode", "training mode must give what evaluation mode does"),
    DroppedParallel: ("training mode", "training mode must give what evaluation mode does"),
    Crowded: ("rows", "a row must not depend on the other rows"),
    Undeclared: ("auxiliary loss", "set has_auxiliary_loss = True in the class"),
    LossByToken: ("auxiliary loss", "with a finite loss of shape () that has a gradient, got (2, 9)"),
    DetachedLoss: ("auxiliary loss", "with a finite loss of shape () that has a gradient, got ()"),
    IdleLoss: ("auxiliary loss", "must have a finite gradient that is not zero, got norm 0.0e+00"),
    OtherInTraining: ("auxiliary loss", "is_token must not change the outputs"),
    PaddedLoss: ("auxiliary loss: rows", "must leave out padding"),
    FirstRow: ("auxiliary loss: rows", "must not depend on the order of the rows"),
    Detached: ("gradient: state", "don't detach it"),
    Unused: ("gradient: weights", "gate must have a finite gradient that is not zero, got norm 0.0e+00"),
    Float32: ("bfloat16", "end forward with .to(x.dtype)"),
    Uncopied: ("deepcopy", "keep all that forward uses in the module"),
    Unsaved: ("state_dict", "register what forward uses as a parameter or a buffer"),
    LateWeights: ("state_dict", "got extra; create all parameters in __init__"),
    Unseeded: ("seed", "must depend only on the random seed"),
    Warming: ("state_dict", "register what forward uses as a parameter or a buffer"),
    Tabled: ("inference mode", "make what it keeps for later calls, such as a table, in __init__"),
}
