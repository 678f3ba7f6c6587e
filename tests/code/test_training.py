import copy
import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional

from training_tasks import MODEL, PLAIN, TRAINING, make_task, same_weights, train
from visiongate.errors import DivergedError, SettingsError
from visiongate.models.normalization import ChannelStatistics, Normalization
from visiongate.models.transfer import TransferNetwork
from visiongate.settings.training import Progressive
from visiongate.training import batch_loader
from visiongate.training.averaging import WeightAverage
from visiongate.training.batches import plan_epoch, shuffled_steps, to_pixels
from visiongate.training.calibration import fit_temperature
from visiongate.training.hardware import DTYPES, Hardware, choose_hardware, reproducible
from visiongate.training.loop import MIN_SEEN_IMAGES, Callbacks, fit, predict_split
from visiongate.training.losses import Loss
from visiongate.training.seeds import seed_for
from visiongate.training.trainer import Trainer

# Batches


@pytest.mark.parametrize(
    ("count", "size", "accumulation", "plan"),
    [
        (10, 4, 1, [[4], [3], [3]]),
        (9, 4, 1, [[3], [3], [3]]),
        (1, 4, 1, [[1]]),
        (8, 4, 1, [[4], [4]]),
        (10, 2, 2, [[2, 2], [2, 2], [2]]),
        (5, 2, 2, [[3, 2]]),
        (3, 2, 1, [[3]]),
    ],
)
def test_an_epoch_has_each_image_once_in_batches_of_nearly_equal_size(
    count: int, size: int, accumulation: int, plan: list[list[int]]
) -> None:
    assert plan_epoch(count, size, accumulation, 2) == plan
    steps = list(shuffled_steps(plan, torch.arange(count), torch.Generator().manual_seed(0)))
    assert [[len(batch) for batch in batches] for batches in steps] == plan
    assert Counter(torch.cat([batch for batches in steps for batch in batches]).tolist()) == Counter(
        range(count)
    )


def test_normalization_centers_and_scales() -> None:
    normalize = Normalization(ChannelStatistics((0.5,), (0.25,)))
    pixels = normalize(to_pixels(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1)))
    assert pixels.shape == (1, 1, 1, 2)
    assert pixels.flatten().tolist() == [-2, 2]


def test_random_streams_differ_by_seed_purpose_and_index() -> None:
    seeds = [
        seed_for(0, "order", 1),
        seed_for(1, "order", 1),
        seed_for(0, "flip", 1),
        seed_for(0, "order", 2),
    ]
    assert len(set(seeds)) == 4
    assert seed_for(0, "order", 1) == seeds[0]


# Losses

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3], [3.0, 1.0, -2.0], [0.0, 1.0, 0.0]])
LABELS = torch.tensor([0, 2, 1, 1])


def loss_of(**changes: object) -> float:
    return Loss(TRAINING.model_copy(update=changes), LABELS, 3)(LOGITS, LABELS).item()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_matches_torch(smoothing: float) -> None:
    reference = nn.CrossEntropyLoss(label_smoothing=smoothing, reduction="sum")
    assert math.isclose(loss_of(label_smoothing=smoothing), reference(LOGITS, LABELS).item(), rel_tol=1e-6)


def test_balanced_weights_match_scikit_learn_and_torch() -> None:
    weights = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    reference = nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float32), reduction="sum")
    assert math.isclose(loss_of(class_weights="balanced"), reference(LOGITS, LABELS).item(), rel_tol=1e-6)


def test_focal_loss_matches_its_definition() -> None:
    shares = torch.softmax(LOGITS, dim=1).gather(1, LABELS[:, None])[:, 0]
    expected = (-((1 - shares) ** 2) * shares.log()).sum().item()
    assert math.isclose(loss_of(loss="focal", focal_gamma=2.0), expected, rel_tol=1e-5)
    assert math.isclose(loss_of(loss="focal", focal_gamma=0.0), loss_of(), rel_tol=1e-6)


