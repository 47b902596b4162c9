"""The tokens of a pretrained model."""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lit_retrieval.errors import UserError, missing_package
from lit_retrieval.vocabulary import Ids, Vocabulary

# Each is read alone, and all of them again as one text.
_PIECES = (
    "Anna's number is 4821.\nQuestion: who?\n", "<StartSearch>Anna's (\\w+) is<EndSearch>", "Peter\n", "Answer: ",
    " two  spaces", "\n\n", "x",
)  # fmt: skip
_NAME = "tokenizer.json"
_IDENTITY = f"{_NAME} "
_MOST_PENDING = 8  # tokens without text after which a stream goes on; a character in UTF-8 has at most 4 bytes


class Tokens(Vocabulary):
    """The tokens of a pretrained model, where a `Vocabulary` stands: ids are those of its tokenizer.

    Pieces of text are read one by one, so the tokenizer must not change a piece or put anything between two of them:
    `text(read(a) + read(b)) == a + b`. Raises `UserError` for another one, and without a tokenizer.

    Args:
        folder: The folder of a pretrained model, with its `tokenizer.json`.

    Attributes:
        folder: The folder.
        sha256: Of `tokenizer.json`.
        ends: Ids of the tokens that end a text, by `generation_config.json`, `config.json` and `tokenizer_config.json`.
        first: Ids of the tokens that the tokenizer puts before a text, `(tokens,)`.
        prefix: Id of the token before a text that is scored alone: that which begins a text by `tokenizer_config.json`,
            or the last of `first`, or one of `ends`, or 0.
    """

    separator = ""
    is_text = True

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        path = self.folder / _NAME
        self.sha256, self._tokenizer = tokenizer_sha256(self.folder), _load(path)
        size = 1 + max(self._tokenizer.get_vocab().values(), default=-1)
        self.words = tuple(self._tokenizer.id_to_token(token) or "" for token in range(size))
        self._ids = {word: token for token, word in enumerate(self.words)}
        self.first = self._first()
        self.ends = frozenset(self._ends(Path(folder)))
        begins = self._named(Path(folder), "bos_token")
        self.prefix = next(iter([*begins, *self.first[::-1].tolist(), *sorted(self.ends), 0]))
        text = self.text(np.concatenate([self.read(piece) for piece in _PIECES]))
        if text != (whole := "".join(_PIECES)):
            at = next(at for at, pair in enumerate(zip(text + "\0", whole + "\0", strict=False)) if len(set(pair)) > 1)
            raise UserError(
                f"the tokenizer of {path} must give back the text that it has read in pieces, got "
                f"{text[max(0, at - 8) : at + 8]!r} for {whole[max(0, at - 8) : at + 8]!r}; take a model with another "
                "tokenizer, such as one of bytes"
            )

    @property
    def identity(self) -> tuple[str, ...]:
        """What hashes and manifests of samples have of it: the sha256 of `tokenizer.json`."""
        return (f"{_IDENTITY}{self.sha256}",)

    @cached_property
    def numbers(self) -> Ids:
        """No token is a numeral of the short form: -1, `(vocab_size,)`."""
        return np.full(len(self), -1, np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The text of each token, empty for one whose last character goes on in the next; joined, the whole text."""
        stream = self.stream()
        pieces = [stream.take(token) for token in ids]
        if pieces:
            pieces[-1] += stream.rest()
        return pieces

    def text(self, ids: Iterable[int]) -> str:
        """The text of these ids."""
        return str(self._tokenizer.decode([int(token) for token in ids], skip_special_tokens=False))

    def read(self, text: str) -> Ids:
        """The ids of a text, `(time,)`; nothing is put before or after it."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def read_prompt(self, text: str) -> Ids:
        """The ids of a text that begins a conversation, `(time,)`: the tokenizer's `first`, and those of the text.

        A text that has them written out has them once.
        """
        ids = self.read(text)
        return ids if self._begins(ids) else np.concatenate([self.first, ids])

    def text_of_prompt(self, ids: Ids) -> str:
        """The text that `read_prompt` has read, from its ids, `(time,)`."""
        return self.text(ids[len(self.first) if self._begins(ids) else 0 :])

    def stream(self) -> "TextStream":
        """A reader of tokens that come one at a time."""
        return TextStream(self._tokenizer)

    def _begins(self, ids: Ids) -> bool:
        """Whether ids begin with what the tokenizer puts before a text."""
        return bool(np.array_equal(ids[: len(self.first)], self.first))

    def _first(self) -> Ids:
        alone, whole = (self._tokenizer.encode("x", add_special_tokens=adds).ids for adds in (False, True))
        at = next((at for at in range(len(whole)) if whole[at : at + len(alone)] == alone), 0)
        return np.array(whole[:at], np.int32)

    def _ends(self, folder: Path) -> Iterable[int]:
        for name in ("generation_config.json", "config.json"):
            found = _read_json(folder / name).get("eos_token_id")
            yield from found if isinstance(found, list) else [] if found is None else [found]
        yield from self._named(folder, "eos_token")

    def _named(self, folder: Path, key: str) -> Iterable[int]:
        """The id of a token that `tokenizer_config.json` names, if it does."""
        token = _read_json(folder / "tokenizer_config.json").get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and token in self:
            yield self._ids[token]


def is_tokenizer(identity: Sequence[str]) -> bool:
    """Whether the `identity` of a vocabulary is one of `Tokens`."""
    return len(identity) == 1 and identity[0].startswith(_IDENTITY)


class TextStream:
    """The text of tokens that come one at a time, at a cost that does not grow with the text before them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pending: list[int] = []
        self._begin()

    def take(self, token: int) -> str:
        """The text that a token adds; empty while its last character is not complete."""
        before = ""
        try:
            text = self._stream.step(self._tokenizer, int(token))
        except Exception:  # the tokenizer changes the text of tokens before this one, as for bytes that are not UTF-8
            before = self.rest()
            text = self._stream.step(self._tokenizer, int(token))
        self._pending = [] if text is not None else [*self._pending, int(token)]
        if len(self._pending) == _MOST_PENDING:  # these bytes are not UTF-8
            return before + self.rest()
        return before + (text or "")

    def rest(self) -> str:
        """The text of the tokens whose last character is not complete."""
        text = str(self._tokenizer.decode(self._pending, skip_special_tokens=False)) if self._pending else ""
        self._begin()
        return text

    def _begin(self) -> None:
        from tokenizers.decoders import DecodeStream

        self._stream = DecodeStream(skip_special_tokens=False)
        self._pending = []


def tokenizer_sha256(folder: Path) -> str:
    """The sha256 of a folder's `tokenizer.json`; raises `UserError` without one."""
    path = Path(folder) / _NAME
    if not path.is_file():
        raise UserError(
            f"there is no {path}; write the folder of a pretrained model, with its {_NAME}, in "
            "data.task.init_args.tokenizer"
        )
    return sha256(path.read_bytes()).hexdigest()


def ends_sha256(folder: Path) -> str:
    """The sha256 of the ids of the tokens that end a text; empty for a folder without `tokenizer.json`."""
    if not (Path(folder) / _NAME).is_file():
        return ""
    return sha256(str(sorted(Tokens(folder).ends)).encode()).hexdigest()


def is_same_tokenizer(one: Path, other: Path) -> bool:
    """Whether the `tokenizer.json` of two folders are equal, but for the cutting and padding of texts, which is off."""
    if tokenizer_sha256(one) == tokenizer_sha256(other):
        return True
    contents = [_read_json(folder / _NAME) | dict.fromkeys(("truncation", "padding")) for folder in (one, other)]
    return contents[0] == contents[1]


def _load(path: Path) -> Any:
    """The tokenizer of a file."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise missing_package("a task in text", "tokenizers") from None
    try:
        tokenizer: Any = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more special
        raise UserError(f"{path} is not a file of the package tokenizers: {error}; copy it again") from None
    tokenizer.no_truncation()  # as saved after training, it would cut or lengthen texts
    tokenizer.no_padding()
    return tokenizer


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}; copy it again") from None
    return content if isinstance(content, dict) else {}
