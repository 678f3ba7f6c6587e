"""Why a run stopped, in one line, and whether to try again."""


class RunError(Exception):
    """A retry gives the same result: a failed stage, a failed gate, an invalid setting."""


class TemporaryError(Exception):
    """A retry may help: a process was killed, the network failed."""
