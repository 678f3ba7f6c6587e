"""Predictions of files equal those of the evaluation to the last bit, and what is added to them is of the same image."""

import asyncio
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import simplejpeg
from PIL import Image

from command_line import run_cli
from evaluation_settings import evaluation_settings
from localizable_models import CLASSES, FILTERS, SIDE, draw_scenes, record_transform, write_probe
from served import application
from visiongate import paths
from visiongate.evaluation.folds import judged_images, predict_judged, read_holdout
from visiongate.images.table import write_shards
from visiongate.models.predictions import tabulate
from visiongate.models.predictor import open_predictor
from visiongate.records.clusters import write_clusters
from visiongate.records.conversion import ChosenConversion, Conversion, write_conversion
from visiongate.records.dataset import DatasetRecord, write_dataset
from visiongate.records.predictions import write_predictions
from visiongate.records.transform import read_transform
from visiongate.settings.loading import load_settings, replace_settings
from visiongate.transformation import stage as transformation
from workspaces import ROOT

FOLDER = Path("photos")
ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:  # noqa: ANN401 - Pillow's
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Yield images of many formats, modes, depths, sizes and orientations, with names."""
    levels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    image = Image.fromarray(levels).resize((131, 97), Image.Resampling.BICUBIC)
    gray = np.asarray(image.convert("L")).astype(np.uint16)
    exif = Image.Exif()
    for orientation in range(2, 9):
        exif[ORIENTATION] = orientation
        yield f"upright {orientation}.jpg", encode(image, "JPEG", exif=exif)
    yield "large.jpg", encode(image.resize((1031, 769)), "JPEG", quality=95)
    yield "narrow.png", encode(image.resize((3, 211)), "PNG")
    yield "one pixel.png", encode(image.resize((1, 1)), "PNG")
    yield "deep.png", encode(Image.fromarray(gray * 257), "PNG")
    yield "cmyk.jpg", encode(image.convert("CMYK"), "JPEG")
    yield "ycck.jpg", simplejpeg.encode_jpeg(np.ascontiguousarray(image.convert("CMYK")), colorspace="CMYK")
    yield "palette.png", encode(image.quantize(32), "PNG", transparency=3)
    image.putalpha(Image.fromarray((gray % 256).astype(np.uint8)))
    for mode in ("RGBA", "LA", "1", "L", "P"):
        yield f"{mode}.png", encode(image.convert(mode), "PNG")
    yield "cmyk.tiff", encode(image.convert("RGB").convert("CMYK"), "TIFF")
    yield "animated.gif", encode(image.quantize(9), "GIF", save_all=True, append_images=[image.rotate(90)])
    yield "lossless.webp", encode(image, "WEBP", lossless=True)
    yield "alpha.avif", encode(image, "AVIF")


def table_rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of an image table whose test split are the odd files."""
    scenes = draw_scenes(6)
    for number, (pixels, label) in enumerate(zip(scenes.images, scenes.labels.tolist(), strict=True)):
        split = "train" if number < 3 else "val"
        content = encode(Image.fromarray(pixels), "PNG")
        yield {"image": content, "label": CLASSES[label], "path": f"{split}/{number}.png", "split": split}
    for number, (name, content) in enumerate(odd_files()):
        label = CLASSES[number % 3]
        yield {"image": content, "label": label, "path": f"{label}/{name}", "split": "test"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with odd files as they were before ingestion, and with the predictions of the evaluation."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        transformed = {"size": SIDE, "mode": "RGB", "resize": "stretch"}
        values = {f"transformation.{key}": value for key, value in transformed.items()}
        settings = replace_settings(load_settings(), values | {"evaluation.protocol": "holdout"}, "test")
        write_prepared_table()
        transformation.run(settings)
        write_probe(paths.MODEL_ONNX)
        record_transform(paths.MODEL_ONNX, read_transform(paths.TRANSFORMED))
        folds = read_holdout(paths.TRANSFORMED, open_predictor(paths.MODEL_ONNX))
        predictions, _ = predict_judged(folds, evaluation_settings(batch_size=5))
        write_predictions(paths.EVALUATION, tabulate(predictions, judged_images(folds).manifest))
    return folder


def write_prepared_table() -> None:
    rows = sorted(table_rows(), key=lambda row: row["path"])
    for row in rows:
        row |= {"group": None, "sha256": hashlib.sha256(row["image"]).hexdigest()}
        if row["split"] == "test":
            (FOLDER / row["path"]).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER / row["path"]).write_bytes(row["image"])
    write_shards(paths.PREPARED, rows)
    texts = dict.fromkeys(
        ("license", "citation", "homepage", "source", "source_sha256", "content_sha256"), ""
    )
    write_dataset(
        paths.PREPARED,
        DatasetRecord(name="odd", classes=list(CLASSES), images=len(rows), ignored={}, **texts),
    )
    write_clusters(paths.PREPARED, [])
    write_conversion(paths.PREPARED, ChosenConversion(Conversion()))


