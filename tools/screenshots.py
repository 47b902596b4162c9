"""Screenshots of TensorBoard by Chromium: `python tools/screenshots.py runs -o shots`."""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_retrieval.errors import UserError
from lit_retrieval.parsing import OneLineErrors, one_line_errors

TABS = ("timeseries", "scalars", "images", "text", "hparams")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_START_WITHIN = 60.0  # seconds


def main() -> None:
    """Take the screenshots that the command line asks for."""
    parser = OneLineErrors(description="Take a screenshot of each tab of TensorBoard.")
    parser.add_argument("logs", type=Path, help="folder of one run or several")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the screenshots")
    parser.add_argument("--port", type=int, default=6016, help="port of TensorBoard")
    parser.add_argument("--seconds", type=int, default=20, help="seconds that a tab may take to load")
    arguments = parser.parse_args()
    with one_line_errors():
        for picture in take(arguments.logs, arguments.output, arguments.port, arguments.seconds):
            print(picture, flush=True)


def take(logs: Path, output: Path, port: int, seconds: int) -> Iterator[Path]:
    """Write TAB.png for each tab."""
    if not logs.is_dir():
        raise UserError(f"logs must be the folder of a run or of several, got {logs}, which is no folder")
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UserError("Chromium is not installed; install it, for example with `apt-get install chromium`")
    output.mkdir(parents=True, exist_ok=True)
    with serving(logs, port) as address:
        for tab in TABS:
            picture = output / f"{tab}.png"
            subprocess.run(
                [
                    browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                    "--window-size=1500,1400", f"--virtual-time-budget={seconds * 1000}",
                    f"--screenshot={picture.resolve()}", f"{address}/#{tab}",
                ],
                check=True, capture_output=True,
            )  # fmt: skip
            yield picture


@contextmanager
def serving(logs: Path, port: int) -> Iterator[str]:
    """Start TensorBoard on a folder, yield its address once it has runs, and end it afterwards."""
    address = f"http://localhost:{port}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]
    process = subprocess.Popen([*command, "--load_fast=false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_WITHIN
        while not _has_runs(address):
            if time.monotonic() > deadline or process.poll() is not None:
                raise UserError(f"TensorBoard shows no run of {logs} on port {port}; set another folder or --port")
            time.sleep(0.5)
        yield address
    finally:
        process.kill()
        process.wait()


def _has_runs(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/data/runs") as reply:
            return bool(reply.read().strip() != b"[]")
    except urllib.error.URLError:
        return False


if __name__ == "__main__":
    main()
