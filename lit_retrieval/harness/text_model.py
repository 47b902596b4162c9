"""Continues and scores texts with a model, in words or in the tokens of a pretrained model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import torch

from lit_retrieval.conversation import Author, Conversations, Reply, TextConversations, spans
from lit_retrieval.decoding import DecodableModel, generate
from lit_retrieval.errors import UserError
from lit_retrieval.mixers import without_states
from lit_retrieval.retrieval import Retriever
from lit_retrieval.tokens import Tokens
from lit_retrieval.vocabulary import END_SEARCH, SPECIAL_WORDS, START, START_SEARCH, Vocabulary

_BEGIN, _END = SPECIAL_WORDS[START_SEARCH], SPECIAL_WORDS[END_SEARCH]
_QUERY = re.compile(rf"(?<={_BEGIN})(?:(?!{_BEGIN}|{_END}).)*(?={_END}|\Z)", re.DOTALL)  # as `TextReader` finds it
_MOST_LOGITS = 2**26  # of the rows that are scored at once; 256 MiB in float32

TokenList = list[int]


@dataclass(frozen=True)
class TextModel:
    """A model of texts: words separated by spaces, or the text of a pretrained model.

    Args:
        model: The model.
        vocabulary: The model's words or tokens.
        retriever: Runs the model's searches; with None, search marks are ordinary words.
        answer_words: Words that end a reply, if the vocabulary is one of words.
        most_places: Maximum length of a text in tokens; no limit if absent.
        rows: Most texts to read at once.
        device: The model's device.
    """

    model: DecodableModel
    vocabulary: Vocabulary
    retriever: Retriever | None = None
    answer_words: Sequence[int] = ()
    most_places: int | None = None
    rows: int = 32
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def prefix(self) -> int:
        """The token at the beginning of a text without context."""
        return self.vocabulary.prefix if isinstance(self.vocabulary, Tokens) else START

    def write(
        self, prompts: Sequence[TokenList], until: Sequence[str], max_new_tokens: int, num_answers: int = 1
    ) -> list[str]:
        """Continue each prompt greedily; retrieved text is left out, except for line ends.

        A continuation ends before the first of the strings `until`, at the end of the text or, with a vocabulary of
        words, after its answers.

        Args:
            prompts: Token ids of each prompt.
            until: Strings that end a continuation; they need not start or end at a token's border.
            max_new_tokens: Maximum number of tokens after a prompt, retrieved ones included.
            num_answers: Number of answer words that end a text of words.
        """
        written = [""] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda one: len(prompts[one]))  # prefill reads the shortest length
        for start in range(0, len(order), self.rows):
            rows = order[start : start + self.rows]
            conversations = self._converse([prompts[row] for row in rows], until, max_new_tokens, num_answers)
            for row, reply in zip(rows, generate(self.model, conversations, self.device), strict=True):
                written[row] = self._text(reply, until)
        return written

    def log_likelihoods(self, pairs: Sequence[tuple[TokenList, TokenList]]) -> list[tuple[float, bool]]:
        """The log-likelihood of each text after its context, in nats, and whether greedy decoding would write it.

        Texts of equal length are read together, without padding, and logits are computed only for the scored tokens. If
        a text is too long for the model, its first tokens are left out.

        Args:
            pairs: Token ids of each context, one or more, and of the text after it.
        """
        found = [(0.0, True)] * len(pairs)  # a text of no tokens is certain
        lengths = [len(context) + len(text) for context, text in pairs]
        order = sorted((one for one in range(len(pairs)) if pairs[one][1]), key=lambda one: lengths[one])
        for _, group in groupby(order, key=lambda one: lengths[one]):
            same = list(group)
            longest = max(len(pairs[one][1]) for one in same)
            most = max(1, min(self.rows, _MOST_LOGITS // (longest * len(self.vocabulary))))
            for start in range(0, len(same), most):
                part = same[start : start + most]
                for one, score in zip(part, self._score([pairs[one] for one in part]), strict=True):
                    found[one] = score
        return found

    @torch.inference_mode()
    def _score(self, pairs: Sequence[tuple[TokenList, TokenList]]) -> list[tuple[float, bool]]:
        """The same for pairs of equal length, which are read together."""
        whole = [[*context, *text] for context, text in pairs]
        first = 0 if self.most_places is None else max(0, len(whole[0]) - 1 - self.most_places)
        tokens = torch.tensor([row[first:-1] for row in whole], device=self.device)
        time, counts = tokens.shape[1], [min(len(text), tokens.shape[1]) for _, text in pairs]
        places = [torch.arange((row + 1) * time - count, (row + 1) * time) for row, count in enumerate(counts)]
        with without_states():
            logits, _ = self.model(tokens, None, torch.cat(places).to(self.device))
        right = [token for (_, text), count in zip(pairs, counts, strict=True) for token in text[-count:]]
        scores = logits.float().log_softmax(-1)
        each = torch.tensor(right, device=self.device)
        of_right = torch.split(scores.gather(1, each[:, None])[:, 0], counts)
        is_best = torch.split(scores.argmax(-1) == each, counts)
        return [(float(one.sum()), bool(best.all())) for one, best in zip(of_right, is_best, strict=True)]

    def _converse(
        self, prompts: Sequence[TokenList], until: Sequence[str], max_new_tokens: int, num_answers: int
    ) -> Conversations | TextConversations:
        if self.most_places is not None:
            if max_new_tokens >= self.most_places:
                raise UserError(
                    f"max_gen_toks must be below the {self.most_places:,} places of the model, got {max_new_tokens:,}; "
                    "take a task that lets it write less"
                )
            prompts = [prompt[-max(1, self.most_places - max_new_tokens) :] for prompt in prompts]
        turns = [[np.array(prompt, np.int32)] for prompt in prompts]
        if isinstance(self.vocabulary, Tokens):
            return TextConversations(
                turns, self.vocabulary, self.retriever, StopStrings(until), max_new_tokens=max_new_tokens
            )
        counts = [num_answers] * len(prompts)
        return Conversations(turns, self.answer_words, self.retriever, self.vocabulary, max_new_tokens, counts)

    def _text(self, reply: Reply, until: Sequence[str]) -> str:
        """The model's own text in a reply, up to the first of the strings `until` or the end of the text.

        The strings are not searched for inside queries. Of retrieved text, only the line end is kept.
        """
        is_text = isinstance(self.vocabulary, Tokens)
        ends = self.vocabulary.ends if isinstance(self.vocabulary, Tokens) else frozenset()
        pieces = []
        for span in spans(reply.author):
            if span.author == Author.RETRIEVER and is_text:
                pieces.append("\n")
            elif span.author == Author.MODEL:
                said = [token for token in reply.tokens[span.start : span.stop] if token not in ends]
                text = self.vocabulary.text(said)
                outside = _QUERY.sub(lambda query: "\0" * len(query[0]), text)
                stops = [outside.find(stop) for stop in until if stop and stop in outside]
                pieces.append(text[: min(stops, default=len(text))])
                if stops:
                    break
        return self.vocabulary.separator.join(pieces)


class StopStrings:
    """An `Ending` of conversations in text: the first of some strings, or the end of the text.

    Args:
        strings: The strings; empty ones are left out.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = [one for one in strings if one]

    def find(self, text: str, new: int, is_whole: bool) -> str | None:
        """The text before the first of the strings; see `Ending`."""
        found = [text.find(one, max(0, new - len(one) + 1)) for one in self._strings]
        stops = [at for at in found if at >= 0] or ([len(text)] if is_whole else [])
        return text[: min(stops)] if stops else None
