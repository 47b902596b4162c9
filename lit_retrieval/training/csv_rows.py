"""Keeps the rows of a CSV file of scalars when a run resumes."""

import csv
import warnings
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger

from lit_retrieval.files import write_atomically


def keep_rows(logger: CSVLogger, step: int) -> None:
    """Keep the rows of steps before `step`; on its own, the logger deletes an existing file."""
    path = Path(logger.log_dir) / "metrics.csv"
    if not path.is_file():
        return
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if int(row["step"]) < step]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the file is deleted
        logger.experiment.metrics_keys = list(reader.fieldnames or [])
    with write_atomically(path) as file:
        writer = csv.DictWriter(file, logger.experiment.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
