"""`torch.compile` sees our models whole, forward and backward, without a graph break."""

from copy import deepcopy

import pytest
import torch
import yaml
from benchmarks.models import MODEL_FILES, build_model

OURS = {"transformer": 5, "mamba": 3, "hybrid": 3, "window": 9, "linear_rnn": 3}  # and tokens: loops are unrolled


@pytest.mark.parametrize("depth", [1, pytest.param(None, marks=pytest.mark.slow)], ids=["one block", "whole"])
@pytest.mark.parametrize("name", OURS)
def test_a_compiler_sees_the_whole_model_forward_and_backward(tmp_path, name, depth):
    config = yaml.safe_load((MODEL_FILES / f"{name}_0.5M.yaml").read_text())
    for stage in config["stages"]:
        stage["repeat"] = depth or stage["repeat"]
        for mixer in stage["mixers"]:
            if "window" in mixer["init_args"]:
                mixer["init_args"]["window"] = 4  # fewer than the tokens, so its blocks are seen
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = build_model(tmp_path / "model.yaml", 16)
    other, tokens = deepcopy(model), torch.randint(16, (2, OURS[name]))
    torch.compiler.reset()
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    results = [one(tokens)[0] for one in (compiled, model)]
    torch.testing.assert_close(*results, rtol=1e-4, atol=5e-5)  # sums in another order
    for logits in results:
        logits.square().mean().backward()
    for found, wanted in zip(other.parameters(), model.parameters(), strict=True):
        assert (found.grad - wanted.grad).norm() <= 1e-4 * wanted.grad.norm() + 1e-7
    torch.compiler.reset()
