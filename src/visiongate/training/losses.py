"""The losses that ``training.loss`` selects, summed over images so that batches and processes add up."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from visiongate.settings.training import Training

# The minimum of 1 - p: at 0, a power below 1 has no gradient.
MIN_UNCERTAINTY = 1e-6


class Loss(nn.Module):
    """Cross-entropy or focal loss, with optional label smoothing and class weights.

    Sources: Lin et al., Focal Loss for Dense Object Detection, 2017; Szegedy et al., Rethinking the Inception Architecture,
    2016, section 7.

    Args:
        training: Selects the loss.
        labels: Of the training split, int64. Balanced class weights are inversely proportional to the number of images of the
            class, and 1 on average over the images.
        classes: Number of classes.
    """

    weights: Tensor

    def __init__(self, training: Training, labels: Tensor, classes: int) -> None:
        super().__init__()
        self._gamma = training.focal_gamma if training.loss == "focal" else 0.0
        self._smoothing = training.label_smoothing
        weights = torch.ones(classes, device=labels.device)
        if training.class_weights == "balanced":
            counts = torch.bincount(labels, minlength=classes)
            # A class without images gets the weight 0, because label smoothing gives it a share of every target.
            weights = torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts.clamp(min=1)), 0.0)
        self._plain = not self._gamma and training.class_weights == "none"
        self.register_buffer("weights", weights)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over images.

        Args:
            logits: float32, N×K.
            targets: Classes, int64, N, or probabilities, N×K.
        """
        if self._plain:
            return functional.cross_entropy(logits, targets, label_smoothing=self._smoothing, reduction="sum")
        if targets.ndim == 1:
            targets = functional.one_hot(targets, logits.shape[1]).float()
        targets = torch.lerp(targets, torch.full_like(targets, 1 / logits.shape[1]), self._smoothing)
        log_probabilities = functional.log_softmax(logits, dim=1)
        terms = targets * self.weights * log_probabilities
        if self._gamma:
            terms = terms * (1 - log_probabilities.exp()).clamp(min=MIN_UNCERTAINTY) ** self._gamma
        return -terms.sum()
