import pytest
import torch
from torch.nn import functional as F

from lit_retrieval.training import loss
from lit_retrieval.training.loss import sum_loss


@pytest.mark.parametrize("most_logits", [1, 33, 70, 2**23], ids="{} logits at a time".format)
def test_pieces_have_the_loss_the_gradients_and_the_count_of_the_whole(monkeypatch, most_logits):
    monkeypatch.setattr(loss, "_MOST_LOGITS", most_logits)
    torch.manual_seed(0)
    head, hidden = torch.randn(33, 8, requires_grad=True), torch.randn(10, 8, requires_grad=True)
    targets = torch.randint(33, (10,))
    targets[0] = (hidden[0] @ head.T).argmax()
    nats, right = sum_loss(lambda piece: F.linear(piece, head), hidden, targets, 33, counts_right=True)
    logits = hidden @ head.T
    expected = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(nats, expected)
    assert right == (logits.argmax(-1) == targets).sum() > 0
    for found, wanted in zip(
        torch.autograd.grad(nats, [hidden, head]), torch.autograd.grad(expected, [hidden, head]), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("most_logits", [1, 70, 2**23], ids="{} logits at a time".format)
def test_pieces_have_the_second_derivatives_of_the_whole(monkeypatch, most_logits):
    monkeypatch.setattr(loss, "_MOST_LOGITS", most_logits)
    torch.manual_seed(0)
    leaves = [torch.randn(33, 8, requires_grad=True), torch.randn(10, 8, requires_grad=True)]
    targets, penalties = torch.randint(33, (10,)), []
    head, hidden = leaves
    for nats in (
        sum_loss(lambda piece: F.linear(piece, head), hidden, targets, 33, counts_right=False)[0],
        F.cross_entropy(hidden @ head.T, targets, reduction="sum"),
    ):
        grads = torch.autograd.grad(nats, leaves, create_graph=True)
        penalties.append(torch.autograd.grad(sum(grad.square().sum() for grad in grads), leaves))
    for found, wanted in zip(*penalties, strict=True):
        torch.testing.assert_close(found, wanted, rtol=5e-5, atol=1e-5)  # sums of squares, in another order


def test_no_more_logits_are_kept_than_one_piece_has(monkeypatch):
    monkeypatch.setattr(loss, "_MOST_LOGITS", 4 * 50)
    head, hidden = torch.randn(50, 8, requires_grad=True), torch.randn(100, 8, requires_grad=True)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sum_loss(lambda piece: F.linear(piece, head), hidden, torch.zeros(100, dtype=torch.int64), 50, False)
    assert max(kept, default=0) < 4 * 50
