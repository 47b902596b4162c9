"""One score per model in sweeps over tasks with levels of difficulty, as in MAD (arXiv:2403.17844, section 3.2)."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import mean

from reports.rows import Row

Accuracies = dict[str, dict[str, float]]  # by model and level


def best_accuracies(rows: Iterable[Row]) -> Accuracies:
    """The best test accuracy of each model and level, for example over learning rates, as in MAD; means over seeds.

    If a model has a level in several regimes, each regime counts as a separate model.
    """
    best: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    rows = [row for row in rows if row.level]
    regimes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        regimes[row.point, row.level].add(row.regime)
    is_one = all(len(found) == 1 for found in regimes.values())
    for row in rows:
        seeds = best[row.point if is_one else f"{row.point} {row.regime}", row.level]
        seeds[row.seed] = max(seeds.get(row.seed, 0.0), row.scores["closed_loop_accuracy"])
    found: Accuracies = defaultdict(dict)
    for (point, level), seeds in best.items():
        found[point][level] = mean(seeds.values())
    return found


def markdown(rows: Iterable[Row]) -> str | None:
    """Two tables: each model's score (the mean over tasks of means over levels), and its levels; None without levels.

    A model without all levels has no score yet, and its means say how many levels they cover.
    """
    found = best_accuracies(rows)
    levels = sorted({level for one in found.values() for level in one}, key=lambda level: (_task(level), level))
    if not levels:
        return None
    tasks = list(dict.fromkeys(map(_task, levels)))
    lines = _head(["model", "score", *tasks])
    for model, own in found.items():
        of_tasks = [[own[level] for level in levels if level in own and _task(level) == task] for task in tasks]
        score = f"{mean(map(mean, of_tasks)):.3f}" if len(own) == len(levels) else ""
        counts = [sum(_task(level) == task for level in levels) for task in tasks]
        lines.append(_line([model, score, *map(_told, of_tasks, counts)]))
    lines += ["", *_head(["level", *found])]
    for level in levels:
        lines.append(_line([level, *(f"{own[level]:.3f}" if level in own else "" for own in found.values())]))
    return "\n".join(lines) + "\n"


def _told(values: Sequence[float], count: int) -> str:
    """The mean over the levels of a task, with their number if some of `count` are missing."""
    missing = f" ({len(values)} of {count} levels)" if len(values) < count else ""
    return f"{mean(values):.3f}{missing}" if values else ""


def _task(level: str) -> str:
    return level.split()[0]


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(values: Sequence[str]) -> str:
    return "| " + " | ".join(values) + " |"
