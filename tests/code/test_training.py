import math
from collections import Counter

import pytest
import torch
from torch import nn

from visiongate.config import Model, Training
from visiongate.errors import DivergedError, SettingsError
from visiongate.training.batches import Normalisation, Tensors, shift, shuffled_batches
from visiongate.training.calibration import fit_temperature
from visiongate.training.hardware import Hardware, choose_hardware, repeatable
from visiongate.training.loop import Epoch, Task, fit, predict_logits
from visiongate.training.recipe import FINAL_SHARE, lr_factor, make_optimizer, make_schedule

MODEL = Model(
    name="small_cnn",
    options={},
    lr=0.05,
    batch_size=16,
    optimizer="adamw",
    momentum=0.9,
    weight_decay=0.01,
    schedule="one_cycle",
    warmup=0.2,
)
TRAINING = Training(
    epochs=4,
    patience=None,
    monitor="val_loss",
    label_smoothing=0.0,
    max_shift=0,
    seed=0,
    device="cpu",
    precision="fp32",
)


def halves(count: int, seed: int) -> Tensors:
    """Images whose brighter half tells the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images = torch.randint(0, 100, (count, 4, 4, 1), generator=generator, dtype=torch.uint8)
    images[labels == 0, :2] += 100
    images[labels == 1, 2:] += 100
    return Tensors(images, labels)


def make_task(dtype: torch.dtype = torch.float32, network: nn.Module | None = None) -> Task:
    return Task(
        network or nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)),
        halves(100, 0),
        halves(40, 1),
        Normalisation(torch.full((1, 1, 1, 1), 0.4), torch.full((1, 1, 1, 1), 0.2)),
        Hardware(torch.device("cpu"), dtype),
    )


def train(training: Training = TRAINING, model: Model = MODEL, dtype: torch.dtype = torch.float32):  # noqa: ANN201
    with repeatable(training.seed):
        task = make_task(dtype)
        return task, fit(task, model, training, lambda _epoch, _speed: None)


# Batches


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (1, 4, [1]), (8, 4, [4, 4])]
)
def test_an_epoch_holds_each_image_once_and_no_batch_of_one(count: int, size: int, sizes: list[int]) -> None:
    data = Tensors(torch.zeros(count, 2, 2, 1, dtype=torch.uint8), torch.arange(count))
    batches = [labels for _, labels in shuffled_batches(data, size, 0, torch.Generator().manual_seed(0))]
    assert [len(labels) for labels in batches] == sizes
    assert Counter(torch.cat(batches).tolist()) == Counter(range(count))


def test_images_keep_their_labels_when_shuffled_and_shifted() -> None:
    images = torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1).expand(50, 6, 6, 1)
    data = Tensors(images.contiguous(), torch.arange(50))
    for batch, labels in shuffled_batches(data, 16, 2, torch.Generator().manual_seed(0)):
        assert torch.equal(batch.amax(dim=(1, 2, 3)).long(), labels)


def test_shift_moves_down_and_right_and_fills_with_black() -> None:
    images = torch.arange(1, 10, dtype=torch.uint8).view(1, 3, 3, 1).repeat(3, 1, 1, 1)
    moved = shift(images, torch.tensor([[1, 0], [0, -1], [0, 0]]), 1)[..., 0]
    assert moved[0].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved[1].tolist() == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
    assert torch.equal(moved[2], images[2, ..., 0])


def test_normalisation_centres_and_scales() -> None:
    normalise = Normalisation(torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 0.25))
    pixels = normalise(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1))
    assert pixels.shape == (1, 1, 1, 2)
    assert pixels.flatten().tolist() == [-2, 2]


# Recipe


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_schedules_rise_to_the_peak_and_end_where_they_should(schedule: str) -> None:
    factor = lr_factor(schedule, 0.25, 100)
    rising = [factor(step) for step in range(25)]
    assert rising == sorted(rising)
    assert 0 < rising[0] < 0.05
    assert factor(25) == 1
    falling = [factor(step) for step in range(25, 101)]
    assert falling == sorted(falling, reverse=True)
    assert math.isclose(falling[-1], 1 if schedule == "constant" else FINAL_SHARE)


def test_cosine_and_one_cycle_are_half_way_in_the_middle() -> None:
    for schedule in ("cosine", "one_cycle"):
        assert math.isclose(lr_factor(schedule, 0, 100)(50), (1 + FINAL_SHARE) / 2)


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimizers_decay_matrices_alone(name: str, kind: type) -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    optimizer = make_optimizer(network, MODEL.model_copy(update={"optimizer": name}))
    assert type(optimizer) is kind
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert [decays[id(parameter)] for parameter in network.parameters()] == [0.01, 0, 0, 0]
    assert make_schedule(optimizer, MODEL, 10).get_last_lr()[0] < MODEL.lr


# Hardware


def test_hardware_is_chosen_by_name_or_found() -> None:
    assert choose_hardware("cpu", "bf16").precision == "bf16"
    assert choose_hardware("cpu", "fp32").precision == "fp32"
    assert choose_hardware("auto", "auto").device.type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("capability", ["amx_bf16", "avx512_bf16", None])
def test_auto_is_bf16_where_the_cpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, capability: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert choose_hardware("cpu", "auto").precision == ("bf16" if capability else "fp32")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine without CUDA is needed")
def test_an_absent_device_is_told() -> None:
    with pytest.raises(SettingsError, match=r"training\.device = 'cuda': not on this machine; it has .*cpu"):
        choose_hardware("cuda", "auto")


def test_repeatable_restores_what_it_changed() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with repeatable(3):
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.rand(2)
    with repeatable(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.are_deterministic_algorithms_enabled() == before


# The loop


def test_training_learns_and_leaves_the_best_epoch() -> None:
    task, fitted = train(TRAINING.model_copy(update={"epochs": 12}))
    assert fitted.best.val_accuracy > 0.95
    assert fitted.best == min(fitted.history, key=lambda epoch: epoch.val_loss)
    logits = predict_logits(task, task.val, 7)
    loss = nn.functional.cross_entropy(logits, task.val.labels).item()
    assert math.isclose(loss, fitted.best.val_loss, rel_tol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_twice_gives_the_same_weights(dtype: torch.dtype) -> None:
    (one, first), (two, second) = (train(dtype=dtype) for _ in range(2))
    assert first == second
    assert all(
        torch.equal(a, b) for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True)
    )


def test_another_seed_gives_another_training() -> None:
    assert train()[1] != train(TRAINING.model_copy(update={"seed": 1}))[1]


def test_patience_stops_after_so_many_epochs_without_a_better() -> None:
    stale = MODEL.model_copy(update={"lr": 1e-12})
    _, fitted = train(
        TRAINING.model_copy(update={"epochs": 50, "patience": 3, "monitor": "val_accuracy"}), stale
    )
    assert len(fitted.history) == fitted.best.epoch + 3 < 50


def test_a_diverging_training_stops_with_advice() -> None:
    wild = MODEL.model_copy(update={"lr": 1e30, "optimizer": "sgd", "warmup": 0.0})
    with pytest.raises(DivergedError, match=r"diverged\. Lower model\.lr \(now 1e\+30\)"):
        train(model=wild)


def epoch(loss: float, accuracy: float) -> Epoch:
    return Epoch(1, 0.1, 1.0, 0.5, loss, accuracy)


def test_better_is_by_the_monitored_metric_and_ties_by_the_loss() -> None:
    assert epoch(0.5, 0.8).better_than(None, "val_loss")
    assert epoch(0.4, 0.7).better_than(epoch(0.5, 0.8), "val_loss")
    assert not epoch(0.4, 0.7).better_than(epoch(0.5, 0.8), "val_accuracy")
    assert epoch(0.4, 0.8).better_than(epoch(0.5, 0.8), "val_accuracy")


# Calibration


def test_the_temperature_that_was_applied_is_found() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    assert math.isclose(fit_temperature(2.5 * logits, labels), 2.5, rel_tol=0.05)
    assert math.isclose(fit_temperature(0.5 * logits, labels), 0.5, rel_tol=0.05)


def test_flawless_logits_give_a_bounded_temperature() -> None:
    logits = 10 * torch.eye(3)
    assert 0.05 <= fit_temperature(logits, torch.arange(3)) < 1
