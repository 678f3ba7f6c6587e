"""The catalog of metrics: the one place that knows a metric's name, title, kind, direction and definition.

To add a metric, add it here and compute it in `evaluation.metrics`. Settings, gate, pages, report and registry follow.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "score", "difference", "count", "milliseconds", "rate", "megabytes"]
# What a metric is measured on: the test split, an epoch's validation split, or a class of the test split.
Scope = Literal["test", "validation", "class"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that describes a model.

    Attributes:
        name: In files and settings.
        title: On pages.
        kind: A ``share`` lies between 0 and 1, a ``score`` has no fixed unit, a ``difference`` is one of shares.
        definition: One sentence.
        lower_is_better: Whether a lower value is better.
        scope: What it is measured on.
        headline: Whether pages show it at the top.
        hub: Its name on the Hugging Face Hub, if it has one there.
        paired: Whether `comparison` has a paired test of it, so that it can decide a promotion.
    """

    name: str
    title: str
    kind: Kind
    definition: str
    lower_is_better: bool = False
    scope: Scope = "test"
    headline: bool = False
    hub: str = ""
    paired: bool = False

    def format(self, value: float) -> str:
        """Return a value as text with the digits that suit its kind."""
        if self.kind == "count":
            return f"{value:,.0f}"
        if self.kind in {"milliseconds", "rate", "megabytes"}:
            return f"{value:.4g}"
        return f"{value:.4f}"


