"""Tokenizers that are trained in a test, and folders of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lit_retrieval.tasks import REGIMES
from lit_retrieval.tasks.text import Friends, Phonebook

END = "<|end|>"  # a token that ends a text


def sentences(size: int = 6, samples: int = 40) -> list[str]:
    """Texts of the tasks, prompts and replies of all regimes; they need no tokenizer."""
    texts = []
    for task in (Friends, Phonebook):
        for regime in REGIMES:
            dialogues = (task(Path()).dialogue(1, index, size, regime) for index in range(samples))
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
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=splits)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=[END, *([first] if first else [])],
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return _begin_with(tokenizer, first)


def with_spaces(texts: Iterable[str], size: int = 400, prefix: bool = False, first: str = "") -> Any:
    """A BPE of characters with `▁` for a space and bytes for rare ones, as in Gemma; with `prefix` as in Llama."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers

    tokenizer: Any = Tokenizer(models.BPE(byte_fallback=True))
    space = [normalizers.Prepend("▁")] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    special = [END, *([first] if first else []), *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=special)
    )
    return _begin_with(tokenizer, first)


def unigram(texts: Iterable[str], prefix: str) -> Any:
    """A unigram model with `▁` for a space, as sentencepiece makes it: put before a text `always` or `never`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    scheme: Any = prefix
    tokenizer: Any = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme, split=False)
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=400, show_progress=False, unk_token="<unk>", special_tokens=[END, "<unk>"],
        initial_alphabet=[*letters, "\n"],
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def word_pieces(texts: Iterable[str]) -> Any:
    """Word pieces, as in BERT: spaces are not tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer: Any = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, show_progress=False, special_tokens=[END, "[UNK]"])
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def save(tokenizer: Any, folder: Path) -> Path:
    """A folder with a tokenizer, and its END as the token that ends a text, as a pretrained model has it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(f'{{"eos_token": "{END}"}}')
    return folder


def _begin_with(tokenizer: Any, first: str) -> Any:
    """The tokenizer with a token that it puts before a text, if there is one."""
    from tokenizers import processors

    if first:
        special = [(first, tokenizer.token_to_id(first))]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A", special_tokens=special)
    return tokenizer
