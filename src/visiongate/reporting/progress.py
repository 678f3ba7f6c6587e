"""How training goes, on the terminal: a live line for a person, silence for a log."""

from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from visiongate.training.loop import Epoch


class TrainingProgress:
    """A bar over the epochs with loss, validation accuracy, images a second and time left; only drawn on a terminal.

    Args:
        title: What is being trained.
        epochs: How many at most.
    """

    def __init__(self, title: str, epochs: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self._progress.disable = not self._progress.console.is_terminal
        self._task = self._progress.add_task(title, total=epochs, status="")

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        self._progress.stop()

    def show(self, epoch: Epoch, images_per_second: float) -> None:
        """Advance to the end of an epoch."""
        status = (
            f"loss {epoch.train_loss:.4f} · val loss {epoch.val_loss:.4f} · val accuracy {epoch.val_accuracy:.2%} · "
            f"{images_per_second:,.0f} images/s"
        )
        self._progress.update(self._task, completed=epoch.epoch, status=status)
