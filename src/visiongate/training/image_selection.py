"""Choose the images of each epoch, and leave out some of the easy ones."""

import torch
from torch import Tensor
from torch.nn import functional

from visiongate.settings.training import Training
from visiongate.training import distributed
from visiongate.training.seeds import generator_for


def images_per_epoch(count: int, training: Training) -> int:
    """Return how many of ``count`` training images an epoch uses."""
    return count - int(training.skip_easy * count)


class ImageSelection:
    """The images of each epoch; an epoch leaves out the share ``skip_easy``.

    These are drawn from twice as many images with the lowest losses when they were last used, so that each image returns. An
    image that has not been used is never easy.

    Sources: Qin et al., InfoBatch, 2024, which draws from the images below the mean loss; K. Jordan, 94% on CIFAR-10 in 3.29
    Seconds on a Single GPU, 2024, section 3.6, where a small network finds the easy images.

    Args:
        count: Training images.
        training: States the share and the seed.
        device: Of the losses.
    """

    def __init__(self, count: int, training: Training, device: torch.device) -> None:
        self._training = training
        self._left_out = count - images_per_epoch(count, training)
        self._losses = torch.full((count,), torch.inf, device=device)
        self._recorded = torch.zeros(2, count, device=device)

    def choose(self, epoch: int) -> Tensor:
        """Return the indices of the images of an epoch, from 1, in ascending order."""
        count, device = len(self._losses), self._losses.device
        if not self._left_out:
            return torch.arange(count, device=device)
        random = generator_for(self._training.seed, "selection", epoch)
        # Images with equal losses, such as all in the first epoch, are in random order.
        shuffled = torch.randperm(count, generator=random).to(device)
        easy = shuffled[self._losses[shuffled].argsort(stable=True)[: 2 * self._left_out]]
        left_out = easy[torch.randperm(len(easy), generator=random)[: self._left_out].to(device)]
        is_chosen = torch.ones(count, dtype=torch.bool, device=device).index_fill(0, left_out, value=False)
        return is_chosen.nonzero().squeeze(1)

    def record(self, indices: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Note the losses of images that this process used.

        Args:
            indices: Of the images, N.
            logits: float32, N×K.
            targets: Classes, int64, N, or probabilities, N×K.
        """
        if self._left_out:
            losses = functional.cross_entropy(logits.detach(), targets, reduction="none")
            self._recorded[:, indices] = torch.stack([losses, torch.ones_like(losses)])

    def finish_epoch(self) -> None:
        """Take over what all processes noted."""
        if self._left_out:
            losses, is_used = distributed.sum_over_processes(self._recorded)
            self._losses = torch.where(is_used > 0, losses, self._losses)
            self._recorded = torch.zeros_like(self._recorded)

    def state(self) -> dict[str, Tensor]:
        """Return what the next epochs depend on."""
        return {"losses": self._losses} if self._left_out else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        if self._left_out:
            self._losses = state["losses"].to(self._losses.device)
