"""python -m lit_retrieval.torchrun: torchrun, which ends with the exit status of its workers."""

import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lit_retrieval.errors import PREEMPTED


def main() -> None:
    """Run torchrun, and exit with 75 after a signal, with 130 after Ctrl-C, or as the first worker that failed did.

    torchrun passes a signal on and waits for its workers, who save and exit with that; but whatever happened, its own
    status is 1, which tells no launcher whether to start the run again.
    """
    try:
        run.main()
    except SignalException as error:
        print(f"error: {error}; start the same command again to go on", file=sys.stderr)
        sys.exit(128 + signal.SIGINT if error.sigval == signal.SIGINT else PREEMPTED)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        sys.exit(first.exitcode if first.exitcode > 0 else 1)


if __name__ == "__main__":
    main()
