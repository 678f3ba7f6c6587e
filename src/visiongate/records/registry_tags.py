"""How a version of the registered model is found in MLflow, and the tags that describe it.

The pipeline writes them with MLflow's client; the service reads them without it.
"""

import re

# `CHAMPION` points to the version to serve, `CHALLENGER` to the last version that passed the gate and was not promoted.
CHAMPION, CHALLENGER = "champion", "challenger"
# ``models:/NAME/3`` or ``models:/NAME@champion``.
VERSION_URI = re.compile(r"models:/([^/@]+)(?:/(\d+)|@([^/@]+))")
# The name that MLflow's onnx flavor gives the file.
MODEL_FILE = "model.onnx"
# The sha256 of the file.
MODEL_TAG = "visiongate.model_sha256"
# The sha256 of the `DriftReference` beside the file; without the tag, the version has none.
REFERENCE_TAG = "visiongate.reference_sha256"
# The probability from which the second of two classes is predicted; without the tag, the likelier class.
THRESHOLD_TAG = "visiongate.threshold"
COMMIT_TAG = "mlflow.source.git.commit"
# Tags of the data, the parameters and the state of the work tree that a version was made from.
LINEAGE_TAG = re.compile(r"visiongate\.(git_dirty|params_sha256|dvc_lock|\w+_md5)")
