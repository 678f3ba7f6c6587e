import io

from rich.console import Console

from visiongate.reporting.progress import TrainingProgress
from visiongate.training.loop import Epoch

EPOCH = Epoch(2, 0.1, 0.5, 0.8, 0.4, 0.91)


def draw(monkeypatch, *, terminal: bool) -> str:  # noqa: ANN001
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=160)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    with TrainingProgress("small_cnn", 3) as bar:
        bar.show(EPOCH, 1234.5)
    return stream.getvalue()


def test_a_terminal_sees_loss_accuracy_and_speed(monkeypatch) -> None:  # noqa: ANN001
    drawn = draw(monkeypatch, terminal=True)
    for part in (
        "small_cnn",
        "2/3",
        "loss 0.5000",
        "val loss 0.4000",
        "val accuracy 91.00%",
        "1,234 images/s",
    ):
        assert part in drawn


def test_a_log_stays_quiet(monkeypatch) -> None:  # noqa: ANN001
    assert draw(monkeypatch, terminal=False) == ""
