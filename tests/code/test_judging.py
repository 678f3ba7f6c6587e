"""The images that judge the trials of a search, and how a trial is measured on them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visiongate.errors import DataError
from visiongate.images.pixels import load_split
from visiongate.optimization.judging import load_judging_images
from visiongate.optimization.measuring import measure_trial
from visiongate.records.history import EpochMetrics
from visiongate.settings.loading import load_settings, replace_settings
from workspaces import write_arrays

SETTINGS = replace_settings(
    load_settings(Path(__file__).parents[2] / "params.yaml"),
    {"optimize.epochs": 2, "training.epochs": 2, "optimize.min_val_images": 30},
    "test",
)
OPTIMIZE = SETTINGS.optimize


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Pixel arrays of two classes that differ in where they are bright; the brightness of the first pixel is the row."""
    generator, splits, row = np.random.default_rng(0), {}, 0
    for split, count in (("train", 48), ("val", 24), ("test", 2)):
        labels = np.arange(count) % 2
        images = generator.integers(0, 100, (count, 8, 8, 1))
        images[labels == 1, :4] += 60
        images[:, 0, 0, 0] = np.arange(row, row + count)
        splits[split] = images.astype(np.uint8), labels
        row += count
    transform = {
        "size": 8,
        "mode": "L",
        "resize": "stretch",
        "mean": [0.3],
        "std": [0.2],
        "classes": ["a", "b"],
    }
    write_arrays(tmp_path, splits, transform)
    return tmp_path


def rows(images: np.ndarray) -> list[int]:
    return sorted(images[:, 0, 0, 0].tolist())


def test_each_image_but_those_of_the_test_split_validates_once(arrays: Path) -> None:
    images = load_judging_images(arrays, OPTIMIZE)
    assert len(images) == 3
    validated = []
    for fold in range(3):
        train, val = images.splits(fold)
        assert sorted(rows(train.images) + rows(val.images)) == list(range(72))
        assert np.bincount(val.labels).tolist() == [12, 12]
        assert np.bincount(train.labels).tolist() == [24, 24]
        validated += rows(val.images)
    assert sorted(validated) == list(range(72))


def test_a_group_stays_in_one_fold(arrays: Path) -> None:
    manifest = pq.read_table(arrays / "manifest.parquet")
    # Of the 72 images that a search may use, twelve groups of four, and single ones.
    groups = [f"patient {row // 4}" if row < 48 else None for row in range(len(manifest))]
    column = manifest.column_names.index("group")
    pq.write_table(
        manifest.set_column(column, "group", pa.array(groups, pa.string())), arrays / "manifest.parquet"
    )
    images = load_judging_images(arrays, OPTIMIZE)
    validated = [set(fold.val.tolist()) for fold in images.folds]
    assert sorted(row for fold in validated for row in fold) == list(range(72))
    for first in range(0, 48, 4):
        assert any(set(range(first, first + 4)) <= fold for fold in validated)


@pytest.mark.parametrize("changes", [{"min_val_images": 24}, {"folds": 1}])
def test_a_large_enough_validation_split_judges(arrays: Path, changes: dict[str, int]) -> None:
    images = load_judging_images(arrays, OPTIMIZE.model_copy(update=changes))
    assert len(images) == 1
    train, val = images.splits(0)
    assert isinstance(train.images, np.memmap)
    np.testing.assert_array_equal(train.images, load_split(arrays, "train").images)
    np.testing.assert_array_equal(val.labels, load_split(arrays, "val").labels)


def test_a_trial_has_the_mean_score_of_its_folds(arrays: Path) -> None:
    steps, epochs, scores = list[int](), list[EpochMetrics](), list[float]()

    def on_step(step: int, epoch: EpochMetrics, score: float) -> None:
        steps.append(step)
        epochs.append(epoch)
        scores.append(score)

    value = measure_trial(SETTINGS, arrays, on_step)
    assert steps == [1, 2, 3, 4, 5, 6]
    best = [min(epochs[first : first + 2], key=lambda epoch: epoch.val_loss) for first in (0, 2, 4)]
    assert value == scores[-1] == pytest.approx(np.mean([epoch.val_accuracy for epoch in best]))
    assert scores[0] == epochs[0].val_accuracy
    assert measure_trial(SETTINGS, arrays, on_step) == value


def test_a_fold_does_not_depend_on_the_folds_before_it(arrays: Path) -> None:
    def losses(*, is_fresh: bool) -> list[float]:
        found = list[float]()
        settings = replace_settings(SETTINGS, {"training.seed": 4}, "test")
        measure_trial(
            settings, arrays, lambda _step, epoch, _score: found.append(epoch.val_loss), is_fresh=is_fresh
        )
        return found

    # Seed 4 is measured on fold 1 of 3.
    assert losses(is_fresh=True) == losses(is_fresh=False)[2:4]


def test_epochs_that_patience_saves_are_steps(arrays: Path) -> None:
    settings = replace_settings(
        SETTINGS,
        {
            "optimize.epochs": 4,
            "training.epochs": 4,
            "training.patience": 1,
            "model.lr": 1e-12,
            "training.give_up": None,
        },
        "test",
    )
    steps = list[int]()
    measure_trial(settings, arrays, lambda step, _epoch, _score: steps.append(step))
    assert {1, 5, 9} <= set(steps) <= set(range(1, 13))


def test_missing_arrays_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_judging_images(tmp_path, OPTIMIZE)