def test_a_class_without_images_has_no_weight() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    training = TRAINING.model_copy(update={"class_weights": "balanced", "label_smoothing": 0.1})
    assert Loss(training, labels, 3).weights.tolist() == [1, 1, 0]


@pytest.mark.parametrize("gamma", [0.1, 0.5, 2.0])
def test_focal_loss_has_a_gradient_for_a_certain_prediction(gamma: float) -> None:
    training = TRAINING.model_copy(update={"loss": "focal", "focal_gamma": gamma})
    logits = torch.tensor([[60.0, 0.0]], requires_grad=True)
    Loss(training, torch.tensor([0, 1]), 2)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_losses_accept_probabilities_as_targets() -> None:
    shares = nn.functional.one_hot(LABELS, 3).float()
    for changes in ({}, {"loss": "focal"}, {"class_weights": "balanced"}):
        loss = Loss(TRAINING.model_copy(update=changes), LABELS, 3)
        assert torch.allclose(loss(LOGITS, shares), loss(LOGITS, LABELS))


# Weight average


def test_the_weight_average_starts_with_recent_weights() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    nn.init.zeros_(network[0].weight)
    average = WeightAverage(network, 0.9)
    weights = []
    for value in (0.0, 1.0, 1.0):
        nn.init.constant_(network[0].weight, value)
        network[1].num_batches_tracked += 1
        average.update(network)
        weights.append(average.module[0].weight.item())
    assert weights[0] == 0
    assert 0.5 < weights[1] < weights[2] < 1
    assert average.module[1].num_batches_tracked == 3


# Hardware


def test_hardware_is_chosen_by_name_or_automatically() -> None:
    for precision in DTYPES:
        assert choose_hardware("cpu", precision).precision == precision
    chosen = choose_hardware("auto", "auto")
    assert chosen.device.type in ("cpu", "cuda", "mps")
    assert choose_hardware("auto", "auto") == chosen


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({}, "fp32"), ({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16")],
)
def test_auto_is_bf16_on_a_cpu_that_supports_it(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert choose_hardware("cpu", "auto").precision == precision


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), "fp32"), ((7, 0), "fp16"), ((7, 5), "fp16"), ((9, 0), "bf16")],
    ids=["gtx1080", "v100", "t4", "h100"],
)
def test_auto_is_fp16_on_a_gpu_that_computes_it_natively_but_not_bf16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # torch emulates bf16 on older GPUs.
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda *, including_emulation: including_emulation or capability >= (8, 0),
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert choose_hardware("auto", "auto") == Hardware(torch.device("cuda"), DTYPES[precision])
    assert choose_hardware("cuda", "fp32").precision == "fp32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_an_unavailable_device_raises_an_error() -> None:
    with pytest.raises(SettingsError, match=r"training\.device.*cpu"):
        choose_hardware("cuda", "auto")


def test_reproducible_restores_torchs_settings() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    with reproducible(3):
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.rand(2)
    with reproducible(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.are_deterministic_algorithms_enabled() == before
    assert torch.utils.deterministic.fill_uninitialized_memory


# The loop


def test_training_keeps_the_best_epoch() -> None:
    task, fitted = train(TRAINING.model_copy(update={"epochs": 12}))
    assert fitted.best.val_accuracy > 0.95
    assert fitted.best == min(fitted.history, key=lambda epoch: epoch.val_loss)
    logits = predict_split(task, task.network, 7)
    loss = nn.functional.cross_entropy(logits, task.val.labels).item()
    assert math.isclose(loss, fitted.best.val_loss, rel_tol=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "muon"])
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_each_optimizer_learns_and_is_deterministic(dtype: torch.dtype, optimizer: str) -> None:
    augmentation = PLAIN.model_copy(update={"shift": 1, "noise": 0.02, "mixup": 0.2})
    training = TRAINING.model_copy(update={"augmentation": augmentation, "ema": 0.9, "gradient_clip": 1.0})
    model = MODEL.model_copy(update={"optimizer": optimizer, "lr": 0.02})
    (one, first), (two, second) = (train(training, model, dtype) for _ in range(2))
    assert first == second
    assert same_weights(one.network, two.network)
    assert first.best.val_accuracy > 0.8


