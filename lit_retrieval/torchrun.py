"""python -m lit_retrieval.torchrun: torchrun with the exit status of its workers."""

import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lit_retrieval.errors import INTERRUPTED, PREEMPTED


def main() -> None:
    """Run torchrun, and exit with 75 after a signal, 130 after Ctrl-C, or the status of the first failed worker.

    That of a worker that was killed is 128 + the signal's number, as in a shell. torchrun itself always exits with 1,
    which does not tell a launcher whether to start the run again.
    """
    try:
        run.main()
    except SignalException as error:
        print(f"error: {error}; the same command resumes the run", file=sys.stderr)
        sys.exit(INTERRUPTED if error.sigval == signal.SIGINT else PREEMPTED)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)


if __name__ == "__main__":
    main()
