"""Checks of any mixer (ours, fla's or a user's): one short function per rule, and the table of rules."""

from lit_retrieval.mixers.checks.case import Case
from lit_retrieval.mixers.checks.check import check_mixer, constants_moved, describe_unused, report
from lit_retrieval.mixers.checks.table import RULES

__all__ = ["RULES", "Case", "check_mixer", "constants_moved", "describe_unused", "report"]
