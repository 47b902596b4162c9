"""Models built from the files in configs/model."""

import inspect
from pathlib import Path

import yaml

from lit_retrieval.models import SequenceModel
from lit_retrieval.parsing import OneLineErrors

MODEL_FILES = Path(__file__).parents[2] / "configs" / "model"
_KEYS = inspect.signature(SequenceModel).parameters  # the other keys of a model file configure training


def build_model(file: Path, vocab_size: int) -> SequenceModel:
    """Build the model of a file in configs/model, with new weights."""
    parser = OneLineErrors()
    parser.add_class_arguments(SequenceModel)
    config = yaml.safe_load(file.read_text())
    arguments = {key: config[key] for key in _KEYS if key in config}
    return SequenceModel(**parser.instantiate(parser.parse_object({"vocab_size": vocab_size, **arguments})))
