"""Language models as lists of mixers."""

from lit_retrieval.models.mixer_stack import MixerStack
from lit_retrieval.models.sequence_model import SequenceModel, Stage

__all__ = ["MixerStack", "SequenceModel", "Stage"]
