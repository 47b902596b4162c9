"""The model files: their size, that they learn, and one attention layer on top of each."""

import json
import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from gpu_checks import reference
from gpu_checks.ready import REFERENCE
from jsonargparse import ArgumentParser
from torch.nn import functional as F

from lit_retrieval.data import BatchDataset
from lit_retrieval.mixers import Attention, MixerFactory
from lit_retrieval.mixers.checks import report
from lit_retrieval.models import SequenceModel
from lit_retrieval.tasks import AssociativeRecall, Author, SampleStream

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
NAMES = sorted(path.name.removesuffix("_0.5M.yaml") for path in CONFIGS.glob("*_0.5M.yaml"))
PAPERS_SIZE = 525_376  # trainable parameters of the paper's 0.5M Transformer
OF_FLA = {name for name in NAMES if "fla.layers" in (CONFIGS / f"{name}_0.5M.yaml").read_text()}
# Gradients on an H100 (data/results/gpu) that differ by more than sums in another order: linear_attention's are
# ill-conditioned, and those of kda and rwkv7 have been compared in TF32 only.
LESS_ALIKE = {"rwkv7": 0.0026, "kda": 0.0090, "linear_attention": 0.0011}
WITH_REFERENCE = [name.removesuffix("_0.5M") for name in json.loads(REFERENCE.read_text())]
FAMILIAR = {
    "deltanet", "gated_deltanet", "gla", "gru", "hgrn2", "hybrid", "kda", "linear_attention", "linear_rnn", "lstm",
    "mamba", "mamba2", "retnet", "rwkv7", "simple_gla", "transformer", "window",
}  # fmt: skip
QUICK = ("deltanet", "gla", "gru", "mamba", "transformer")  # one of each kind
# PyTorch's aot_eager takes a gradient of softplus in the layer for contiguous, which it isn't.
BROKEN = {"log_linear_mamba2": {"torch.compile"}, "momentum_deltanet": {"torch.compile"}}
TOP = yaml.safe_load(
    "{mixers: [{class_path: lit_retrieval.mixers.Attention}, {class_path: lit_retrieval.mixers.SwiGLU}]}"
)


@pytest.fixture(params=[pytest.param(name, marks=() if name in FAMILIAR else pytest.mark.slow) for name in NAMES])
def name(request):
    if request.param in OF_FLA and sys.platform != "linux":
        pytest.skip("fla needs triton, which is for Linux only")
    return request.param


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)  # fla's advice on other packages
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def build(config: dict, vocab_size: int = 16) -> SequenceModel:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SequenceModel)
    keys = ("hidden_size", "stages", "embedding", "norm")
    arguments = {key: config[key] for key in keys if key in config} | {"vocab_size": vocab_size}
    return SequenceModel(**parser.instantiate(parser.parse_object(arguments)))


def read(name: str) -> dict:
    return yaml.safe_load((CONFIGS / f"{name}_0.5M.yaml").read_text())


@pytest.mark.parametrize("name", NAMES, indirect=True)
def test_its_size_is_the_papers_within_a_tenth_and_as_its_first_lines_say(name):
    model = build(read(name))
    # The paper's own hybrid is 12.8% below its Transformer.
    assert abs(model.num_parameters / PAPERS_SIZE - 1) < (0.13 if name == "hybrid" else 0.1)
    assert f"{model.num_parameters:,} trainable parameters" in (CONFIGS / f"{name}_0.5M.yaml").read_text()


