"""Opens a run, or the folder of a pretrained model."""

from pathlib import Path

import torch

from lit_retrieval import api
from lit_retrieval.harness.text_model import TextModel
from lit_retrieval.models import WholeModel
from lit_retrieval.pretrained import Folder
from lit_retrieval.pretrained.folder import Precision
from lit_retrieval.retrieval import RegularExpressionRetriever
from lit_retrieval.tokens import Tokens
from lit_retrieval.training import Gpu


def open_run(folder: Path, checkpoint: str, searches: bool | None, rows: int, device: torch.device) -> TextModel:
    """Open a run's model and retriever; if `searches` is absent, it searches only if it was trained with searches.

    Raises `UserError` as `lit_retrieval.load` does.
    """
    run = api.load(folder, checkpoint, str(device))
    runs_searches = run.data.regime == "retrieval" if searches is None else searches
    retriever = run.data.retriever if runs_searches else None
    answer_words = run.task.answer_words.tolist()
    return TextModel(run.model, run.task.vocabulary, retriever, answer_words, run.model.most_places, rows, device)


def open_folder(
    folder: Path, precision: Precision, searches: bool | None, rows: int, device: torch.device
) -> TextModel:
    """Open the model of a folder; with `searches`, its queries are regular expressions.

    Raises `UserError` as `pretrained.Folder` and `Tokens` do.
    """
    if device.type == "cuda":
        Gpu().set_arithmetic()
    tokens = Tokens(folder)
    model = WholeModel(len(tokens), Folder(folder, precision).load).to(device).eval()
    retriever = RegularExpressionRetriever() if searches else None
    return TextModel(model, tokens, retriever, (), model.most_places, rows, device)
