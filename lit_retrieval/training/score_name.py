"""Structured names of scores."""

from typing import NamedTuple

QUANTITIES = (
    "closed_loop_accuracy", "all_right", "undecided", "paper_score", "searches", "timeouts",
    "exact_match", "token_accuracy", "loss",
)  # fmt: skip
OF_TEXT = ("f1",)  # of tasks in text alone
# Logged in training.
TRAIN_NAMES = (
    "train/loss", "train/token_accuracy", "train/gradient_norm", "train/samples_per_second", "train/tokens_per_second",
    "train/memory_gb", "train/largest_size", "train/auxiliary_loss",
)  # fmt: skip
_KINDS = ("task", "size", "distance")  # in the order of table rows
_FALLING = {"undecided", "timeouts"}  # and every loss


def falls(name: str) -> bool:
    """Whether a logged score is better if it is lower."""
    quantity = ScoreName.parse(name).quantity
    return quantity.endswith("loss") or quantity in _FALLING


class Group(NamedTuple):
    """The samples or answers that a score covers.

    Args:
        kind: `task`, `size` or `distance`; empty for all samples.
        value: The task's name, the problem's size, or the smallest distance of a power of two, as text.
    """

    kind: str = ""
    value: str = ""

    @property
    def label(self) -> str:
        """The name of the group in a table."""
        if self.kind == "distance":
            return f"{self.value}-{2 * int(self.value) - 1} back"
        return self.value if self.kind == "task" else f"{self.kind} {self.value}" if self.kind else "all"

    @property
    def order(self) -> tuple[int, int]:
        """Sort key of table rows: tasks in the order of the mixture, sizes and distances ascending, `all` last."""
        kind = _KINDS.index(self.kind) if self.kind else len(_KINDS)
        return kind, int(self.value) if self.value.isdecimal() else 0


class ScoreName(NamedTuple):
    """The name of a score: a quantity of a group of samples, in a split of the data.

    As text it is `split/group/quantity`, such as `val/size_8/loss`; empty parts are left out.

    Args:
        quantity: One of QUANTITIES or OF_TEXT, or a quantity that a table derives from one.
        group: Which samples or answers.
        split: `train`, `val` or `test`; empty where it is known.
    """

    quantity: str
    group: Group = Group()
    split: str = ""

    def __str__(self) -> str:
        parts = (self.split, "_".join(self.group) if self.group.kind else "", self.quantity)
        return "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, text: str) -> "ScoreName":
        """The name from its text; all before group and quantity is the split."""
        *parts, quantity = text.split("/")
        kind, _, value = parts[-1].partition("_") if parts else ("", "", "")
        group = Group(kind, value) if kind in _KINDS and value else Group()
        return cls(quantity, group, "/".join(parts[:-1] if group.kind else parts))
