import math

import pytest
import torch
from torch import nn

from training_tasks import MODEL, TinyCNN
from visiongate.errors import SettingsError
from visiongate.training.optimizers import NEWTON_SCHULZ_STEPS, KernelMuon, make_optimizers
from visiongate.training.schedule import FINAL_SHARE, Schedule, lr_factor


def recipe(**changes: object):  # noqa: ANN201
    return MODEL.model_copy(update=changes)


@pytest.mark.parametrize(
    ("schedule", "end"),
    [("constant", 1), ("step", 0.01), ("cosine", FINAL_SHARE), ("linear", FINAL_SHARE), ("one_cycle", 4e-6)],
)
def test_schedules_rise_to_the_peak_and_fall_to_their_end(schedule: str, end: float) -> None:
    factor = lr_factor(recipe(schedule=schedule, warmup=0.25), 100)
    rising = [factor(step) for step in range(25)]
    assert rising == sorted(rising)
    assert 0 < rising[0] < 0.05
    assert factor(25) == 1
    falling = [factor(step) for step in range(25, 101)]
    assert falling == sorted(falling, reverse=True)
    assert math.isclose(falling[-1], end)


def test_one_cycle_matches_torch() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], 1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=101, pct_start=0.3)
    ours = lr_factor(recipe(schedule="one_cycle", warmup=0.3), 100)
    for step in range(100):
        assert math.isclose(ours(step), reference.get_last_lr()[0], abs_tol=0.03)
        optimizer.step()
        reference.step()


def test_cosine_and_linear_pass_the_middle_and_steps_fall_at_milestones() -> None:
    for schedule in ("cosine", "linear"):
        assert math.isclose(lr_factor(recipe(schedule=schedule, warmup=0.0), 100)(50), (1 + FINAL_SHARE) / 2)
    factor = lr_factor(recipe(schedule="step", warmup=0.0, milestones=[0.2, 0.6], gamma=0.5), 10)
    assert [factor(step) for step in (0, 1, 2, 5, 6, 9)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_a_schedule_sets_all_groups_after_a_restore() -> None:
    optimizers = make_optimizers(TinyCNN(), recipe(optimizer="muon", bias_lr=4.0, head_lr=4.0, warmup=0.0))
    schedule = Schedule(optimizers, recipe(schedule="linear", warmup=0.0), 10)
    for optimizer in optimizers:
        optimizer.load_state_dict(optimizer.state_dict())
    assert math.isclose(schedule.set_step(5), 0.05 * (1 + FINAL_SHARE) / 2)
    rates = {round(group["lr"], 6) for optimizer in optimizers for group in optimizer.param_groups}
    assert rates == {round(0.025025, 6), round(0.1001, 6)}


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_weight_decay_applies_to_matrices_only(name: str, kind: type) -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    (optimizer,) = make_optimizers(network, recipe(optimizer=name, bias_lr=2.0))
    assert type(optimizer) is kind
    settings_of = {
        id(p): (group["weight_decay"], group["lr"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert [settings_of[id(parameter)] for parameter in network.parameters()] == [(0.01, 0.05)] + 3 * [
        (0, 0.1)
    ]


def test_muon_updates_hidden_matrices_and_sgd_the_rest() -> None:
    network = TinyCNN()
    muon, rest = make_optimizers(network, recipe(optimizer="muon"))
    assert isinstance(muon, KernelMuon)
    matrices = [matrix for group in muon.param_groups for matrix in group["params"]]
    assert [tuple(matrix.shape) for matrix in matrices] == [(8, 9), (8, 72)]
    taken = {id(parameter) for group in rest.param_groups for parameter in group["params"]}
    assert taken == {
        id(parameter)
        for name, parameter in network.named_parameters()
        if name not in ("backbone.0.weight", "backbone.3.weight")
    }


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_updates_a_kernel_like_its_matrix(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 4, 3, 3).contiguous(memory_format=layout))
    matrix = nn.Parameter(kernel.detach().movedim(1, -1).reshape(6, -1).clone())
    gradient = torch.randn(6, 4, 3, 3)
    kernel.grad = gradient.contiguous(memory_format=layout)
    matrix.grad = gradient.movedim(1, -1).reshape(6, -1)
    KernelMuon([kernel], recipe(momentum=0.9, weight_decay=0.1), lr=0.1).step()
    torch.optim.Muon([matrix], lr=0.1, momentum=0.9, weight_decay=0.1, ns_steps=NEWTON_SCHULZ_STEPS).step()
    assert torch.allclose(kernel.detach().movedim(1, -1).reshape(6, -1), matrix.detach(), atol=1e-6)


def test_hold_norm_keeps_the_norm_of_a_kernel() -> None:
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(16, 4, 3, 3))
    optimizer = KernelMuon([kernel], recipe(momentum=0.9, weight_decay=0.0, hold_norm=True), lr=0.01)
    for _ in range(3):
        kernel.grad = torch.randn_like(kernel)
        optimizer.step()
    assert math.isclose(kernel.norm().item(), 4.0, rel_tol=0.02)


def test_a_backbone_has_its_own_learning_rate_or_is_frozen() -> None:
    network = TinyCNN()
    (optimizer,) = make_optimizers(network, recipe(backbone_lr=0.001))
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network.backbone.parameters()} == {0.001}
    assert {rates[id(p)] for p in network.head.parameters()} == {0.05}
    (optimizer,) = make_optimizers(network, recipe(backbone_lr=0.0))
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"backbone_lr": 0.0}, "backbone_lr"), ({"backbone_lr": 0.1, "unfreeze_after": 3}, "unfreeze_after")],
)
def test_freezing_random_weights_raises_an_error(changes: dict[str, object], key: str) -> None:
    network = TinyCNN()
    network.pretrained = None
    with pytest.raises(SettingsError, match=rf"model\.{key} .* would freeze random weights"):
        make_optimizers(network, recipe(**changes))


def test_a_network_without_a_backbone_raises_an_error() -> None:
    with pytest.raises(SettingsError, match=r"model\.backbone_lr"):
        make_optimizers(nn.Sequential(nn.Linear(1, 1)), recipe(backbone_lr=0.0))
