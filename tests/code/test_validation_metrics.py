import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from visiongate.training.validation_metrics import measure_logits


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_metrics_match_scikit_learn(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(0, classes, (300,), generator=generator)
    logits = torch.randn(300, classes, generator=generator) + torch.nn.functional.one_hot(labels, classes)
    metrics = measure_logits(logits, labels)
    shares, predicted = torch.softmax(logits.double(), dim=1).numpy(), logits.argmax(dim=1).numpy()
    macro = {"average": "macro", "zero_division": 0}
    assert math.isclose(metrics.loss, log_loss(labels, shares), rel_tol=1e-5)
    assert math.isclose(metrics.accuracy, (predicted == labels.numpy()).mean())
    assert math.isclose(metrics.precision, precision_score(labels, predicted, **macro))
    assert math.isclose(metrics.recall, recall_score(labels, predicted, **macro))
    assert math.isclose(metrics.f1, f1_score(labels, predicted, **macro))
    scores = shares[:, 1] if classes == 2 else shares
    assert math.isclose(metrics.roc_auc, roc_auc_score(labels, scores, multi_class="ovr"), rel_tol=1e-9)
    if classes > 5:
        assert math.isclose(metrics.top3, top_k_accuracy_score(labels, shares, k=3))
    else:
        assert metrics.top3 is None


def test_a_class_without_images_is_ignored() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.2, 3.0]])
    metrics = measure_logits(logits, torch.tensor([0, 1, 1]))
    assert math.isclose(metrics.recall, np.mean([1, 0.5]))
    assert math.isclose(metrics.precision, 1)


def test_roc_auc_is_undefined_for_a_single_class() -> None:
    assert measure_logits(torch.eye(3), torch.zeros(3, dtype=torch.long)).roc_auc is None


def test_equal_scores_share_their_ranks() -> None:
    logits = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 0.0]] * 4 + [[0.0, 2.0]] * 2)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 1, 1, 0])
    scores = torch.softmax(logits.double(), dim=1)[:, 1].numpy()
    assert math.isclose(measure_logits(logits, labels).roc_auc, roc_auc_score(labels, scores))
