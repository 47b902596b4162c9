"""From samples to batches: which samples a batch has, collation, evaluation suites, and the LightningDataModule."""

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.data.stream import BatchIndices, FileStream, TranscriptStream
from lit_retrieval.data.suite import Suite
from lit_retrieval.data.transcript_data import TranscriptData

__all__ = ["Batch", "BatchIndices", "FileStream", "Suite", "TranscriptData", "TranscriptStream", "collate"]
