"""Why a command ends early: exceptions whose message is one line, each with its exit status."""

# A run that was stopped and saved (EX_TEMPFAIL of sysexits.h): whoever started it may start it again.
PREEMPTED = 75


class UserError(ValueError):
    """A mistake in what the user wrote; its message is one line that says what was wrong and what to write instead.

    The command line prints that line alone and exits with status 2; from Python it is an ordinary `ValueError`.
    """


class DamagedCheckpointError(UserError):
    """A file that was a checkpoint and is one no more, or never was; an older one may do in its place."""


class RunEndedError(Exception):
    """A run that ends before its last step, and in order: what it says, and the status to exit with.

    Args:
        message: One line.
        status: Exit status of the process.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
