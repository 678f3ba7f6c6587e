"""Where each artifact lies, relative to the repository's root: the paths that ``dvc.yaml`` declares.

A stage reads and writes nothing else. A change here does not take effect without the same change in ``dvc.yaml``, which
reruns the stages concerned; that is why this module, like the settings, is not among their ``deps``.
"""

from pathlib import Path

PARAMS = Path("params.yaml")
LOCK = Path("dvc.lock")

DOWNLOADS = Path(
    "data/downloads"
)  # no stage's output: what was fetched is kept, and checked before it is used
RAW = Path("data/raw")
MEASURED = Path("data/measured")
PREPARED = Path("data/prepared")
TRANSFORMED = Path("data/transformed")

VALIDATION = Path("reports/validation")
PREPARATION = Path("reports/preparation")

MODEL_ONNX = Path("models/model.onnx")
MODEL_WEIGHTS = Path("models/model.safetensors")
MODEL_DESCRIPTION = Path("models/model.json")
CHECKPOINT = Path("models/checkpoint.safetensors")  # no stage's output: there while a training is under way
HISTORY = Path("reports/training/history.csv")
MODEL_SUMMARY = Path("reports/training/model_summary.txt")
PIXEL_IMPORTANCE = Path("reports/training/pixel_importance.png")  # of a baseline
TRAINING_SUMMARY = Path("reports/training.json")
# TensorBoard event files, if training.tensorboard is true. Not tracked by DVC.
TENSORBOARD = Path("logs/tensorboard")

EVALUATION = Path("reports/evaluation")
METRICS = Path("reports/metrics.json")
LATENCY = Path("reports/latency.json")
GATE = Path("reports/gate.json")

OPTIMIZE = Path("reports/optimize")
OPTIMIZE_SUMMARY = Path("reports/optimize.json")
REGISTRATION = Path("reports/registration.json")
MODEL_CARD = Path("reports/model_card.md")

REPORT = Path("reports/report.md")  # no stage's output: what a pull request is told
EXPERIMENTS = Path("reports/experiments")  # the same: of all that was tried
