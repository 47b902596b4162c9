"""The rules of a mixer, in the order in which they are checked."""

from lit_retrieval.conformance import Rule
from lit_retrieval.mixers.checks import along_time, auxiliary_loss, cost, gradients, interface, surroundings
from lit_retrieval.mixers.checks.case import Case

_IN_ANY_PIECES = ("in random pieces", "token by token")

RULES: list[Rule[Case]] = [
    Rule("result", interface.returns_output_and_state, is_cheap=True),
    Rule("shape", interface.keeps_the_shape, ("result",), is_cheap=True),
    Rule("state", interface.has_a_state_with_batch_first, ("shape",), is_cheap=True),
    Rule("state_size", interface.counts_its_state, ("state",), is_cheap=True),
    Rule("decoding", interface.says_how_it_decodes, ("state",)),
    Rule("deterministic", along_time.is_deterministic, ("shape",), is_cheap=True),
    Rule("causal", along_time.is_causal, ("deterministic",), is_cheap=True),
    Rule("causal with NaN", along_time.keeps_nan_out_of_the_past, ("causal",)),
    Rule("reads its state", along_time.reads_its_state, ("causal", "state"), is_cheap=True),
    Rule("in pieces", along_time.agrees_in_pieces, ("reads its state",), is_cheap=True),
    Rule("in long pieces", along_time.agrees_in_long_pieces, ("in pieces",), is_cheap=True),
    Rule("in random pieces", along_time.agrees_in_random_pieces, ("in long pieces",)),
    Rule("token by token", along_time.agrees_token_by_token, ("in pieces",), is_cheap=True),
    Rule("training mode", along_time.trains_as_it_evaluates, ("deterministic",), is_cheap=True),
    Rule("in turns", along_time.keeps_sequences_apart, ("in pieces",), is_cheap=True),
    Rule("rows", along_time.has_independent_rows, ("in pieces",), is_cheap=True),
    Rule("ragged prompts", along_time.decodes_ragged_prompts, (*_IN_ANY_PIECES, "rows")),
    Rule("auxiliary loss", auxiliary_loss.is_added, ("deterministic",), is_cheap=True),
    Rule("auxiliary loss: rows", auxiliary_loss.leaves_out_padding, ("auxiliary loss", "rows"), is_cheap=True),
    Rule("gradient: inputs", gradients.reach_the_inputs, ("deterministic",)),
    Rule("gradient: weights", gradients.reach_every_parameter, ("deterministic",)),
    Rule("gradient: state", gradients.reach_the_first_state, ("reads its state",)),
    Rule("gradient: in pieces", gradients.agree_in_pieces, ("gradient: state", *_IN_ANY_PIECES)),
    Rule("deepcopy", surroundings.can_be_copied, ("deterministic",)),
    Rule("float64", surroundings.agrees_in_float64, ("deterministic", "deepcopy")),
    Rule("bfloat16", surroundings.agrees_in_bfloat16, ("deterministic", "deepcopy")),
    Rule("CUDA", surroundings.agrees_on_cuda, ("deterministic", "deepcopy")),
    Rule("torch.compile", surroundings.agrees_compiled, ("gradient: inputs",)),
    Rule("state_dict", surroundings.can_be_saved, ("deterministic", "deepcopy"), is_cheap=True),
    Rule("seed", surroundings.starts_from_the_seed),
    Rule("inference mode", surroundings.trains_after_decoding, ("deterministic",), is_cheap=True),
    Rule("cost: state", cost.of_the_state, ("state",)),
    Rule("cost: memory", cost.of_training, ("shape",)),
    Rule("cost: time", cost.of_time, ("shape",)),
]