@pytest.fixture
def workspace(evaluated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VISIONGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    monkeypatch.chdir(evaluated)
    return tmp_path


async def serve(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the service's answers for files by name: all in one form, and the first alone."""
    async with application(paths.MODEL_ONNX, {"VISIONGATE_SERVING__LIMITS__FILES": "100"}) as app:
        form = [("file", item) for item in files.items()]
        together = (await app.client.post("/predict", files=form)).json()["predictions"]
        alone = (await app.client.post("/predict", content=next(iter(files.values())))).json()
    assert alone["probabilities"] == together[0]["probabilities"]
    return dict(zip(files, together, strict=True))


@pytest.mark.usefixtures("workspace")
def test_the_service_answers_as_the_evaluation_to_the_last_bit() -> None:
    recorded = pq.read_table(paths.EVALUATION / "predictions.parquet").to_pylist()
    expected = {str(FOLDER / row["path"]): row for row in recorded}

    answers = asyncio.run(serve({name: Path(name).read_bytes() for name in expected}))

    for name, row in expected.items():
        probabilities = np.array([answers[name]["probabilities"][label] for label in CLASSES], np.float32)
        np.testing.assert_array_equal(probabilities, np.array(row["probabilities"], np.float32))
        assert answers[name]["predicted_label"] == row["predicted"]


def test_predictions_equal_those_of_the_evaluation_to_the_last_bit(workspace: Path) -> None:
    recorded = pq.read_table(paths.EVALUATION / "predictions.parquet").to_pylist()
    expected = {
        str(FOLDER / row["path"]): (row["predicted"], row["confidence"], row["probabilities"])
        for row in recorded
    }
    assert len(expected) == len(list(odd_files()))
    answers = workspace / "answers.parquet"
    # In one batch, and one alone.
    for source in (FOLDER, Path(min(expected))):
        assert run_cli("predict", str(source), "--output", str(answers)) == 0
        rows = pq.read_table(answers).to_pylist()
        assert len(rows) == (1 if source.is_file() else len(expected))
        for row in rows:
            probabilities = [row[f"probability_{name}"] for name in CLASSES]
            assert (row["predicted"], row["confidence"], probabilities) == expected[row["path"]]


def test_explanations_are_listed_on_the_terminal(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = workspace / "a.png"
    path.write_bytes(next(row["image"] for row in table_rows()))
    (workspace / "b.png").touch()
    words = ["--similar", "1", "--explain", str(workspace / "maps")]
    assert run_cli("predict", str(path), str(workspace / "b.png"), *words) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["path", "predicted", "confidence", "heat_map", "similar", "similar_labels", "note"]
    assert lines[1][3:] == [f"{workspace}/maps/a.png.png", "train/0.png", "red"]
    assert lines[2][1:8] == ["-", "-", "-", "-", "-", "empty", "file;"]


def test_explanations_and_embeddings_are_of_the_same_image(workspace: Path) -> None:
    model = open_predictor(paths.MODEL_ONNX)
    scenes = draw_scenes(40, seed=7)
    for number, pixels in enumerate(scenes.images):
        Image.fromarray(pixels).save(workspace / f"{number:02d}.png")
    (workspace / "05.png").write_bytes(b"")
    # A training image is its own neighbor.
    (workspace / "40.png").write_bytes(next(row["image"] for row in table_rows()))
    outputs = workspace / "out"
    words = ["--explain", str(outputs / "maps"), "--similar", "2", "--embed", str(outputs / "e.npy")]
    sources = str(workspace / "*.png")
    assert run_cli("predict", sources, *words, "--output", str(outputs / "answers.jsonl")) == 1
    rows = [json.loads(line) for line in (outputs / "answers.jsonl").read_text().splitlines()]
    assert "embedding" not in rows[0]
    embeddings = np.load(outputs / "e.npy")
    assert embeddings.shape == (41, FILTERS)
    assert np.isnan(embeddings[5]).all()
    others = [number for number in range(40) if number != 5]
    expected = model.run(scenes.images[others], ["embedding"])["embedding"]
    assert np.array_equal(embeddings[others], expected)
    assert (rows[5]["similar"], rows[5]["heat_map"]) == (None, None)
    assert (rows[40]["similar"][0], rows[40]["similar_labels"][0]) == ("train/0.png", CLASSES[0])
    assert len(rows[0]["similar"]) == 2
    for number in others:
        with Image.open(rows[number]["heat_map"]) as picture:
            colored = np.asarray(picture).astype(int)
        assert Path(rows[number]["heat_map"]).is_relative_to(outputs / "maps")
        # Inside the object is the strongest color.
        saturation = colored.max(axis=2) - colored.min(axis=2)
        if number < 3:
            assert scenes.objects[number][np.unravel_index(saturation.argmax(), saturation.shape)]
    assert run_cli("predict", sources, "--embed", str(outputs / "e.parquet")) == 1
    table = pq.read_table(outputs / "e.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32())
    assert table["embedding"].null_count == 1
    assert np.array_equal(np.array(table["embedding"][0].as_py(), np.float32), embeddings[0])
