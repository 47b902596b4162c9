"""Checks a run's layers and task before its first step, because a broken one would train and give wrong scores."""

from collections.abc import Iterable
from copy import deepcopy
from itertools import chain

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import evaluating
from lit_retrieval.mixers.checks import check_mixer, describe_unused
from lit_retrieval.models import MixerStack, WholeModel, check_length, check_network
from lit_retrieval.tasks.checks import check_task

_SAMPLES = 64  # samples of each size whose lengths are measured
_FEW = 8  # samples of the largest size, whose longest is the length of a check


def check_classes(model: nn.Module, data: TranscriptData, trainer: Trainer) -> None:
    """Raise a one-line `UserError` if a mixer or the task breaks one of the cheap rules of `check`.

    Copies of the mixers run on a few tokens, on the trainer's device and in its precision; weights and global random
    states stay as they are.
    """
    plugin, device = trainer.precision_plugin, trainer.strategy.root_device
    with isolate_rng():
        if not data.draws_from_file:  # samples of a file were written before
            check_task(data.task, data.regime, data.sizes)
        if isinstance(model, MixerStack):
            for mixer in distinct(model.mixers):
                copy = plugin.convert_module(_copy(mixer).to(device))
                with plugin.forward_context(), evaluating(copy):
                    check_mixer(copy, model.embedding.shape[1], _longest(data))
                    warning = describe_unused(copy, model.embedding.shape[1])
                if warning:
                    rank_zero_warn(warning)
        elif isinstance(model, WholeModel) and not getattr(model.network, "is_checked", False):
            network = plugin.convert_module(_copy(model.network).to(device))
            with plugin.forward_context(), evaluating(network):
                check_network(network, model.vocab_size, device)


def _longest(data: TranscriptData) -> int:
    """The tokens of a long training sample."""
    return int(data.some_of_size(max(data.train_values), _FEW).length.max())


def check_places(model: nn.Module, data: TranscriptData) -> None:
    """Raise `UserError` if a sample with the longest allowed reply has more tokens than the model has positions."""
    if getattr(model, "most_places", None) is None:
        return
    for size in {max(data.train_values), max(data.eval_values)}:
        some = data.some_of_size(size, _SAMPLES)
        longest = max(int(some.length.max()), int(some.prompt_length.max()) + data.max_new_tokens)
        check_length(model, longest, f"with data.max_new_tokens at size {size}")


def check_complex(model: nn.Module, trainer: Trainer) -> None:
    """Raise `UserError` for complex numbers under half precision, which would drop their imaginary parts."""
    named = chain(model.named_parameters(), model.named_buffers())
    name = next((name for name, one in named if one.is_complex()), None)
    if name is not None and trainer.precision not in ("32-true", "64-true", "bf16-mixed"):
        raise UserError(
            f"{name} has complex numbers, which {trainer.precision} can't have; set trainer.precision to 32-true"
        )


def distinct(mixers: Iterable[nn.Module]) -> list[nn.Module]:
    """One mixer of each kind; mixers that differ only in weights and index are of one kind."""
    return list({_describe(mixer): mixer for mixer in mixers}.values())


def _copy(mixer: nn.Module) -> nn.Module:
    """A copy of a mixer; the mixer itself if it can't be copied, for example because it holds a non-leaf tensor."""
    try:
        return deepcopy(mixer)
    except Exception:  # `mixers check` has a rule for it; training does not need it
        return mixer


def _describe(mixer: nn.Module) -> tuple[object, ...]:
    """A key of a mixer's kind: its classes, shapes and numbers, without its index."""
    numbers = [
        (type(part), name, value)
        for part in mixer.modules()
        for name, value in vars(part).items()
        if isinstance(value, int | float | str) and name != "layer_idx"
    ]
    return (type(mixer), *numbers, *(parameter.shape for parameter in mixer.parameters()))
