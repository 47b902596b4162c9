"""From transcripts to batches: the stream of samples by index, collation, and the LightningDataModule."""

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.data.stream import BatchIndices, TranscriptStream
from lit_retrieval.data.transcript_data import TranscriptData

__all__ = ["Batch", "BatchIndices", "TranscriptData", "TranscriptStream", "collate"]
