"""The speed of a model as a ratio to another's."""

from types import SimpleNamespace

import pytest
from comparisons import speed


def test_twice_the_time_is_half_the_speed_and_one_slow_turn_does_not_count(monkeypatch):
    model, reference = (SimpleNamespace(to=lambda device: None) for _ in range(2))
    model.to, reference.to = lambda device: "model", lambda device: "reference"
    turns = {
        ("train", "model"): iter([99, 2, 2, 50]), ("train", "reference"): iter([99, 6, 6, 6]),
        ("decode", "model"): iter([99, 4, 4, 4]), ("decode", "reference"): iter([99, 1, 70, 1]),
    }  # fmt: skip
    for name in ("train", "decode"):
        monkeypatch.setattr(speed, f"_{name}", lambda one, tokens, name=name: next(turns[name, one]))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert speed.speed_ratios(model, reference, length=4, rounds=3) == {"training": "3", "decoding": "0.25"}


@pytest.mark.parametrize(("accelerator", "device"), [("cpu", "cpu"), ("auto", "cuda"), ("gpu", "cuda")])
def test_speed_is_measured_on_the_accelerator_of_the_trainings(monkeypatch, accelerator, device):
    """In place of a GPU there is what `speed_ratios` calls of it."""
    moved = []
    model = SimpleNamespace(to=lambda device: moved.append(device) or "model")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(speed.Gpu, "set_arithmetic", lambda self: None)
    monkeypatch.setattr(speed.torch, "randint", lambda *_, **__: SimpleNamespace(to=moved.append))
    for name in ("_train", "_decode"):
        monkeypatch.setattr(speed, name, lambda *_: 1.0)
    speed.speed_ratios(model, model, 4, 1, accelerator)
    assert moved == [device] * 3
