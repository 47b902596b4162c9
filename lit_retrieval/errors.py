"""The one exception that means: you, the user, can mend this."""


class UserError(ValueError):
    """A mistake in what the user wrote; its message is one line that says what was wrong and what to write instead.

    The command line prints that line alone and exits with status 2; from Python it is an ordinary `ValueError`.
    """
