"""A progress bar of a training on a terminal."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from visiongate.records.history import EpochMetrics

UPDATES_PER_SECOND = 4


class TrainingProgress:
    """A progress bar over the images of all epochs; it draws nothing if the output is not a terminal.

    Args:
        title: The name of the model.
        epochs: Maximum number of epochs.
        images: Images per epoch.
        monitor: The validation metric to show.
    """

    def __init__(self, title: str, epochs: int, images: int, monitor: str) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            refresh_per_second=UPDATES_PER_SECOND,
        )
        self._progress.disable = not self._progress.console.is_terminal
        self._title, self._epochs, self._images, self._monitor = title, epochs, images, monitor
        self._task = self._progress.add_task(self._describe(1), total=epochs * images, status="")

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def advance(self, images: int) -> None:
        """Advance by the images of a step."""
        self._progress.advance(self._task, images)

    def show(self, epoch: EpochMetrics, images_per_second: float) -> None:
        """Show the metrics of an epoch."""
        value = getattr(epoch, self._monitor)
        monitored = "" if value is None else f" · {self._monitor.replace('_', ' ')} {value:.4f}"
        self._progress.update(
            self._task,
            completed=epoch.epoch * self._images,
            description=self._describe(min(epoch.epoch + 1, self._epochs)),
            status=f"loss {epoch.train_loss:.4f}{monitored} · {images_per_second:,.0f} images/s",
        )

    def _describe(self, epoch: int) -> str:
        return f"{self._title} · epoch {epoch}/{self._epochs}"
