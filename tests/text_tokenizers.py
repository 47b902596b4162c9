"""Tokenizers that are trained in a test, and folders of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lit_retrieval.tasks.text import Friends, Phonebook


def sentences(size: int = 6, samples: int = 40) -> list[str]:
    """Texts of the tasks, prompts and replies of all regimes; they need no tokenizer."""
    texts = []
    for task in (Friends, Phonebook):
        one: Any = task.__new__(task)
        for regime in ("vanilla", "cot", "retrieval"):
            dialogues = (one.dialogue(1, index, size, regime) for index in range(samples))
            texts += [text for dialogue in dialogues for text in (dialogue.prompt, dialogue.reply)]
    return texts


def byte_level(texts: Iterable[str], size: int = 400, splits: bool = True, first: str = "") -> Any:
    """A byte-level BPE, as in GPT-2; without `splits` its tokens may reach over words, lines and search marks.

    Args:
        texts: What it is trained on.
        size: Number of tokens, 256 or more.
        splits: Whether it reads word by word.
        first: A token that it puts before a text.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splits)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", *([first] if first else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=special,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    if first:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return tokenizer


def save(tokenizer: Any, folder: Path) -> Path:
    """A folder with a tokenizer, as a pretrained model has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
