"""Optional logs for TensorBoard."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from visiongate.errors import SettingsError
from visiongate.records.history import EpochMetrics


class EpochLog:
    """Writes the metrics of each epoch as TensorBoard scalars; without a writer it writes nothing."""

    def __init__(self, writer: Any = None) -> None:  # noqa: ANN401 - an optional package's SummaryWriter
        self._writer = writer

    def write(self, epoch: EpochMetrics) -> None:
        """Write the defined metrics; training and validation share a chart."""
        if self._writer is None:
            return
        for name, value in epoch.defined().items():
            if name != "epoch":
                split, _, metric = name.partition("_")
                self._writer.add_scalar(f"{metric}/{split}" if metric else name, value, epoch.epoch)


@contextmanager
def open_epoch_log(directory: Path, *, enabled: bool) -> Iterator[EpochLog]:
    """Open the log of a training. A resumed training replaces the epochs that its log contains.

    Args:
        directory: The folder of the event files.
        enabled: ``training.tensorboard``.

    Raises:
        SettingsError: It is enabled and the package is not installed.
    """
    if not enabled:
        yield EpochLog()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        raise SettingsError(
            "params.yaml: training.tensorboard = true needs a package: `pip install tensorboard`, or set it to false"
        ) from None
    with SummaryWriter(directory, purge_step=1) as writer:
        yield EpochLog(writer)
