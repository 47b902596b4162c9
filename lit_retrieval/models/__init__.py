"""Language models: an embedding, a list of mixers, and the embedding again as the head."""

from lit_retrieval.models.bottleneck import BottleneckModel
from lit_retrieval.models.cached_model import CachedModel, CacheState, prepare_fla
from lit_retrieval.models.cuda_graph import CudaGraphs, Record
from lit_retrieval.models.embedding import sinusoidal_embedding
from lit_retrieval.models.hugging_face import HuggingFaceModel
from lit_retrieval.models.mixer_stack import MixerStack, auxiliary_losses, select_positions
from lit_retrieval.models.network_rules import agrees_in_pieces, check_network, refuse_network
from lit_retrieval.models.places import check_length, check_text
from lit_retrieval.models.sequence_model import SequenceModel, Stage
from lit_retrieval.models.whole_model import NetworkFactory, WholeModel

__all__ = [
    "BottleneckModel", "CacheState", "CachedModel", "CudaGraphs", "HuggingFaceModel", "MixerStack", "NetworkFactory",
    "Record", "SequenceModel", "Stage", "WholeModel", "agrees_in_pieces", "auxiliary_losses", "check_length",
    "check_network", "check_text", "prepare_fla", "refuse_network", "select_positions", "sinusoidal_embedding",
]  # fmt: skip