def test_another_seed_gives_another_training() -> None:
    assert train()[1] != train(TRAINING.model_copy(update={"seed": 1}))[1]


def test_accumulated_batches_make_the_same_step_as_one_batch() -> None:
    linear = MODEL.model_copy(update={"optimizer": "sgd", "batch_size": 20})
    weights = []
    for accumulation in (1, 4):
        model = linear.model_copy(update={"batch_size": 20 // accumulation})
        with reproducible(0):
            task = make_task(network=nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
            fit(task, model, TRAINING.model_copy(update={"accumulation": accumulation}), Callbacks())
        weights.append(task.network[1].weight)
    assert torch.allclose(weights[0], weights[1], atol=1e-5)


def test_clipping_bounds_a_step() -> None:
    model = MODEL.model_copy(
        update={
            "optimizer": "sgd",
            "momentum": 0.0,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 0.0,
        }
    )
    training = TRAINING.model_copy(update={"epochs": 1, "gradient_clip": 1e-3})
    with reproducible(0):
        task = make_task(network=nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
        before = task.network[1].weight.detach().clone()
        fit(task, model, training, Callbacks())
    steps = math.ceil(100 / model.batch_size)
    assert 0 < (task.network[1].weight - before).norm() <= steps * model.lr * 1e-3 * 1.001


def test_patience_stops_after_epochs_without_improvement() -> None:
    stale = MODEL.model_copy(update={"lr": 1e-12})
    training = TRAINING.model_copy(update={"epochs": 50, "patience": 3, "monitor": "val_accuracy"})
    fitted = train(training, stale)[1]
    assert len(fitted.history) == fitted.best.epoch + 3 < 50


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_backbone_is_frozen_for_some_epochs_and_then_trained(optimizer: str) -> None:
    changes = {"optimizer": optimizer, "backbone_lr": 0.02, "unfreeze_after": 2, "hold_norm": True}
    model = MODEL.model_copy(update=changes)
    with reproducible(0):
        layers = [nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
        network = TransferNetwork(nn.Sequential(*layers), nn.Linear(8, 2))
        network.pretrained = "elsewhere"
        task = make_task(network=network)
        trainer = Trainer(task, model, TRAINING)
        head = [network.head.weight.clone()]
        backbone = [copy.deepcopy(network.backbone)]
        for epoch in (1, 2, 3):
            trainer.train_epoch(epoch, lambda _count: None)
            head.append(network.head.weight.clone())
            backbone.append(copy.deepcopy(network.backbone))
    assert not any(torch.equal(before, after) for before, after in pairwise(head))
    assert [same_weights(before, after) for before, after in pairwise(backbone)] == [True, True, False]


def test_patience_counts_from_the_epoch_that_unfreezes_the_backbone() -> None:
    stale = MODEL.model_copy(update={"lr": 1e-12, "backbone_lr": 1e-12, "unfreeze_after": 10})
    training = TRAINING.model_copy(update={"epochs": 50, "patience": 3, "monitor": "val_accuracy"})
    fitted = train(training, stale)[1]
    assert fitted.best.epoch < 10
    assert len(fitted.history) == 13


def test_a_diverging_training_raises_an_error() -> None:
    wild = MODEL.model_copy(update={"lr": 1e30, "optimizer": "sgd", "warmup": 0.0})
    with pytest.raises(DivergedError, match=r"model\.lr"):
        train(model=wild)


@pytest.mark.parametrize("skip_easy", [0.0, 0.5])
def test_a_training_that_learns_nothing_raises_an_error(skip_easy: float) -> None:
    deaf = MODEL.model_copy(update={"lr": 0.0, "optimizer": "sgd"})
    with reproducible(0):
        task = make_task(network=nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
        nn.init.zeros_(task.network[1].weight)
        # So few images take more epochs than give_up, and more if an epoch leaves some out.
        due = math.ceil(MIN_SEEN_IMAGES / (len(task.train) * (1 - skip_easy)))
        changes = {"give_up": 2, "epochs": due + 1, "skip_easy": skip_easy}
        with pytest.raises(DivergedError, match=rf"epoch {due}: .* model\.lr"):
            fit(task, deaf, TRAINING.model_copy(update=changes), Callbacks())


def test_top_3_cannot_be_monitored_with_two_classes() -> None:
    with pytest.raises(SettingsError, match=r"training\.monitor"):
        train(TRAINING.model_copy(update={"monitor": "val_top3"}))


def test_roc_auc_cannot_be_monitored_with_one_class() -> None:
    with reproducible(0):
        task = make_task()
        task.val.labels.fill_(1)
        with pytest.raises(SettingsError, match=r"training\.monitor"):
            fit(task, MODEL, TRAINING.model_copy(update={"monitor": "val_roc_auc"}), Callbacks())
        assert len(fit(task, MODEL, TRAINING.model_copy(update={"give_up": 1}), Callbacks()).history) == 4


def test_a_batch_of_one_image_raises_an_error() -> None:
    with pytest.raises(SettingsError, match=r"model\.batch_size"):
        train(model=MODEL.model_copy(update={"batch_size": 1}))


def test_augmenting_several_steps_at_once_gives_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    augmentation = PLAIN.model_copy(update={"shift": 1, "flip": "random", "rotation": 10.0, "cutout": 1})
    training = TRAINING.model_copy(update={"augmentation": augmentation})
    together = train(training)
    monkeypatch.setattr(batch_loader, "CPU_GROUP_VALUES", 1)
    one_by_one = train(training)
    assert math.isclose(together[1].best.val_loss, one_by_one[1].best.val_loss, rel_tol=1e-4)


def test_progressive_sizes_change_at_their_step() -> None:
    training = TRAINING.model_copy(
        update={"progressive": Progressive.model_construct(size=3, until=0.5), "epochs": 2}
    )
    plan = [[16], [16], [16]]
    source = batch_loader.BatchLoader(make_task(), training, plan)
    sizes = [
        [batch.images.shape[-1] for (batch,) in source.steps(epoch, torch.arange(48))] for epoch in (1, 2)
    ]
    assert sizes == [[3, 3, 3], [4, 4, 4]]
    odd = training.model_copy(update={"progressive": Progressive.model_construct(size=3, until=0.2)})
    assert [
        batch.images.shape[-1]
        for (batch,) in batch_loader.BatchLoader(make_task(), odd, plan).steps(1, torch.arange(48))
    ] == [3, 3, 4]


def test_callbacks_get_every_image_and_epoch() -> None:
    images, epochs = [], []
    with reproducible(0):
        listeners = Callbacks(lambda epoch, speed: epochs.append((epoch.epoch, speed > 0)), images.append)
        fit(make_task(), MODEL, TRAINING, listeners)
    assert sum(images) == 400
    assert epochs == [(1, True), (2, True), (3, True), (4, True)]


# Calibration


def test_calibration_recovers_the_temperature() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 4, generator=generator)
    labels = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    assert math.isclose(fit_temperature(2.5 * logits, labels), 2.5, rel_tol=0.05)
    assert math.isclose(fit_temperature(0.5 * logits, labels), 0.5, rel_tol=0.05)


@pytest.mark.parametrize("images", [20, 200])
def test_a_few_correct_predictions_do_not_make_the_model_certain(images: int) -> None:
    labels = torch.arange(images) % 3
    logits = functional.one_hot(labels, 3) * 4.0
    confidence = torch.softmax(logits / fit_temperature(logits, labels), dim=1).max(dim=1).values
    assert confidence.tolist() == pytest.approx([(images + 1) / (images + 2)] * images, abs=1e-3)


def test_the_temperature_is_bounded() -> None:
    labels = torch.arange(300) % 3
    assert fit_temperature(functional.one_hot(labels, 3) * 0.01, labels) == pytest.approx(0.05)
