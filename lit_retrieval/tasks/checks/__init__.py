"""Checks of a task, ours or a user's: one short function a rule, and the table of them."""

from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.checks.check import check_task, report
from lit_retrieval.tasks.checks.table import RULES

__all__ = ["RULES", "Case", "check_task", "report"]
