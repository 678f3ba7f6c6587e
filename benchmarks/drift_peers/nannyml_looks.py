"""Looks of NannyML at the streams that `drift.py peers` wrote, in NannyML's environment: univariate drift, and CBPE."""

import sys
import warnings
from pathlib import Path

import nannyml
import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")


def main(folder: Path, size: int) -> None:
    """Print the share of looks at which a column, or the estimated accuracy, alarms, and how wrong the estimate is."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for path in sorted(folder.glob("*.npz")):
        name = path.stem.partition("-")[0] if "unchanged" in path.stem else path.stem
        found.setdefault(name, []).extend(look(np.load(path), size))
    for name, looks in found.items():
        column, accuracy, estimated, true = np.mean(looks, axis=0)
        print(
            f"nannyml | {name} | {len(looks)} looks | a column {column:.0%} | accuracy {accuracy:.0%} | "
            f"true {true:.1%} | estimated {estimated:.1%} | error {100 * (estimated - true):+.1f}",
            flush=True,
        )


def look(arrays: np.lib.npyio.NpzFile, size: int) -> list[tuple[float, ...]]:
    """Return, for each chunk: whether a column alarms, whether the accuracy does, the estimate, and the true accuracy."""
    reference, window = (to_frame(arrays, prefix) for prefix in ("reference", "window"))
    numbers = [name for name in reference if name.startswith("p") and name != "predicted"]
    columns = [*numbers, "brightness", "contrast", "predicted"]
    drift = nannyml.UnivariateDriftCalculator(column_names=columns, chunk_size=size).fit(reference)
    alarms = drift.calculate(window).filter(period="analysis").to_df()
    alarms = alarms.loc[:, [name for name in alarms if name[-1] == "alert"]].any(axis=1)
    estimator = nannyml.CBPE(
        problem_type="classification_multiclass",
        y_pred_proba={name[1:]: name for name in numbers},
        y_pred="predicted",
        y_true="label",
        metrics=["accuracy"],
        chunk_size=size,
    ).fit(reference)
    estimates = estimator.estimate(window).filter(period="analysis").to_df()["accuracy"]
    correct = (window["predicted"] == window["label"]).to_numpy()
    true = [correct[start : start + size].mean() for start in range(0, len(correct), size)]
    rows = zip(alarms, estimates["alert"], estimates["value"], true, strict=True)
    return [tuple(map(float, row)) for row in rows]


def to_frame(arrays: np.lib.npyio.NpzFile, prefix: str) -> pd.DataFrame:
    """Return images as a table."""
    probabilities = arrays[f"{prefix}_probabilities"]
    columns = {f"p{place}": probabilities[:, place] for place in range(probabilities.shape[1])}
    columns |= {name: arrays[f"{prefix}_{name}"] for name in ("brightness", "contrast")}
    columns |= {
        "predicted": arrays[f"{prefix}_predicted"].astype(str),
        "label": arrays[f"{prefix}_labels"].astype(str),
    }
    return pd.DataFrame(columns)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
