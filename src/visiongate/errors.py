"""Errors that a user can fix: each is printed as one line, without a traceback."""


class VisiongateError(Exception):
    """An error that the user can fix. The message names the file, setting or image, and the fix."""


class SettingsError(VisiongateError):
    """A setting in ``params.yaml`` or ``conf/`` is unknown, missing, mistyped or out of range."""


class DataError(VisiongateError):
    """An image, a table or a data set is missing or invalid."""


class TrainingError(VisiongateError):
    """A training failed or was stopped."""


class DivergedError(TrainingError):
    """The loss is NaN or infinite, or the network learns nothing (`NotLearningError`)."""


class NotLearningError(DivergedError):
    """The network is not better than predicting the most frequent class."""


class EngineError(VisiongateError):
    """A cluster cannot be reached, or its nodes cannot run the work."""
