"""Looks of Evidently's preset for data drift at the streams that `drift.py peers` wrote, in Evidently's environment."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

# Of the columns, as the preset has it.
PRESET_SHARE = 0.5


def main(folder: Path, size: int) -> None:
    """Print the share of looks that alarm, by stream: one column, and half of them, which is the preset's verdict."""
    found: dict[str, list[tuple[bool, bool]]] = {}
    for path in sorted(folder.glob("*.npz")):
        arrays = np.load(path)
        reference, window = (to_frame(arrays, prefix) for prefix in ("reference", "window"))
        for start in range(0, len(window), size):
            looks = found.setdefault(
                path.stem.partition("-")[0] if "unchanged" in path.stem else path.stem, []
            )
            looks.append(look(reference, window[start : start + size]))
    for name, looks in found.items():
        shares = np.mean(looks, axis=0)
        print(
            f"evidently | {name} | {len(looks)} looks | a column {shares[0]:.0%} | half of the columns {shares[1]:.0%}",
            flush=True,
        )


def look(reference: pd.DataFrame, window: pd.DataFrame) -> tuple[bool, bool]:
    """Return whether a column has drifted, and whether half of them have."""
    numbers = [name for name in reference if name != "predicted"]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=["predicted"])
    frames = [Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference)]
    metrics = Report([DataDriftPreset()]).run(*frames).dict()["metrics"]
    [share] = [each["value"]["share"] for each in metrics if isinstance(each["value"], dict)]
    return share > 0, share >= PRESET_SHARE


def to_frame(arrays: np.lib.npyio.NpzFile, prefix: str) -> pd.DataFrame:
    """Return what is known of images without labels, as a table."""
    probabilities = arrays[f"{prefix}_probabilities"]
    columns = {f"p{place}": probabilities[:, place] for place in range(probabilities.shape[1])}
    columns |= {name: arrays[f"{prefix}_{name}"] for name in ("brightness", "contrast")}
    return pd.DataFrame(columns | {"predicted": arrays[f"{prefix}_predicted"].astype(str)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
