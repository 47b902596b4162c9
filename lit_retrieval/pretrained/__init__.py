"""Pretrained language models of transformers and fla."""

from lit_retrieval.pretrained.folder import Folder
from lit_retrieval.pretrained.layers import Layers
from lit_retrieval.pretrained.loader import PretrainedLoader
from lit_retrieval.pretrained.out import as_causal_model
from lit_retrieval.pretrained.weights import weights_sha256

__all__ = ["Folder", "Layers", "PretrainedLoader", "as_causal_model", "weights_sha256"]
