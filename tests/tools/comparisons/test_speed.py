"""The speed of a model as a ratio to another's."""

from types import SimpleNamespace

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
