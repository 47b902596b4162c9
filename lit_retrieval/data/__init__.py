"""From samples to batches: sampling, collation, evaluation suites and the LightningDataModule."""

from lit_retrieval.data.batch import Batch, collate
from lit_retrieval.data.stream import BatchDataset, BatchIndices, FileDataset
from lit_retrieval.data.suite import Suite
from lit_retrieval.data.transcript_data import TranscriptData
from lit_retrieval.renamed import take_old_names

__all__ = ["Batch", "BatchDataset", "BatchIndices", "FileDataset", "Suite", "TranscriptData", "collate"]

__getattr__ = take_old_names(__name__, TranscriptStream="BatchDataset", FileStream="FileDataset")
