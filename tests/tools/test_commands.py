"""Commands forked from a process that has imported everything."""

import os
from unittest.mock import patch

from sweeps import commands


def test_a_forked_command_gets_its_settings_and_leaves_those_of_this_process(tmp_path):
    seen = {}
    with patch.object(commands, "get_context") as get_context, patch.dict(os.environ):
        get_context.return_value.Process.return_value.start = lambda: seen.update(os.environ)
        before = dict(os.environ)
        commands.start_warm(["fit"], str(tmp_path), tmp_path / "log.txt", {"NUMBA_NUM_THREADS": "7"})
        assert dict(os.environ) == before
    assert seen["NUMBA_NUM_THREADS"] == "7" and "tools" in seen["PYTHONPATH"]
