"""The arguments that meet a budget of parameters and of state."""

import pytest
from comparisons.layers import read_known
from comparisons.protocol import find_protocol, read_protocol
from comparisons.settings import REFUSALS, _bits, candidates, find_setting, measure

QUICK = ["attention", "window", "lstm", "mamba", "mamba_attention", "cyclic_flow"]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in read_known()]
)
def test_a_layer_has_the_first_setting_whose_state_is_about_the_largest_that_fits(name):
    shape, layer = read_protocol(find_protocol("laptop")).shape, read_known()[name]
    made, others = layer.load(), []
    for arguments in candidates(layer, made, shape.hidden_size):
        try:
            one = measure(layer, made, arguments, shape, shape.state_bits)
        except REFUSALS:
            continue
        others += [one] * (abs(one.parameters / shape.parameters - 1) <= 0.05)
    within = [one for one in others if one.met]
    bits = [one.state_bits for one in within or others]
    best = max(bits) if within else min(bits)
    found = find_setting(layer, shape, shape.state_bits)
    assert found == next(one for one in within or others if abs(one.state_bits - best) <= 0.05 * best)
    if found.met and not layer.with_attention:
        assert (found.growth == 0 and found.state_bits <= shape.state_bits) or name in ("log_linear_mamba2", "nsa")


def test_a_few_bits_more_do_not_make_many_small_heads():
    shape = read_protocol(find_protocol("laptop")).shape
    found = find_setting(read_known()["cyclic_flow"], shape, shape.state_bits)
    assert (found.init_args["num_heads"], found.init_args["head_dim"]) == (1, 32)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_a_layer_that_runs_on_a_gpu_only_is_measured_there(monkeypatch, has_gpu):
    class OnGpu:
        device = "cpu"

        def to(self, device):
            self.device = device
            return self

        def state_bits(self, length):
            if self.device == "cpu":
                raise RuntimeError("the kernel needs a GPU")
            return 8 * length

    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    if has_gpu:
        assert _bits(OnGpu(), 5) == 40
    else:
        with pytest.raises(RuntimeError, match="needs a GPU"):
            _bits(OnGpu(), 5)
