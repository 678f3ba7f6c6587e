"""Losses by the names that ``training.loss`` uses, as sums over images, so that batches and processes add up."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from visiongate.settings.schema import Training

SURE = 1e-6  # 1 - p of what is known: at 0 the power of a gamma below 1 has no gradient


class Loss(nn.Module):
    """The loss of a batch, summed over its images.

    Cross-entropy, or focal loss, which weighs each class's part by ``(1 - p)^gamma`` so that what is known already counts less
    (Lin et al., Focal Loss for Dense Object Detection, 2017); with label smoothing (Szegedy et al., 2016) and class weights
    where the settings ask for them.

    Args:
        training: Which.
        labels: int64, of the training split: balanced weights are inversely proportional to a class's number of images, and 1
            on average over the images.
        classes: How many.
    """

    weights: Tensor

    def __init__(self, training: Training, labels: Tensor, classes: int) -> None:
        super().__init__()
        self._gamma = training.focal_gamma if training.loss == "focal" else 0.0
        self._smoothing = training.label_smoothing
        weights = torch.ones(classes, device=labels.device)
        if training.class_weights == "balanced":
            counts = torch.bincount(labels, minlength=classes)
            # A class without images would weigh more than all others, and label smoothing gives it a share.
            weights = torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)
        self._plain = not self._gamma and training.class_weights == "none"
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over images.

        Args:
            logits: float32, N×K.
            targets: int64, N, or a probability a class, N×K.
        """
        if self._plain:
            return functional.cross_entropy(logits, targets, label_smoothing=self._smoothing, reduction="sum")
        if targets.ndim == 1:
            targets = functional.one_hot(targets, logits.shape[1]).float()
        targets = torch.lerp(targets, torch.full_like(targets, 1 / logits.shape[1]), self._smoothing)
        log_shares = functional.log_softmax(logits, dim=1)
        parts = targets * self.weights * log_shares
        if self._gamma:
            parts = parts * (1 - log_shares.exp()).clamp(min=SURE) ** self._gamma
        return -parts.sum()
