"""Layout of `--help`: our keys come before those of Lightning's Trainer, and sentences are complete."""

import re
from argparse import Action

from lightning.pytorch import Trainer

COMMANDS = {
    "fit": "Train a model, or resume its training.",
    "validate": "Score a model on the validation samples.",
    "test": "Score a model on the test samples, which training never uses.",
    "predict": "Print what a model writes.",
}
_TRAINER = "Keys of Lightning's Trainer"
_START = "Checkpoint of another run to start from; a run resumes from its newest one by itself."
_LOADED = "Checkpoint to load: best, last or the path of a .ckpt file; an untrained model if absent."
_HELP = {
    "config": "YAML file with any of the keys below, or the name of one in configs; a later one changes earlier ones.",
    "seed_everything": "Random seed of the weights and of dropout, 0 to 4294967295.",
}


def title_of_group(title: str | None, command: str) -> str | None:
    """The heading of a group of keys of `command`, in place of the first line of Lightning's docstring."""
    if title and title.startswith("Customize every aspect"):
        return _TRAINER
    method = getattr(Trainer, command, None)
    return "Checkpoint" if title and title in (method.__doc__ or "") else title


def is_ours(title: str | None) -> bool:
    """Whether the keys under this heading are ours, not the Trainer's."""
    return title != _TRAINER


def rewrite(action: Action, command: str) -> None:
    """Replace the help of a key where Lightning's does not apply here, or is too long."""
    if action.dest in _HELP:
        action.help = _HELP[action.dest]
    elif action.dest == "ckpt_path":
        action.help = _START if command == "fit" else _LOADED
    elif action.dest.startswith("checkpoint.") and action.help:
        action.help = first_sentence(action.help)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    text = " ".join(text.split())
    found = re.match(r"(.+?)(?:\.(?=\s+[A-Z`.])|::?(?=\s+[A-Z`.>])|\.?$)", text)
    return f"{found[1]}." if found else text
