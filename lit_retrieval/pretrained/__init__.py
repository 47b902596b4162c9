"""Pretrained language models of transformers and fla."""

from lit_retrieval.pretrained.folder import Folder
from lit_retrieval.pretrained.loader import PretrainedLoader
from lit_retrieval.pretrained.weights import weights_sha256

__all__ = ["Folder", "PretrainedLoader", "weights_sha256"]