_CATALOG = (
    Metric("images", "Test images", "count", "Number of test images."),
    Metric("accuracy", "Accuracy", "share", "Share of correct predictions.", headline=True, hub="accuracy", paired=True),
    Metric("top3", "Top-3 accuracy", "share", "True class among the three most probable, of more than five."),
    Metric("balanced_accuracy", "Balanced accuracy", "share", "Mean recall of the classes.", paired=True),
    Metric("precision_macro", "Precision, macro", "share", "Mean precision of the classes."),
    Metric("precision_weighted", "Precision, weighted", "share", "Mean precision, weighted by images."),
    Metric("recall_macro", "Recall, macro", "share", "Mean recall of the classes."),
    Metric("recall_weighted", "Recall, weighted", "share", "Mean recall, weighted by images."),
    Metric("f1_macro", "F1, macro", "share", "Mean F1 of the classes.", headline=True, hub="f1", paired=True),
    Metric("f1_weighted", "F1, weighted", "share", "Mean F1, weighted by images."),
    Metric("recall_min", "Recall of the worst class", "share", "Lowest recall of a class.", headline=True),
    Metric("f1_min", "F1 of the worst class", "share", "Lowest F1 of a class."),
    Metric("mcc", "Matthews correlation", "score", "Correlation of labels and predictions.", hub="matthews_correlation"),
    Metric("roc_auc", "ROC-AUC", "share", "Mean ROC-AUC of each class.", headline=True, hub="roc_auc", paired=True),
    Metric("average_precision", "Average precision", "share", "Of each class against the rest, mean."),
    Metric("log_loss", "Log loss", "score", "Mean of -log(p) of the true class.", lower_is_better=True, paired=True),
    Metric("brier", "Brier score", "score", "Mean squared error of probabilities.", lower_is_better=True),
    Metric("ece", "Calibration error", "share", "Expected calibration error, over bins.", lower_is_better=True, headline=True),
    Metric("ece_uncalibrated", "Uncalibrated error", "share", "ECE without temperature scaling.", lower_is_better=True),
    Metric("sensitivity", "Sensitivity", "share", "Recall of the positive class, of two classes.", headline=True),
    Metric("specificity", "Specificity", "share", "Recall of the negative class, of two classes.", headline=True),
    Metric("precision_positive", "Precision of the positive class", "share", "Of two classes."),
    Metric("f1_positive", "F1 of the positive class", "share", "Of two classes."),
    Metric("train_accuracy", "Accuracy on training images", "share", "Accuracy on at most 10,000 training images."),
    Metric("train_f1_macro", "F1 on training images, macro", "share", "Mean F1 on the same training images."),
    Metric("accuracy_gap", "Accuracy gap", "difference", "Accuracy on training minus test images.", lower_is_better=True),
    Metric("f1_gap", "F1 gap", "difference", "F1 on training minus test images.", lower_is_better=True),
    Metric("majority_accuracy", "Accuracy of the majority class", "share", "Of always predicting the most frequent class."),
    Metric("linear_accuracy", "Accuracy of a linear baseline", "share", "Of a logistic regression on the pixels."),
    Metric("gain_over_majority", "Gain over the majority class", "difference", "Accuracy minus `majority_accuracy`."),
    Metric("gain_over_linear", "Gain over the linear baseline", "difference", "Accuracy minus `linear_accuracy`."),
    Metric("leaked_images", "Leaked images", "count", "Test images that are also in another split.", lower_is_better=True),
    Metric("failed_expectations", "Failed expectations", "count", "Critical expectations that failed.", lower_is_better=True),
    Metric("coverage", "Coverage", "share", "Share of prediction sets with the true class."),
    Metric("set_size", "Size of the prediction set", "score", "Mean number of its classes.", lower_is_better=True),
    Metric("sure_share", "Sure predictions", "share", "Share of prediction sets with the predicted class only."),
    Metric("sure_accuracy", "Accuracy of sure predictions", "share", "Share of sure predictions that are correct."),
    Metric("false_alarms", "False alarms", "share", "Test images called out of distribution.", lower_is_better=True),
    Metric("foreign_found", "Foreign images found", "share", "Images of other data sets called out of distribution."),
    Metric("worst_slice_accuracy", "Accuracy on the worst slice", "share", "Lowest accuracy on a slice of the test images."),
    Metric("corrupted_accuracy", "Accuracy on corrupted images", "share", "Mean over five corruptions, five severities."),
    Metric("latency_p50_ms", "Latency, median", "milliseconds", "For one image.", lower_is_better=True),
    Metric("latency_p95_ms", "Latency, 95th percentile", "milliseconds", "For one image.", lower_is_better=True),
    Metric("latency_batch_p50_ms", "Latency of a batch, median", "milliseconds", "For a batch.", lower_is_better=True),
    Metric("latency_batch_p95_ms", "Latency of a batch, 95th percentile", "milliseconds", "For a batch.", lower_is_better=True),
    Metric("throughput_images_per_s", "Throughput", "rate", "Images per second in batches."),
    Metric("peak_memory_mb", "Peak memory", "megabytes", "Of a process that predicts a batch.", lower_is_better=True),
    Metric("recall", "Recall", "share", "Of the images of a class.", scope="class"),
    Metric("precision", "Precision", "share", "Of the images predicted as a class.", scope="class"),
    Metric("f1", "F1", "share", "Harmonic mean of precision and recall.", scope="class"),
    Metric("val_loss", "Validation loss", "score", "Mean cross-entropy.", lower_is_better=True, scope="validation"),
    Metric("val_accuracy", "Validation accuracy", "share", "Share of correct predictions.", scope="validation"),
    Metric("val_precision", "Validation precision", "share", "Mean of the classes.", scope="validation"),
    Metric("val_recall", "Validation recall", "share", "Mean of the classes.", scope="validation"),
    Metric("val_f1", "Validation F1", "share", "Mean of the classes.", scope="validation"),
    Metric("val_roc_auc", "Validation ROC-AUC", "share", "Mean of the classes.", scope="validation"),
    Metric("val_top3", "Validation top-3 accuracy", "share", "With more than five classes.", scope="validation"),
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _CATALOG}
TEST_METRICS = tuple(metric.name for metric in _CATALOG if metric.scope == "test")
CLASS_METRICS = tuple(metric.name for metric in _CATALOG if metric.scope == "class")
VALIDATION_METRICS = tuple(metric.name for metric in _CATALOG if metric.scope == "validation")
PAIRED_METRICS = tuple(metric.name for metric in _CATALOG if metric.paired)
HEADLINES = tuple(metric.name for metric in _CATALOG if metric.headline)
# Names of metrics that users log themselves, for which lower is better.
_LOWER = re.compile(r"loss|(?:^|[/_])(?:ece|brier|latency|seconds|error|errors|mae|mse)(?:$|_)")


def lower_is_better(name: str) -> bool:
    """Return whether a lower value is better; a prefix, as in ``test/ece``, is ignored."""
    metric = METRICS.get(name.rpartition("/")[2])
    return bool(_LOWER.search(name)) if metric is None else metric.lower_is_better


def title(name: str) -> str:
    """Return a metric's title; a metric that is not in the catalog has its name."""
    return METRICS[name].title if name in METRICS else name
