"""A model of lm-evaluation-harness."""

import inspect
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import torch
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lit_retrieval.errors import UserError
from lit_retrieval.harness.opened import open_folder, open_run
from lit_retrieval.harness.text_model import TextModel, TokenList
from lit_retrieval.pretrained.folder import Precision
from lit_retrieval.ranges import check_at_least

# Arguments that would change greedily decoded text, each with the value that does not.
_CHANGING = {"num_beams": 1, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
_OF_SAMPLING = {"do_sample", "temperature", "top_p", "top_k", "min_p"}  # not used by greedy decoding
_LENGTHS = {"max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
_KNOWN = {"until", "num_answers", *_LENGTHS, *_OF_SAMPLING, *_CHANGING}
ROWS = 32  # default of batch_size


class LanguageModel(LM):  # type: ignore[misc]  # the package has no types
    """A run, or the folder of a pretrained model, as a model of lm-evaluation-harness (lm_eval 0.4.13).

    It reads rows of any length without padding, decodes greedily, and runs the model's searches while it decodes. A
    run of a synthetic task reads and writes words separated by spaces, starting with `<s>`; unknown words are refused.
    Its text ends after `num_answers` answers, a key of `generation_kwargs` (default: 1).

    Args:
        run: The run's folder, such as runs/quickstart-123573c5.
        folder: The folder of a pretrained model, in place of a run.
        checkpoint: best, last or the path of a .ckpt file of the run.
        searches: Whether to run searches; if absent, only if the run was trained with them.
        precision: Number format of a pretrained model's weights.
        batch_size: Most texts to read at once; auto for the default.
        max_batch_size: Not used.
        device: Device of the model; a GPU if there is one.
    """

    def __init__(
        self,
        run: str | None = None,
        folder: str | None = None,
        checkpoint: str = "best",
        searches: bool | None = None,
        precision: Precision = "float32",
        batch_size: int | str = ROWS,
        max_batch_size: int | None = None,
        device: str = "cuda",
    ) -> None:
        super().__init__()
        is_auto = str(batch_size).startswith("auto")
        if not is_auto and not str(batch_size).isdecimal():
            raise UserError(f"--batch_size must be a whole number or auto, got {batch_size}")
        rows = ROWS if is_auto else int(batch_size)
        check_at_least("batch_size", rows, 1, "--batch_size")
        if (run is None) == (folder is None):
            raise UserError("give a run or the folder of a pretrained model: --model_args run=runs/NAME-HASH")
        if run is not None and precision != "float32":
            raise UserError("precision is for a folder, and a run's weights are float32; leave it out of --model_args")
        if precision not in get_args(Precision):
            raise UserError(f"precision must be float32 or bfloat16, got {precision}; set it in --model_args")
        if not isinstance(searches, bool | None):
            raise UserError(f"searches must be true or false, got {searches}; set it in --model_args")
        if folder is not None and checkpoint != "best":
            raise UserError("checkpoint is for a run, and a folder has none; leave it out of --model_args")
        place = torch.device(device if torch.cuda.is_available() else "cpu")
        self.name = str(run or folder)
        self.text_model: TextModel = (
            open_run(Path(run), checkpoint, searches, rows, place)
            if run is not None
            else open_folder(Path(str(folder)), precision, searches, rows, place)
        )

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> "LanguageModel":
        """Create the model from a command's arguments; raises `UserError` for an unknown argument."""
        known = [name for name in inspect.signature(cls).parameters]
        if unknown := [name for name in arg_dict if name not in known]:
            raise UserError(f"--model_args must be of {', '.join(known)}, got {unknown[0]}")
        made: LanguageModel = super().create_from_arg_obj(arg_dict, additional_config)
        return made

    @property
    def batch_size(self) -> int:
        """Most texts to read at once."""
        return self.text_model.rows

    @property
    def tokenizer_name(self) -> str:
        """The name of the run or folder, for the harness's cache of requests."""
        return self.name.replace("/", "__")

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.text_model.device

    def read(self, text: str, is_begin: bool = True) -> TokenList:
        """Tokenize a text; at its beginning, add the tokenizer's prefix tokens if the text does not have them."""
        vocabulary = self.text_model.vocabulary
        read = vocabulary.read_prompt if is_begin else vocabulary.read
        try:
            tokens: TokenList = read(text).tolist()
        except UserError as error:
            raise UserError(f"{error}; take the task NAME_run of `tasks write --form lm_eval`") from None
        return tokens

    def split(self, context: str, text: str) -> tuple[TokenList, TokenList]:
        """Tokenize a context and the text after it, split in the same way as by the harness's own models.

        Both are tokenized as one text, which is split after as many tokens as the context alone has. Spaces at the end
        of the context belong to the text after it.
        """
        before = context.rstrip()
        if not before:
            tokens, prefix = self.read(context + text, is_begin=False), self.text_model.prefix
            return (tokens[:1], tokens[1:]) if tokens[:1] == [prefix] else ([prefix], tokens)
        begin = self.read(before)
        return begin, self.read(context + text)[len(begin) :]

    def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True) -> str:
        """Raise `UserError`, because there are no chat templates: texts are read as they are."""
        raise UserError("chat templates are not applied; leave out --apply_chat_template")

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The log-likelihood of each text after its context, and whether the model would write it."""
        scores = self.text_model.log_likelihoods([self.split(*request.args) for request in requests])
        for request, score in zip(requests, scores, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, score)
        return scores

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each context, up to the first of the strings `until`."""
        asked = [(index, request.args[0], _rules(request.args[1])) for index, request in enumerate(requests)]
        written = [""] * len(asked)
        for rules, group in groupby(sorted(asked, key=lambda one: repr(one[2])), key=lambda one: one[2]):
            same = list(group)
            prompts = [self.read(context) or [self.text_model.prefix] for _, context, _ in same]
            for (index, *_), text in zip(same, self.text_model.write(prompts, *rules), strict=True):
                written[index] = text
                self.cache_hook.add_partial("generate_until", requests[index].args, text)
        return written

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each whole text, in windows of as many tokens as the model has positions."""
        windows: list[tuple[int, tuple[TokenList, TokenList]]] = []
        for index, request in enumerate(requests):
            tokens = self.read(request.args[0])
            most = self.text_model.most_places or max(1, len(tokens))
            tokens = tokens[tokens[:1] == [self.text_model.prefix] :]  # the windows begin with it
            found = get_rolling_token_windows(tokens, self.text_model.prefix, most, context_len=1)
            windows += [(index, make_disjoint_window(one)) for one in found]
        totals = [0.0] * len(requests)
        scores = self.text_model.log_likelihoods([pair for _, pair in windows])
        for (index, _), (score, _) in zip(windows, scores, strict=True):
            totals[index] += score
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals


def _rules(given: dict[str, Any]) -> tuple[tuple[str, ...], int, int]:
    """Parse a request: the strings that end its text, the maximum number of tokens, and the number of answers."""
    if unknown := [key for key in given if key not in _KNOWN]:
        raise UserError(f"generation_kwargs must be of {', '.join(sorted(_KNOWN))}, got {unknown[0]}; leave it out")
    chosen: Any = normalize_gen_kwargs(given)
    if changing := [key for key, usual in _CHANGING.items() if given.get(key, usual) != usual]:
        raise UserError(f"texts are written greedily; leave {changing[0]} out of generation_kwargs")
    if chosen["do_sample"]:
        raise UserError("texts are written greedily; set do_sample to false and temperature to 0 in generation_kwargs")
    return tuple(chosen["until"]), chosen["max_gen_toks"], int(chosen.get("num_answers", 1))
