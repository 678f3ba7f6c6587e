"""Prediction in pieces: how they are cut, what they send to other processes, and that the results are those of the stream."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import tiny_models
from command_line import run_cli
from sending_engine import SendingEngine
from visiongate.commands import predict
from visiongate.errors import DataError, EngineError
from visiongate.models.classifier import make_classifier
from visiongate.models.predictor import open_predictor
from visiongate.prediction import pieces, result_files
from visiongate.prediction.file_predictor import FilePredictor
from visiongate.prediction.input_files import InputFile, local_file, unreadable
from visiongate.prediction.pieces import cut, predict_in_pieces, shared
from visiongate.prediction.sources import Sources
from visiongate.records.files import sha256_of
from visiongate.settings.loading import load_settings
from workspaces import ROOT


@pytest.fixture
def predictor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FilePredictor:
    monkeypatch.chdir(tmp_path)
    path = Path("model.onnx")
    tiny_models.write_threshold_model(path)
    classifier = make_classifier("model", open_predictor(path), None, sha256_of(path))
    return FilePredictor([classifier], [], 10**8)


def write_photos(count: int) -> None:
    Path("photos").mkdir()
    for number in range(count):
        Image.new("L", (9, 7), 100 + number).save(f"photos/{number:02d}.png")
    Path("photos/05.png").write_bytes(b"")


def files() -> Iterator[InputFile]:
    return Sources(["photos"], [], load_settings(ROOT / "params.yaml").dataset).files()


def test_the_results_in_pieces_are_those_of_the_stream(
    predictor: FilePredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(40)
    monkeypatch.setattr(pieces, "PIECE_BATCHES", 2)
    monkeypatch.setattr(pieces, "BATCH", 4)
    pieces.load_once.cache_clear()
    with shared(predictor) as sharable:
        found = list(predict_in_pieces(SendingEngine(), sharable, files()))
        # The model is loaded for the first piece only.
        assert pieces.load_once.cache_info().misses == 1
    assert [table.num_rows for table in found] == [8, 8, 8, 8, 8]
    assert pa.concat_tables(found).equals(pa.concat_tables(predictor.predict(files())))
    assert sorted(path.name for path in Path().iterdir()) == ["model.onnx", "photos"]


def test_pieces_are_whole_batches_cut_by_number_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BATCH", 2)
    monkeypatch.setattr(pieces, "PIECE_BATCHES", 2)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10)
    sizes = [1, 1, 1, 1, 1, 9, 20, 2, 2]
    cuts = cut(InputFile(str(number), size, bytes) for number, size in enumerate(sizes))
    assert [[file.size for file in piece] for piece in cuts] == [[1, 1, 1, 1], [1, 9], [20, 2], [2]]


def test_a_file_that_a_node_does_not_see_stops_the_prediction(predictor: FilePredictor) -> None:
    write_photos(2)
    limits = load_settings(ROOT / "params.yaml").dataset.limits
    with shared(predictor) as sharable:
        # That it is missing is known before.
        missing = [local_file(Path("photos/x.png"), limits), unreadable("b.zip", DataError("damaged"))]
        [table] = predict_in_pieces(SendingEngine(), sharable, missing)
        assert table["reason"].to_pylist() == ["No such file or directory", "damaged"]
        found = list(files())
        Path("photos/01.png").unlink()
        with pytest.raises(
            EngineError, match=r"photos/01.png: node \S+ does not see this file; mount its folder"
        ):
            list(predict_in_pieces(SendingEngine(), sharable, found))


def test_row_groups_do_not_depend_on_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_files, "GROUP_ROWS", 4)
    rows = pa.table({"path": [str(number) for number in range(11)]})
    for name, sizes in {"a": [11], "b": [1, 2, 6, 0, 2], "c": [4, 4, 3]}.items():
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        parts = [rows.slice(start, size) for start, size in zip(starts, sizes, strict=True)]
        result_files.write_results(tmp_path / f"{name}.parquet", rows.schema, parts)
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)] == [4, 4, 3]


@pytest.mark.usefixtures("predictor")
def test_an_interrupted_prediction_on_a_cluster_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(40)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    words = ["predict", "photos", "--model", "model.onnx", "--output"]
    assert run_cli(*words, "whole.csv") == 1
    monkeypatch.setattr(pieces, "PIECE_BATCHES", 2)
    monkeypatch.setattr(pieces, "BATCH", 4)
    sent: list[object] = []

    class StoppingEngine(SendingEngine):
        def stream(self, *arguments: Any) -> Iterator[Any]:  # noqa: ANN401 - as of any engine
            for result in super().stream(*arguments):
                if len(sent) == 2:
                    raise KeyboardInterrupt
                sent.append(result)
                yield result

    monkeypatch.setattr(predict, "open_engine", lambda _: nullcontext(StoppingEngine()))
    assert run_cli(*words, "a.csv", "--engine", "ray") == 130
    assert "Interrupted after 16 files" in (error := capsys.readouterr().err)
    assert "a.csv --engine ray" in error
    monkeypatch.setattr(predict, "open_engine", lambda _: nullcontext(SendingEngine()))
    assert run_cli(*words, "a.csv", "--engine", "ray") == 1
    assert "Going on after 16 files" in capsys.readouterr().err
    assert Path("a.csv").read_bytes() == Path("whole.csv").read_bytes()


@pytest.mark.usefixtures("predictor")
def test_heat_maps_are_drawn_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(6)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.delattr(predict, "open_engine")
    words = ["predict", "photos", "--model", "model.onnx", "--engine", "ray", "--explain", "maps"]
    assert run_cli(*words) == 1
    assert "--explain and --similar are computed on this machine" in capsys.readouterr().err
    assert Path("maps/photos/00.png.png").exists()
