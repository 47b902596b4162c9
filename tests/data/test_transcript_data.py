import pytest

from lit_retrieval.data import TranscriptData
from lit_retrieval.errors import UserError
from lit_retrieval.tasks import IsTree

TASK = IsTree(max_size=16)


def test_evaluation_is_the_same_every_time_and_training_goes_on():
    data = TranscriptData(TASK, "cot", [8], batch_size=4, eval_batch_size=4, val_samples=8)
    once, again = ([batch.tokens.tolist() for batch in data.val_dataloader()] for _ in range(2))
    assert once == again and len(once) == 2
    batches = [batch.tokens.tolist() for batch, _ in zip(data.train_dataloader(), range(3), strict=False)]
    assert len({str(batch) for batch in batches}) == 3


def test_a_resumed_run_takes_the_next_batch():
    data = TranscriptData(TASK, "cot", [8], batch_size=4)
    straight = [batch.tokens.tolist() for batch, _ in zip(data.train_dataloader(), range(3), strict=False)]
    data.load_state_dict({"first_batch": 2})
    assert next(iter(data.train_dataloader())).tokens.tolist() == straight[2]


def test_the_budget_is_more_than_the_longest_reply_of_the_largest_size():
    data = TranscriptData(TASK, "cot", [8], eval_sizes=[8, 16])
    assert data.budget > TASK.longest_reply(16, "cot")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sizes": [3]}, "size=3 is below the smallest problem"),
        ({"sizes": [8], "eval_sizes": [17]}, "size=17 is above the vocabulary's max_size=16"),
        ({"sizes": []}, r"sizes=\[\] has no size"),
        ({"regime": "retrieval", "budget": 11}, "budget=11 is shorter than the shortest right reply, 12 words"),
    ],
)
def test_what_cannot_be_is_refused_with_the_mend(arguments, said):
    with pytest.raises(UserError, match=said):
        TranscriptData(TASK, **{"sizes": [8], **arguments})
