import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from training_tasks import MODEL, TRAINING, TinyCNN, make_task, same_weights
from visiongate.errors import DivergedError
from visiongate.training.checkpoint import Checkpoint
from visiongate.training.hardware import Hardware, reproducible
from visiongate.training.loop import Callbacks, fit
from visiongate.training.loss_scaling import LossScaler
from visiongate.training.trainer import Trainer

FIRST_SCALE = 2.0**16
MUON = MODEL.model_copy(update={"optimizer": "muon", "lr": 0.02})


class LoudCNN(TinyCNN):
    """Its gradients overflow fp16 at the first scale: they are multiplied by 100 on the way back from the logits."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.head.bias, 0.0)
        self.head.weight.detach().div_(100)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 100


class Hopeless(nn.Sequential):
    """Its loss is finite, and its gradients are NaN."""

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        return logits + (logits * 0).sqrt()


def scale_of(trainer: Trainer) -> float:
    return trainer.state()["loss_scale"]["scale"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_have_no_scale(dtype: torch.dtype) -> None:
    network = nn.Linear(1, 1)
    scaler = LossScaler(network, Hardware(torch.device("cpu"), dtype))
    loss = network(torch.ones(1, 1)).sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    network.weight.grad.fill_(torch.inf)
    assert scaler.unscale()
    assert scaler.state() == {}
    assert not scaler.is_exhausted


def test_an_infinite_gradient_of_one_optimizer_skips_the_step_of_all() -> None:
    with reproducible(0):
        task = make_task(torch.float16)
        trainer = Trainer(task, MUON, TRAINING.model_copy(update={"ema": 0.9, "gradient_clip": 1.0}))
        # Muon trains the kernel, and SGD the head.
        average = trainer.averaged.backbone[0].weight
        watched = [task.network.backbone[0].weight, task.network.head.weight, average]
        steps = trainer.try_factors([1.0] * 4)
        before = [value.detach().clone() for value in watched]
        overflow = task.network.head.weight.register_hook(lambda gradient: gradient * torch.inf)
        assert all(math.isfinite(next(steps)) for _ in range(2))
        assert all(map(torch.equal, watched, before))
        assert scale_of(trainer) == FIRST_SCALE / 4
        overflow.remove()
        next(steps)
        assert not any(map(torch.equal, watched, before))
        assert scale_of(trainer) == FIRST_SCALE / 4


def test_a_training_learns_in_spite_of_skipped_steps() -> None:
    with reproducible(0):
        task = make_task(torch.float16, LoudCNN())
        assert fit(task, MODEL, TRAINING, Callbacks()).best.val_accuracy > 0.8


@pytest.mark.parametrize("changes", [{}, {"accumulation": 4}, {"gradient_clip": 1e-3}])
def test_fp16_takes_the_steps_of_fp32(changes: dict[str, object]) -> None:
    model = MODEL.model_copy(update={"optimizer": "sgd", "batch_size": 4})
    weights, first = [], None
    for dtype in (torch.float32, torch.float16):
        with reproducible(0):
            task = make_task(dtype, nn.Sequential(nn.Flatten(), nn.Linear(16, 2)))
            first = task.network[1].weight.detach().clone()
            fit(task, model, TRAINING.model_copy(update=changes), Callbacks())
        weights.append(task.network[1].weight.detach())
    assert (weights[1] - weights[0]).norm() < 0.02 * (weights[0] - first).norm()


def test_a_restored_training_continues_at_its_scale(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c", {})
    networks, scales = [], []
    for is_resumed in (False, True):
        with reproducible(0):
            task = make_task(torch.float16, LoudCNN())
            trainer = Trainer(task, MUON, TRAINING)
            if is_resumed:
                state, _ = checkpoint.load()
                trainer.restore(state)
            else:
                trainer.train_epoch(1, lambda _images: None)
                checkpoint.save(trainer.state())
            scales.append(scale_of(trainer))
            trainer.train_epoch(2, lambda _images: None)
            networks.append(task.network)
    assert scales[0] == scales[1] < FIRST_SCALE
    assert same_weights(*networks)


def hopeless() -> Hopeless:
    return Hopeless(nn.Flatten(), nn.Linear(16, 2))


def test_a_training_whose_gradients_overflow_at_any_scale_raises_an_error() -> None:
    with reproducible(0), pytest.raises(DivergedError, match=r"the loss is nan.*training\.precision=fp32"):
        fit(make_task(torch.float16, hopeless()), MODEL, TRAINING, Callbacks())


def test_the_range_test_sees_an_infinite_loss_when_no_scale_helps() -> None:
    with reproducible(0):
        trainer = Trainer(make_task(torch.float16, hopeless()), MODEL, TRAINING)
        losses = torch.tensor(list(trainer.try_factors([1.0] * 20)))
    # The scale is halved 17 times until it is below 1.
    assert losses.isfinite().tolist() == [True] * 16 + [False] * 4
