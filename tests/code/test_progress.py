import io

from rich.console import Console

from visiongate.records.history import EpochMetrics
from visiongate.training.progress import TrainingProgress

EPOCH = EpochMetrics(2, 0.1, 0.5, 0.8, 0.4, 0.91, 0.9, 0.9, 0.9, None, None)


def draw(monkeypatch, epoch: EpochMetrics, *, terminal: bool, monitor: str = "val_accuracy") -> str:  # noqa: ANN001
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=160)
    monkeypatch.setattr("rich.progress.get_console", lambda: console)
    with TrainingProgress("small_cnn", 3, 100, monitor) as bar:
        bar.advance(64)
        bar.show(epoch, 1234.5)
        bar.advance(50)
    return stream.getvalue()


def test_a_terminal_shows_epoch_loss_metric_and_speed(monkeypatch) -> None:  # noqa: ANN001
    drawn = draw(monkeypatch, EPOCH, terminal=True)
    for part in ("small_cnn", "epoch 3/3", "loss 0.5000", "val accuracy 0.9100", "1,234 images/s", "83%"):
        assert part in drawn


def test_an_undefined_metric_is_not_shown(monkeypatch) -> None:  # noqa: ANN001
    assert "top3" not in draw(monkeypatch, EPOCH, terminal=True, monitor="val_top3")


def test_nothing_is_drawn_without_a_terminal(monkeypatch) -> None:  # noqa: ANN001
    assert draw(monkeypatch, EPOCH, terminal=False) == ""
