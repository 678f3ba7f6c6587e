"""A task that trains in milliseconds, and its recipe."""

import torch
from torch import nn

from visiongate.models.normalization import ChannelStatistics, Normalization
from visiongate.settings.model import Model
from visiongate.settings.training import (
    Augmentation,
    Export,
    Launch,
    Progressive,
    ReliabilityChoice,
    Training,
)
from visiongate.training.batches import TensorSplit
from visiongate.training.hardware import Hardware, reproducible
from visiongate.training.loop import Callbacks, FitResult, fit
from visiongate.training.task import Task

MODEL = Model(
    kind="network",
    name="small_cnn",
    options={},
    lr=0.05,
    backbone_lr=None,
    unfreeze_after=None,
    batch_size=16,
    optimizer="adamw",
    momentum=0.9,
    weight_decay=0.01,
    bias_lr=1.0,
    head_lr=1.0,
    hold_norm=False,
    schedule="linear",
    warmup=0.2,
    milestones=[0.5, 0.75],
    gamma=0.1,
)
PLAIN = Augmentation(
    flip="none",
    shift=0,
    border="black",
    rotation=0.0,
    zoom=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    noise=0.0,
    cutout=0,
    mixup=0.0,
)
TRAINING = Training(
    epochs=4,
    patience=None,
    give_up=None,
    monitor="val_loss",
    loss="cross_entropy",
    focal_gamma=2.0,
    label_smoothing=0.0,
    class_weights="none",
    gradient_clip=None,
    accumulation=1,
    skip_easy=0.0,
    ema=None,
    seed=0,
    device="cpu",
    precision="fp32",
    augmentation=PLAIN,
    progressive=Progressive(size=None, until=0.5),
    launch=Launch(processes=1, machines=1, address="localhost:29400"),
    tensorboard=False,
    reliability=ReliabilityChoice(error_rate=0.05, false_alarms=0.05),
    export=Export(tta="none", precision="fp32"),
)


def halves(count: int, seed: int) -> TensorSplit:
    """Images whose class is the brighter half."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images = torch.randint(0, 100, (count, 4, 4, 1), generator=generator, dtype=torch.uint8)
    images[labels == 0, :2] += 100
    images[labels == 1, 2:] += 100
    return TensorSplit(images, labels)


class TinyCNN(nn.Module):
    """Convolutions, batch norm and dropout: one of each kind of state. The second kernel has a memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.Flatten(),
            nn.Dropout(0.1),
        )
        self.head = nn.Linear(128, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(images))


def make_task(dtype: torch.dtype = torch.float32, network: nn.Module | None = None) -> Task:
    hardware = Hardware(torch.device("cpu"), dtype)
    normalize = Normalization(ChannelStatistics((0.4,), (0.2,)))
    return Task(hardware.place(network or TinyCNN()), 2, halves(100, 0), halves(40, 1), normalize, hardware)


def train(
    training: Training = TRAINING, model: Model = MODEL, dtype: torch.dtype = torch.float32
) -> tuple[Task, FitResult]:
    with reproducible(training.seed):
        task = make_task(dtype)
        return task, fit(task, model, training, Callbacks())


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
