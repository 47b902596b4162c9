"""python -m lit_retrieval export: a trained model as a folder that transformers loads."""

import json
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from lit_retrieval.api import load
from lit_retrieval.files import new_folder
from lit_retrieval.models import SequenceModel
from lit_retrieval.parsing import OneLineErrors, one_line_errors
from lit_retrieval.pretrained import as_causal_model
from lit_retrieval.tokens import Tokens
from lit_retrieval.vocabulary import Vocabulary

_OF_A_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
    "generation_config.json",
)  # fmt: skip
_DESCRIPTION = (
    "Write a trained model as transformers has it: config.json, model.safetensors in float32, and a tokenizer whose "
    "tokens are the task's. Transformers of rotary attention and SwiGLU, with windows or without, become LLaMA or "
    "Ministral; stacks of Mamba become Mamba; fla's layers with SwiGLU become fla's models, which transformers loads "
    "after `import fla`. A model that model.pretrained or model.network has loaded is written as it is, with its "
    "adapters merged. The logits are compared; a run that can't be exported is refused with the layer that stands in "
    "the way."
)


def export(run: str | Path, to: str | Path, checkpoint: str | Path = "best") -> None:
    """Write the model of a run as a folder that transformers loads; all of it or nothing.

    Args:
        run: The run's folder.
        to: The folder to write.
        checkpoint: best, last or the path of a .ckpt file.

    Raises `UserError`, in one line, if transformers and fla have no such model; it names the layer.
    """
    with new_folder(Path(to)) as staged:
        loaded = load(run, checkpoint)
        model = as_causal_model(cast("Any", loaded.model))
        import_module("transformers.utils.logging").disable_progress_bar()
        model.save_pretrained(staged)
        _write_tokenizer(loaded.task.vocabulary, staged)
        if isinstance(loaded.task.vocabulary, Tokens) and isinstance(loaded.model, SequenceModel):
            _write_ids(loaded.task.vocabulary, staged)
    kind, weights = type(model).__name__, sum(parameter.numel() for parameter in model.parameters())
    importing = "import fla; " if type(model).__module__.startswith("fla.") else ""
    print(f"wrote {to}: {kind}, {weights:,} weights")
    print(f'load it: {importing}transformers.AutoModelForCausalLM.from_pretrained("{to}")')


def _write_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    """Write the tokenizer of a text task, or one that splits words at spaces."""
    if isinstance(vocabulary, Tokens):
        for name in _OF_A_TOKENIZER:
            if (vocabulary.folder / name).is_file():
                shutil.copyfile(vocabulary.folder / name, folder / name)
        return
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    words = {word: token for token, word in enumerate(vocabulary.words)}
    tokenizer = Tokenizer(WordLevel(words, unk_token=vocabulary.words[0]))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    made: Any = PreTrainedTokenizerFast
    made(tokenizer_object=tokenizer).save_pretrained(folder)


def _write_ids(tokens: Tokens, folder: Path) -> None:
    """Write the ids of the tokens that begin and end a text into the files that transformers reads them from."""
    ends = sorted(tokens.ends)
    ids = {"bos_token_id": tokens.prefix, "eos_token_id": ends[0] if len(ends) == 1 else ends or None}
    for path in (folder / "config.json", folder / "generation_config.json"):
        content = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**content, **ids}, indent=2) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; one line and status 2 for a mistake."""
    parser = OneLineErrors(prog="python -m lit_retrieval export", description=_DESCRIPTION)
    parser.add_argument("run", type=Path, help="folder of the run, such as runs/quickstart-123573c5")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="folder to write")
    parser.add_argument("--checkpoint", default="best", help="best, last or the path of a .ckpt file")
    given = parser.parse_args(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        export(given.run, given.to, given.checkpoint)
