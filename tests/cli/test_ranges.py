"""Every integer of the trainer has a range, checked by us or by Lightning."""

import inspect
from typing import get_args

import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer

from lit_retrieval.cli.ranges import check_ranges
from lit_retrieval.errors import UserError

# What 0 and -1 mean where they are allowed.
ALLOWED = {
    ("fast_dev_run", 0): "no test run",
    ("gradient_clip_val", 0): "no clipping",
    ("limit_predict_batches", 0): "no prediction",
    ("limit_test_batches", 0): "no test",
    ("limit_val_batches", 0): "no validation",
    ("log_every_n_steps", 0): "no logging of steps",
    ("max_epochs", -1): "no limit",
    ("max_steps", -1): "no limit; refused where the schedule needs one",
    ("min_epochs", 0): "no minimum",
    ("min_steps", 0): "no minimum",
    ("num_sanity_val_steps", 0): "none",
    ("num_sanity_val_steps", -1): "all validation batches",
    ("overfit_batches", 0): "off",
    ("reload_dataloaders_every_n_epochs", 0): "never",
}
PARAMETERS = inspect.signature(Trainer.__init__).parameters
INTEGERS = [name for name, one in PARAMETERS.items() if int in (one.annotation, *get_args(one.annotation))]


def build(name, value):
    """What a command does with the number before it trains."""
    check_ranges({"seed_everything": 0, "trainer": {name: value}})
    return Trainer(**{"accelerator": "cpu", "logger": False, "enable_checkpointing": False, name: value})


CASES = [(name, value) for name in INTEGERS for value in (0, -1) if (name, value) != ("devices", -1)]  # all devices


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_number_out_of_range_is_refused(name, value):
    if (name, value) in ALLOWED:
        build(name, value)
    else:
        with pytest.raises((UserError, MisconfigurationException), match=str(value)) as refused:
            build(name, value)
        assert "\n" not in str(refused.value)


def test_the_numbers_of_this_lightning_are_known():
    assert len(INTEGERS) == 19 and {name for name, _ in ALLOWED} <= set(INTEGERS)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_is_one_of_numpys(seed):
    with pytest.raises(UserError, match=rf"seed_everything must be 0 to 4294967295, got {seed}; set seed_everything"):
        check_ranges({"seed_everything": seed, "trainer": {}})
