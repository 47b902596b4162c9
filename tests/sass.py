"""The machine instructions of a kernel that was compiled for an NVIDIA GPU."""

import re
import subprocess
import tempfile
from collections import Counter


def count_instructions(cubin: bytes) -> Counter[str]:
    """How often each instruction stands in a compiled kernel, without its modifiers, such as FFMA; by nvdisasm."""
    import triton

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.nvdisasm.path, "-c", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(\w+)", text)
    return Counter(lines)
