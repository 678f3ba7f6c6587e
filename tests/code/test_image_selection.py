from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from training_tasks import MODEL, TRAINING, halves, make_task
from visiongate.errors import SettingsError
from visiongate.training.hardware import reproducible
from visiongate.training.image_selection import ImageSelection, images_per_epoch
from visiongate.training.loop import Callbacks, fit

CPU = torch.device("cpu")
SKIPPING = TRAINING.model_copy(update={"skip_easy": 0.25})
COUNT = 100


def use(selection: ImageSelection, images: torch.Tensor) -> None:
    """Record losses that rise with the index of the image."""
    logits = functional.pad(images[:, None] / COUNT, (0, 1))
    selection.record(images, logits, torch.ones_like(images))
    selection.finish_epoch()


def test_every_image_is_used_by_default() -> None:
    selection = ImageSelection(COUNT, TRAINING, CPU)
    use(selection, torch.arange(COUNT))
    assert torch.equal(selection.choose(2), torch.arange(COUNT))
    assert images_per_epoch(COUNT, TRAINING) == COUNT


def test_easy_images_are_left_out_at_random() -> None:
    selection = ImageSelection(COUNT, SKIPPING, CPU)
    use(selection, torch.arange(COUNT))
    second, third = selection.choose(2).tolist(), selection.choose(3).tolist()
    assert len(second) == len(third) == images_per_epoch(COUNT, SKIPPING) == 75
    # The easiest half loses half of its images.
    assert sum(image < 50 for image in second) == 25
    assert second[-50:] == [*range(50, 100)]
    assert second != third
    assert selection.choose(2).tolist() == second


def test_an_image_that_was_not_used_is_not_easy() -> None:
    selection = ImageSelection(COUNT, SKIPPING, CPU)
    first = selection.choose(1)
    use(selection, first)
    assert first[:38].tolist() != [*range(38)]
    assert set(range(COUNT)) <= {*first.tolist(), *selection.choose(2).tolist()}


def test_an_image_that_becomes_difficult_returns() -> None:
    selection = ImageSelection(COUNT, SKIPPING, CPU)
    use(selection, torch.arange(COUNT))
    selection.record(torch.arange(10), torch.tensor([[9.0, 0.0]] * 10), torch.ones(10, dtype=torch.long))
    selection.finish_epoch()
    assert all(set(range(10)) <= {*selection.choose(epoch).tolist()} for epoch in range(3, 20))


def test_a_training_counts_the_images_that_it_uses() -> None:
    used = []
    with reproducible(0):
        result = fit(make_task(), MODEL, SKIPPING, Callbacks(on_images=used.append))
    assert sum(used) == 75 * SKIPPING.epochs
    assert result.best.val_accuracy > 0.9
    assert all(0 <= epoch.train_accuracy <= 1 for epoch in result.history)


def test_an_epoch_of_one_image_raises_an_error() -> None:
    training = TRAINING.model_copy(update={"skip_easy": 0.5})
    with (
        reproducible(0),
        pytest.raises(SettingsError, match=r"training\.skip_easy = 0\.5 .* of 2 .* epoch: 1;"),
    ):
        fit(replace(make_task(), train=halves(2, 0)), MODEL, training, Callbacks())
