"""The data of the last pipeline run, in the work tree or else as committed, are consistent."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from visiongate.images.decoding import DecodeOptions
from visiongate.images.pixels import load_split
from visiongate.images.preprocessing import to_pixels
from visiongate.images.table import content_hash, iterate_images, read_table
from visiongate.paths import PREPARATION, PREPARED, RAW, TRANSFORMED, VALIDATION
from visiongate.records.conversion import Conversion
from visiongate.records.dataset import read_dataset
from visiongate.records.manifest import read_manifest
from visiongate.records.splits import SPLITS
from visiongate.records.transform import read_transform
from visiongate.settings.validation import Validation


@pytest.fixture(scope="module", autouse=True)
def _here(pipeline_outputs: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(pipeline_outputs)
    yield
    os.chdir(before)


def test_bytes_are_those_that_were_hashed() -> None:
    hashes = read_table(RAW, ["sha256"]).column("sha256").to_pylist()
    assert [hashlib.sha256(image).hexdigest() for image in iterate_images(RAW)] == hashes
    assert content_hash(hashes) == read_dataset(RAW).content_sha256


def test_validation_passed() -> None:
    result = json.loads((VALIDATION / "result.json").read_text())
    assert result["success"]
    assert [expectation["name"] for expectation in result["expectations"]] == list(Validation.model_fields)


def test_no_image_is_lost() -> None:
    raw = read_table(RAW, ["path"]).num_rows
    prepared = read_table(PREPARED, ["path"]).num_rows
    quarantined = len((PREPARATION / "quarantine.csv").read_text().splitlines()) - 1
    assert raw == prepared + quarantined
    assert prepared == sum(len(load_split(TRANSFORMED, split).labels) for split in SPLITS)


def test_no_image_is_in_two_splits() -> None:
    hashes = [read_manifest(TRANSFORMED, split).column("sha256").to_pylist() for split in SPLITS]
    assert sum(map(len, hashes)) == len(set().union(*hashes))
    contents = [{image.tobytes() for image in load_split(TRANSFORMED, split).images} for split in SPLITS]
    assert sum(map(len, contents)) == len(set().union(*contents))


def test_arrays_hold_the_images_that_the_manifest_names() -> None:
    transform = read_transform(TRANSFORMED)
    encoded = dict(
        zip(read_table(PREPARED, ["path"]).column("path").to_pylist(), iterate_images(PREPARED), strict=True)
    )
    options = DecodeOptions(Conversion(transform.depth, transform.background, transform.window))
    for split in SPLITS:
        arrays, manifest = load_split(TRANSFORMED, split), read_manifest(TRANSFORMED, split).to_pydict()
        assert manifest["label"] == arrays.labels.tolist()
        for place in range(0, len(arrays.labels), 10):
            image = encoded[manifest["path"][place]]
            pixels = to_pixels(image, transform.size, transform.mode, transform.resize, options)
            np.testing.assert_array_equal(arrays.images[place], pixels)


def test_every_class_is_in_every_split() -> None:
    classes = read_transform(TRANSFORMED).classes
    for split in SPLITS:
        assert set(load_split(TRANSFORMED, split).labels.tolist()) == set(range(len(classes)))
