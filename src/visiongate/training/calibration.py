"""Temperature scaling of the logits."""

import torch
from torch import Tensor
from torch.nn import functional

# Beyond these bounds the logits are degenerate rather than miscalibrated.
BOUNDS = (0.05, 20.0)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature that minimizes the cross-entropy of the divided logits.

    If the logits predict every label, the cross-entropy alone would make all confidences 1, although a few images cannot show
    that. So each label has the probability of Laplace's rule of succession after N successes in N images, (N + 1) / (N + 2).

    Sources: Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2; Platt, Probabilistic Outputs for Support
    Vector Machines, 1999, section 2.2, for the labels.

    Args:
        logits: float, N×K, of images that the network was not trained on.
        labels: int64, N.

    Returns:
        The temperature: above 1 it lowers the confidence, and it never changes the predicted class.
    """
    logits, labels = logits.double().cpu(), labels.cpu()
    images, classes = logits.shape
    # torch gives each class an equal part of the smoothing, the label's own too.
    smoothing = classes / ((images + 2) * max(classes - 1, 1))
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(
            logits / log_temperature.exp(), labels, label_smoothing=min(smoothing, 1.0)
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(log_temperature.detach().exp().clamp(*BOUNDS))
