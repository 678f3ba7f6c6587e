import math

import pytest
import torch

from torchvision_reference import adjust, rotate
from training_tasks import PLAIN
from visiongate.training.augmentation import Augmenter, cut_out, mix_up, move, recolor, shrink, turn

IMAGES = torch.arange(1, 10, dtype=torch.uint8).view(1, 3, 3, 1)
STILL = torch.zeros(1, 2, dtype=torch.long)


def settings(**changes: object):  # noqa: ANN201
    return PLAIN.model_copy(update=changes)


def noise(count: int = 4, channels: int = 3, side: int = 8) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_move_shifts_down_and_right_and_fills_with_black() -> None:
    shifts = torch.tensor([[1, 0], [0, -1], [0, 0]])
    moved = move(IMAGES.repeat(3, 1, 1, 1), shifts, torch.zeros(3, dtype=torch.bool), "black")[..., 0]
    assert moved[0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
    assert torch.equal(moved[2], IMAGES[0, ..., 0])


def test_move_reflects_like_torch() -> None:
    shifts = torch.tensor([[2, -1]])
    moved = move(IMAGES, shifts, torch.zeros(1, dtype=torch.bool), "reflect")
    padded = torch.nn.functional.pad(IMAGES.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), mode="reflect")
    assert torch.equal(moved[0, ..., 0].float(), padded[0, 0, 0:3, 3:6])


def test_move_flips_the_selected_images() -> None:
    flips = torch.tensor([True, False])
    moved = move(IMAGES.repeat(2, 1, 1, 1), STILL.repeat(2, 1), flips, "black")[..., 0]
    assert moved[0].tolist() == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert torch.equal(moved[1], IMAGES[0, ..., 0])


def test_alternating_flips_every_second_epoch() -> None:
    augmenter = Augmenter(settings(flip="alternating"), 0)
    first, second, third = (augmenter.draw(1000, epoch).flip for epoch in (1, 2, 3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 400 < first.sum() < 600


def test_parameters_depend_on_seed_and_epoch() -> None:
    augmenter = Augmenter(settings(flip="random", shift=2), 0)
    first, second = augmenter.draw(1000, 1), augmenter.draw(1000, 2)
    assert not torch.equal(first.flip, second.flip)
    assert torch.equal(first.shift, augmenter.draw(1000, 1).shift)
    assert sorted(first.shift.unique().tolist()) == [-2, -1, 0, 1, 2]
    assert not torch.equal(first.shift, Augmenter(settings(flip="random", shift=2), 1).draw(1000, 1).shift)


@pytest.mark.parametrize("angle", [90.0, 30.0, -15.0])
def test_turn_rotates_like_torchvision(angle: float) -> None:
    pixels = noise(1, 1, 9)
    turned = turn(pixels, torch.tensor([math.radians(angle)]), torch.ones(1))
    assert torch.allclose(turned, rotate(pixels, angle), atol=1e-4)


def test_turn_scales_about_the_center() -> None:
    pixels = torch.zeros(1, 1, 8, 8)
    pixels[:, :, 3:5, 3:5] = 1
    larger = turn(pixels, torch.zeros(1), torch.tensor([2.0]))
    assert larger.sum() > 3 * pixels.sum()
    assert torch.allclose(larger, larger.flip(2).flip(3), atol=1e-5)


def test_recolor_matches_torchvision() -> None:
    pixels = noise()
    factors = torch.tensor([[1.2, 0.7, 1.5]]).repeat(4, 1)
    assert torch.allclose(recolor(pixels, factors), adjust(pixels, 1.2, 0.7, 1.5), atol=2e-3)


def test_saturation_does_not_change_gray_images() -> None:
    pixels = noise(channels=1)
    assert torch.equal(
        recolor(pixels, torch.tensor([[1.1, 1.0, 0.0]]).repeat(4, 1)),
        recolor(pixels, torch.tensor([[1.1, 1.0, 9.0]]).repeat(4, 1)),
    )


def test_cut_out_fills_a_square_with_the_mean() -> None:
    pixels = noise(1)
    holed = cut_out(pixels, torch.tensor([[0.5, 0.5]]), 4)
    changed = (holed != pixels).all(dim=1)[0]
    assert changed.nonzero().min(dim=0).values.tolist() == [2, 2]
    assert changed.sum() == 16
    assert torch.allclose(holed[0, :, 2, 2], pixels.mean(dim=(2, 3))[0])
    corner = cut_out(pixels, torch.tensor([[0.0, 0.0]]), 4)
    assert (corner != pixels).all(dim=1).sum() == 4


def test_mixup_uses_one_share_for_images_and_targets() -> None:
    targets = torch.eye(4)
    pixels = targets[:, :, None, None].expand(4, 4, 2, 2)
    mixed, shares = mix_up(pixels, targets, 0.5, torch.Generator().manual_seed(1))
    assert torch.allclose(mixed.mean(dim=(2, 3)), shares)
    assert torch.allclose(shares.sum(dim=1), torch.ones(4))
    assert not torch.equal(shares, targets)


def test_shrink_keeps_the_mean() -> None:
    small = shrink(noise(2, 3, 32), 24)
    assert small.shape == (2, 3, 24, 24)
    assert math.isclose(small.mean(), noise(2, 3, 32).mean(), abs_tol=0.01)


def test_augmentation_does_not_depend_on_the_batch() -> None:
    strong = settings(
        flip="random",
        shift=1,
        rotation=20.0,
        zoom=0.2,
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        cutout=3,
    )
    augmenter = Augmenter(strong, 0)
    images = (noise(10) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    parameters = augmenter.draw(10, 1)
    whole = augmenter(images, parameters.take(torch.arange(10)))
    some = torch.tensor([7, 2, 5])
    assert torch.allclose(augmenter(images[some], parameters.take(some)), whole[some], atol=1e-6)
    assert whole.shape == (10, 3, 8, 8)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= whole.min() < whole.max() <= 1


def test_noise_has_the_requested_standard_deviation() -> None:
    augmenter = Augmenter(settings(noise=0.1), 0)
    gray = torch.full((50, 8, 8, 3), 128, dtype=torch.uint8)
    pixels = augmenter(gray, augmenter.draw(50, 1))
    assert math.isclose(pixels.std(), 0.1, rel_tol=0.05)
