"""Exceptions that end a command with one line and an exit status."""

# Exit status of a run that was stopped and saved, and can be started again (EX_TEMPFAIL of sysexits.h).
PREEMPTED = 75
# Exit status after Ctrl-C, as of a shell: 128 + SIGINT.
INTERRUPTED = 130


def one_line(said: object) -> str:
    """A text, or the message of an error, on one line."""
    return " ".join(str(said).split())


class UserError(ValueError):
    """A mistake in the user's input; its message is one line that says what was wrong and what to write instead.

    The command line prints only this line and exits with status 2; in Python it is an ordinary `ValueError`.

    Args:
        message: The line; PyTorch has the traceback of a data-loader worker before that of one raised there.
    """

    def __init__(self, message: str = "") -> None:
        if message.startswith("Caught UserError in DataLoader worker"):
            message = message.partition(f"{UserError.__module__}.UserError: ")[2].strip()
        super().__init__(message)


def missing_package(what: str, package: str) -> UserError:
    """The error where `what` needs a package of the extra `pretrained`, which is not installed."""
    return UserError(f"{what} needs the package {package}: pip install -c constraints.txt -e '.[pretrained]'")


class DamagedCheckpointError(UserError):
    """The file is damaged or is not a checkpoint; an older one may be used instead."""


class FolderInUseError(UserError):
    """Another process trains in the folder of a run: the same command may be right a little later."""


class RunEndedError(Exception):
    """Ends a run before its last step, with a message and an exit status.

    Args:
        message: One line.
        status: Exit status of the process.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