def train_on_64_samples(config: dict, steps: int, device: str = "cpu", enough: float = 0.0) -> list[float]:
    """The losses of some steps of AdamW on 64 samples of associative recall, until one is below `enough`."""
    torch.manual_seed(0)
    task = AssociativeRecall(num_keys=8, num_values=8)
    samples = BatchDataset(SampleStream(task, "vanilla", [8], 0, "fit"))[np.arange(64)]
    model = build(config, len(task.vocabulary)).to(device)
    tokens, is_model = samples.tokens.to(device), (samples.author[:, 1:] == Author.MODEL).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses: list[float] = []
    while len(losses) < steps and (not losses or losses[-1] >= enough):
        logits, _ = model(tokens[:, :-1])
        loss = F.cross_entropy(logits[is_model], tokens[:, 1:][is_model])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in NAMES], indirect=True
)
def test_it_overfits_64_samples_of_associative_recall(name):
    config = read(name) | {"hidden_size": 32, "embedding": "learned"}
    config["stages"] = [stage | {"repeat": min(stage["repeat"], 2)} for stage in config["stages"]]
    losses = train_on_64_samples(config, steps=400, enough=0.05)
    assert losses[0] > 1 and losses[-1] < 0.05


@torch.inference_mode()
def test_fresh_logits_of_a_long_input_are_finite_and_small(name):
    torch.manual_seed(0)
    logits, _ = build(read(name))(torch.randint(16, (1, 512)))
    assert logits.abs().max() < 100


@pytest.mark.parametrize("name", ["gru_0.5M", "linear_rnn_0.5M", "transformer_0.5M"])
def test_the_reference_of_the_first_step_is_current(name):
    difference = reference.compare(reference.first_step(name, "cpu"), reference.read(REFERENCE, name))
    # Processors differ in the order of their sums; an AMD EPYC from an Intel Xeon by 7.6e-4 in a gate of linear_rnn.
    assert difference.loss < 1e-5 and difference.gradient < (2e-3 if name == "linear_rnn_0.5M" else 1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", WITH_REFERENCE, indirect=True)
def test_on_a_gpu_its_first_step_is_that_of_a_cpu_and_it_learns(name):
    full_name = f"{name}_0.5M"
    difference = reference.compare(reference.first_step(full_name, "cuda"), reference.read(REFERENCE, full_name))
    # Float32: gradients differed by up to 6.6e-5, losses by up to 3.7e-7; those of kda by 3.6e-5, in TF32.
    assert difference.loss < 1e-4 and difference.gradient < 2 * LESS_ALIKE.get(name, 1e-4)
    losses = train_on_64_samples(read(name), steps=200, device="cuda")
    assert losses[-1] < losses[0]


def test_one_stage_more_puts_attention_on_top(name):
    config = read(name) | {"hidden_size": 32}
    config["stages"] = [*({**stage, "repeat": 1} for stage in config["stages"]), TOP]
    model = build(config).eval()  # Raven adds noise in training
    tokens = torch.randint(16, (2, 9))
    logits, _ = model(tokens)
    _, state = model(tokens[:, :5])
    torch.testing.assert_close(model(tokens[:, 5:], state)[0], logits[:, 5:], rtol=1e-4, atol=1e-4)
    assert isinstance(model.mixers[-2], Attention)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in sorted(OF_FLA)], indirect=True)
def test_its_layer_keeps_all_rules_of_a_mixer(name):
    torch.manual_seed(0)  # what BitNet and Raven round may flip with some weights
    config = read(name)
    layer = config["stages"][0]["mixers"][0]
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--mixer", type=MixerFactory)
    made = parser.instantiate(parser.parse_object({"mixer": layer})).mixer
    verdicts = list(report(made, config["hidden_size"], 0))
    assert len(verdicts) > 25
    broken = {verdict.rule for verdict in verdicts if verdict.result == "FAIL"}
    assert broken == BROKEN.get(name, set())


def test_every_layer_of_fla_that_can_be_a_mixer_has_a_file():
    import fla.layers

    used = {read(name)["stages"][0]["mixers"][0]["class_path"].split(".")[-1] for name in OF_FLA}
    no_mixers = {"YOCOCrossAttention", "YOCOSharedKVBuilder"}
    assert used == {*fla.layers.__all__, "SimpleGatedLinearAttention"} - no_mixers
