"""What a training asks of a GPU, counted without one: copies to the device, reads from it and its operators."""

from collections import Counter
from collections.abc import Collection, Mapping

import pytest
import torch
from torch._ops import OpOverload
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from training_tasks import MODEL, PLAIN, TRAINING, make_task
from visiongate.models.grid_pooling import pool_by_products
from visiongate.models.registry import build_network, network_names
from visiongate.training.batch_loader import BatchLoader
from visiongate.training.batches import TensorSplit, plan_epoch
from visiongate.training.hardware import Hardware, reproducible
from visiongate.training.task import Task
from visiongate.training.trainer import CHECK_INTERVAL, Trainer

META = torch.device("meta")
BUSY = TRAINING.model_copy(
    update={
        "epochs": 2,
        "ema": 0.9,
        "gradient_clip": 1.0,
        "label_smoothing": 0.1,
        "augmentation": PLAIN.model_copy(
            update={
                "flip": "random",
                "shift": 1,
                "rotation": 5.0,
                "brightness": 0.1,
                "cutout": 1,
                "noise": 0.1,
            }
        ),
    }
)
# Those that torch.use_deterministic_algorithms documents to fail on a GPU, as operators of ATen.
WITHOUT_DETERMINISTIC_ALGORITHM = {
    "_adaptive_avg_pool2d_backward",
    "_upsample_bilinear2d_aa_backward",
    "adaptive_max_pool2d_backward",
    "cumsum",
    "grid_sampler_2d_backward",
    "histc",
    "median",
    "nll_loss2d_forward",
    "put_",
    "reflection_pad2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
}


class Operators(TorchDispatchMode):
    """Counts operators by name, and copies from the CPU to another device as ``upload``."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Collection[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        result = func(*args, **(kwargs or {}))
        self.counts[func.overloadpacket.__name__] += 1
        is_upload = getattr(result, "device", None) == META and getattr(args[0], "device", META) != META
        self.counts["upload"] += is_upload
        return result


def test_batches_are_made_on_the_device_without_a_copy_per_step() -> None:
    uploads = []
    for batch_size in (50, 5):
        task = make_task()
        train = TensorSplit(task.train.images.to(META), task.train.labels.to(META))
        on_meta = Hardware(META, torch.float32)
        task = Task(task.network, 2, train, task.val, task.normalize.to(META), on_meta)
        loader = BatchLoader(task, BUSY, plan_epoch(100, batch_size, 1, 2))
        with Operators() as operators:
            steps = list(loader.steps(1, torch.arange(100, device=META)))
        assert len(steps) == 100 / batch_size
        assert {batch.images.device for batches in steps for batch in batches} == {META}
        uploads.append(operators.counts["upload"])
    assert uploads[0] == uploads[1] > 0


# adam and adamw read the number of their steps too, which torch keeps on the CPU.
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_training_reads_from_the_device_only_to_check_the_loss(optimizer: str) -> None:
    model = MODEL.model_copy(update={"optimizer": optimizer, "batch_size": 4, "hold_norm": True})
    with reproducible(0):
        trainer = Trainer(make_task(), model, BUSY)
        trainer.train_epoch(1, lambda _images: None)
        with Operators() as operators:
            trainer.train_epoch(2, lambda _images: None)
    assert len(plan_epoch(100, model.batch_size, 1, 2)) < CHECK_INTERVAL
    assert operators.counts["_local_scalar_dense"] == 1


@pytest.mark.parametrize("name", network_names())
def test_each_network_has_a_deterministic_gradient_on_a_gpu(name: str) -> None:
    network = build_network(name, {}, 3, 64, 5).to(META)
    images, labels = torch.empty(4, 3, 64, 64, device=META), torch.zeros(4, dtype=torch.int64, device=META)
    with Operators() as operators:
        functional.cross_entropy(network(images), labels).backward()
    assert "convolution_backward" in operators.counts
    assert not WITHOUT_DETERMINISTIC_ALGORITHM & operators.counts.keys()


@pytest.mark.parametrize(
    ("height", "width", "grid"), [(4, 4, 3), (28, 28, 4), (7, 9, 3), (3, 3, 3), (1, 5, 3)]
)
def test_pooling_on_a_gpu_equals_torchs(height: int, width: int, grid: int) -> None:
    images = torch.rand(2, 3, height, width, requires_grad=True)
    results = []
    for pool in (pool_by_products, functional.adaptive_avg_pool2d):
        pooled = pool(images, grid)
        weights = torch.arange(pooled.numel(), dtype=torch.float32).view_as(pooled)
        (gradient,) = torch.autograd.grad((pooled * weights).sum(), images)
        results.append((pooled, gradient))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-5)
