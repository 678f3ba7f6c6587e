import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from folded_images import write_folds
from training_tasks import MODEL
from visiongate import paths
from visiongate.commands.lr_range import format_command, run
from visiongate.errors import DataError, NotLearningError, SettingsError
from visiongate.training.lr_range import DIVERGED, judge_losses
from workspaces import write_pixels

ROOT = Path(__file__).parents[2]
RATES = [float(rate) for rate in np.geomspace(1e-6, 10, 400)]


def loss_at(rate: float) -> float:
    """A loss that falls fastest at 0.01 and explodes above 1."""
    return 2 - 1 / (1 + (0.01 / rate) ** 2) + max(rate - 1, 0) ** 2 * 10


def test_the_suggestion_lies_where_the_loss_falls_fastest_in_spite_of_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, len(RATES))
    result = judge_losses(RATES, [loss_at(rate) + each for rate, each in zip(RATES, noise, strict=True)])
    assert 0.005 < result.suggestion < 0.05
    assert result.has_diverged
    assert len(result.losses) == len(result.rates) < len(RATES)


@pytest.mark.parametrize("end", [math.nan, math.inf, 1e6])
def test_the_test_ends_when_the_loss_diverges(end: float) -> None:
    taken = []

    def losses() -> Iterator[float]:
        for step, rate in enumerate(RATES):
            taken.append(step)
            yield end if step == 300 else loss_at(rate)

    result = judge_losses(RATES, losses())
    assert (taken[-1], len(result.losses)) == (300, 300)
    assert max(result.losses) <= DIVERGED * min(result.losses)


@pytest.mark.parametrize("losses", [[2.0] * 400, [math.nan], [1.0, 2.0, 30.0], [*np.linspace(1, 3.9, 400)]])
def test_a_loss_that_no_rate_lowers_raises_an_error(losses: list[float]) -> None:
    with pytest.raises(NotLearningError, match=r"no learning rate from 1e-06 to .* lowered the loss"):
        judge_losses(RATES, losses)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize("write", [write_pixels, write_folds])
def test_the_command_writes_a_plot_and_a_command_to_try(
    write: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    write(paths.TRANSFORMED)
    overrides = ("training.device=cpu", "model.options.width=4", "model.lr=0.5")
    assert run(overrides, steps=120, low=1e-4, high=10.0) == 0
    assert paths.LR_RANGE.read_bytes().startswith(b"\x89PNG")
    *_, suggestion, command = capsys.readouterr().out.splitlines()
    rate = float(suggestion.split()[3])
    assert 1e-4 < rate < 10
    assert command.strip() == (
        f"dvc exp run -S training.device=cpu -S model.options.width=4 -S model.lr={rate:.2g}"
    )
    assert not Path("params.yaml").exists()


def test_the_command_to_try_replaces_the_rates_and_keeps_the_ratio_of_the_backbones() -> None:
    model = MODEL.model_copy(update={"lr": 0.5, "backbone_lr": 0.05})
    overrides = ["model.lr=0.5", "model=resnet18", "dataset.path='/data/My Pets'"]
    assert format_command(overrides, model, 0.0123) == (
        "dvc exp run -S model=resnet18 -S 'dataset.path='\"'\"'/data/My Pets'\"'\"'' -S model.lr=0.012 "
        "-S model.backbone_lr=0.0012"
    )


@pytest.mark.usefixtures("workspace")
@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (("model=random_forest",), SettingsError, r"model\.kind = baseline has no learning rate"),
        (("model=probe",), SettingsError, r"model\.kind = probe has no learning rate"),
        (("model=nonsense",), SettingsError, "nonsense"),
        ((), DataError, r"data/transformed/transform\.json"),
    ],
)
def test_what_cannot_run_raises_an_error(
    overrides: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(overrides, steps=50, low=1e-3, high=1.0)


@pytest.mark.usefixtures("workspace")
def test_images_of_another_size_and_an_empty_range_raise_errors() -> None:
    write_pixels(paths.TRANSFORMED)
    with pytest.raises(DataError, match="data/transformed has L images of 8 pixels, not L of 16"):
        run(("transformation.size=16",), steps=50, low=1e-3, high=1.0)
    with pytest.raises(SettingsError, match=r"--low 1 --high 0\.1 is invalid"):
        run((), steps=50, low=1.0, high=0.1)
