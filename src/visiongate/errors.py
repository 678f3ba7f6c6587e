"""The errors a user can act on: one line, without a traceback."""


class VisiongateError(Exception):
    """Something the user can mend. The message names the file, key or image, and what to do."""


class SettingsError(VisiongateError):
    """A setting in ``params.yaml`` or ``conf/`` is unknown, missing, mistyped or out of range."""


class DataError(VisiongateError):
    """An image, a table or a data set is not what a stage needs."""


class TrainingError(VisiongateError):
    """A training that cannot go on, or is not worth going on with."""


class DivergedError(TrainingError):
    """A training whose loss is no longer a number, or that learns nothing."""
