"""The paths that ``dvc.yaml`` declares, relative to the root of the repository.

A change here needs the same change in ``dvc.yaml``, which reruns the stages; therefore this module is not among their ``deps``.
"""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")

# Not tracked by DVC: downloads are kept, and checked before they are used.
DOWNLOADS = Path("data/downloads")
# Written by people; tracked by git.
CORRECTIONS = Path("data/corrections.csv")
# Written by `visiongate collect`; git tracks the table, and DVC the images.
COLLECTED = Path("data/collected.csv")
COLLECTED_IMAGES = Path("data/collected")
RAW = Path("data/raw")
MEASURED = Path("data/measured")
PREPARED = Path("data/prepared")
TRANSFORMED = Path("data/transformed")

VALIDATION = Path("reports/validation")
PREPARATION = Path("reports/preparation")

MODEL_ONNX = Path("models/model.onnx")
MODEL_WEIGHTS = Path("models/model.safetensors")
MODEL_DESCRIPTION = Path("models/model.json")
# With cross-validation, the model of each fold, which has not seen its images; otherwise empty.
FOLDS = Path("models/folds")
# Not tracked by DVC: exists during a training.
CHECKPOINT = Path("models/checkpoint.safetensors")
HISTORY = Path("reports/training/history.csv")
# The machine, interpreter and packages of the training.
TRAINING_ENVIRONMENT = Path("reports/training/environment.json")
MODEL_SUMMARY = Path("reports/training/model_summary.txt")
# Written for baselines only.
PIXEL_IMPORTANCE = Path("reports/training/pixel_importance.png")
TRAINING_SUMMARY = Path("reports/training.json")
# TensorBoard event files, if training.tensorboard is true. Not tracked by DVC.
TENSORBOARD = Path("logs/tensorboard")

EVALUATION = Path("reports/evaluation")
METRICS = Path("reports/metrics.json")
LATENCY = Path("reports/latency.json")
GATE = Path("reports/gate.json")

# What the search depends on, and the current values of what it searches.
STUDY = Path("reports/study.json")
CURRENT = Path("reports/current.json")
OPTIMIZE = Path("reports/optimize")
OPTIMIZE_SUMMARY = Path("reports/optimize.json")
RECOMMENDATION = Path("reports/recommendation")
RECOMMENDATION_SUMMARY = Path("reports/recommendation.json")
REGISTRATION = Path("reports/registration.json")
MODEL_CARD = Path("reports/model_card.md")

# Written by commands, not by stages.
REPORT = Path("reports/report.md")
LR_RANGE = Path("logs/lr_range.png")
EXPERIMENTS = Path("reports/experiments")
LABELING = Path("reports/labeling")
COLLECT = Path("reports/collect")


def fold_model(fold: int) -> Path:
    """Return the model of a fold."""
    return FOLDS / f"{fold}.onnx"
