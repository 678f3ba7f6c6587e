"""How training goes, on the terminal: a live line for a person, silence for a log."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from visiongate.settings.schema import Monitor
from visiongate.training.loop import Epoch

UPDATES = 4  # a second: drawing takes time from training


class TrainingProgress:
    """A bar over the images of all epochs, with loss, validation metric, images a second and time left; only on a terminal.

    Args:
        title: What is being trained.
        epochs: How many at most.
        images: Of an epoch.
        monitor: The validation metric to show.
    """

    def __init__(self, title: str, epochs: int, images: int, monitor: Monitor) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            refresh_per_second=UPDATES,
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
        """Leave the last state on the screen."""
        self._progress.stop()

    def advance(self, images: int) -> None:
        """Go on by the images of a step."""
        self._progress.advance(self._task, images)

    def show(self, epoch: Epoch, images_per_second: float) -> None:
        """Show the result of an epoch, and go on to the next."""
        value = getattr(epoch, self._monitor)
        watched = "" if value is None else f" · {self._monitor.replace('_', ' ')} {value:.4f}"
        self._progress.update(
            self._task,
            completed=epoch.epoch * self._images,
            description=self._describe(min(epoch.epoch + 1, self._epochs)),
            status=f"loss {epoch.train_loss:.4f}{watched} · {images_per_second:,.0f} images/s",
        )

    def _describe(self, epoch: int) -> str:
        return f"{self._title} · epoch {epoch}/{self._epochs}"
