"""The rules of a task, in the order in which they are checked."""

from lit_retrieval.conformance import Rule
from lit_retrieval.tasks.checks import processes, samples, transcripts
from lit_retrieval.tasks.checks.case import Case
from lit_retrieval.tasks.checks.earlier_answers import tells_by_earlier_answers

RULES: list[Rule[Case]] = [
    Rule("attributes", samples.has_its_attributes, is_cheap=True),
    Rule("sizes", samples.refuses_impossible_sizes),
    Rule("form", transcripts.can_be_written, ("attributes",), is_cheap=True),
    Rule("same twice", samples.is_the_same_twice, ("form",), is_cheap=True),
    Rule("index alone", samples.depends_on_its_index_alone, ("same twice",), is_cheap=True),
    Rule("distinct", samples.differs_from_others, ("index alone",), is_cheap=True),
    Rule("answers", transcripts.ends_with_its_answers, ("same twice",), is_cheap=True),
    Rule("same answers", transcripts.has_the_same_answers, ("answers",)),
    Rule("regime", transcripts.is_of_its_regime, ("answers",), is_cheap=True),
    Rule("bounds", transcripts.keeps_to_its_bounds, ("same twice",), is_cheap=True),
    Rule("oracle", transcripts.is_solved_by_its_oracle, ("answers",), is_cheap=True),
    Rule("chance", transcripts.compares_chance, ("answers",)),
    Rule("earlier answers", tells_by_earlier_answers, ("answers",)),
    Rule("workers", samples.travels_to_workers, ("same twice",)),
    Rule("processes", processes.is_the_same_in_all_processes, ("same twice",)),
]
