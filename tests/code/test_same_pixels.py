"""An odd image file has the same pixels in the arrays of ``transformation``, from `to_pixels` and as a model's input."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from image_samples import SAMPLES, encode, photo
from visiongate import paths
from visiongate.images.decoding import DecodeOptions
from visiongate.images.integrity import check_arrays
from visiongate.images.pixels import load_split
from visiongate.images.preprocessing import to_pixels
from visiongate.images.table import write_shards
from visiongate.models.model_input import to_input
from visiongate.models.predictor import Contract
from visiongate.records.clusters import write_clusters
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.transformation import stage as transformation
from workspaces import ROOT

CONVERSION = Conversion(12, "gray", (40.0, 400.0))


def odd_images() -> Iterator[tuple[str, bytes]]:
    yield from SAMPLES.items()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind in ("JPEG", "AVIF"):
            yield f"{kind}, rotated {orientation}", encode(photo(60, 41), kind, exif=exif)
    for width, height in ((1, 1), (1, 50), (333, 2), (640, 479)):
        yield f"{width} × {height}", encode(photo(width, height), "JPEG")
    yield "animated", encode(photo(20, 30), "GIF", save_all=True, append_images=[photo(30, 20)])
    yield from _of_extras()


def _of_extras() -> Iterator[tuple[str, bytes]]:
    for orientation in (1, 6, 7):
        exif, buffer = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        pillow_heif.encode("RGB", (60, 41), photo(60, 41).tobytes(), buffer, exif=exif.tobytes())
        yield f"HEIC, rotated {orientation}", buffer.getvalue()
    for name in ("CT_small.dcm", "MR_small_RLE.dcm"):
        yield name, Path(str(get_testdata_file(name, download=False))).read_bytes()


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Prepare the odd images, and return them by path."""
    monkeypatch.chdir(tmp_path)
    found = {f"{'ab'[number % 2]}/{name}": encoded for number, (name, encoded) in enumerate(odd_images())}
    rows = [
        {
            "path": path,
            "label": path[0],
            "split": None,
            "group": None,
            "image": encoded,
            "sha256": hashlib.sha256(encoded).hexdigest(),
        }
        for path, encoded in sorted(found.items())
    ]
    write_shards(paths.PREPARED, rows)
    texts = dict.fromkeys(
        ("name", "license", "citation", "homepage", "source", "source_sha256", "content_sha256"), "odd"
    )
    write_dataset(paths.PREPARED, DatasetRecord(classes=["a", "b"], images=len(rows), ignored={}, **texts))
    write_clusters(paths.PREPARED, [])
    write_conversion(paths.PREPARED, ChosenConversion(CONVERSION))
    return found


@pytest.mark.parametrize(("mode", "resize"), [("RGB", "letterbox"), ("L", "center-crop"), ("RGB", "stretch")])
def test_training_and_prediction_see_the_same_pixels(
    images: dict[str, bytes], mode: str, resize: str
) -> None:
    transform_settings = {"size": 40, "mode": mode, "resize": resize, "split.method": "auto"}
    changes = {f"transformation.{name}": value for name, value in transform_settings.items()}
    changes["evaluation.protocol"] = "holdout"
    transformation.run(replace_settings(load_settings(ROOT / "params.yaml"), changes, "test"))
    transform = check_arrays(paths.TRANSFORMED)
    manifest = read_manifest(paths.TRANSFORMED, columns=["path", "split", "row"]).to_pylist()
    arrays = {split: load_split(paths.TRANSFORMED, split).images for split in SPLITS}
    contract = Contract.of(transform)
    assert len(manifest) == len(images)
    for entry in manifest:
        encoded, trained = images[entry["path"]], arrays[entry["split"]][entry["row"]]
        assert np.array_equal(trained, to_pixels(encoded, 40, mode, resize, DecodeOptions(CONVERSION)))
        assert np.array_equal(trained, to_input(encoded, contract)), entry["path"]
