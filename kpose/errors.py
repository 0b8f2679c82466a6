"""The errors that reach a user as one line and an exit code (design, command line)."""


class KposeError(Exception):
    """Base of the errors that kpose raises on purpose.

    The message says what was expected, what came, and which file.
    """

    exit_code = 1


class InputError(KposeError, ValueError):
    """The call cannot start or go on with what it was given: exit code 1."""


class GateError(KposeError):
    """A result missed a threshold (parity, accuracy): exit code 2."""

    exit_code = 2


class ResourceError(KposeError):
    """Memory or disk ran out: exit code 3."""

    exit_code = 3
