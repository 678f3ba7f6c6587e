"""The input of a model: the pixels of the transformation, by the transform in the model's file."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tiny_models import write_threshold_model
from visiongate.errors import DataError
from visiongate.images.decoding import DecodeOptions
from visiongate.images.preprocessing import to_pixels
from visiongate.models.model_input import check_input, to_input
from visiongate.models.predictor import Contract, open_predictor
from visiongate.records.conversion import Conversion


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_the_recorded_transform_decides() -> None:
    clear = Image.new("RGBA", (6, 9), (200, 0, 0, 0))
    black = to_input(encode(clear), Contract((4, 4, 3), "RGB", "stretch", (), 16, "black"))
    assert black.shape == (4, 4, 3)
    assert (black == 0).all()
    padded = to_input(encode(clear), Contract((4, 4, 1), "L", "letterbox", ()))
    assert padded[2].ravel().tolist() == [255, 255, 255, 0]
    deep = Image.fromarray(np.full((4, 4), 1023, np.uint16))
    assert (to_input(encode(deep), Contract((2, 2, 1), "L", "stretch", (), 10)) == 255).all()
    expected = to_pixels(encode(deep), 2, "L", "stretch", DecodeOptions(Conversion(12)))
    assert np.array_equal(to_input(encode(deep), Contract((2, 2, 1), "L", "stretch", (), 12)), expected)


def test_the_limit_of_pixels_applies() -> None:
    with pytest.raises(DataError, match="max_pixels = 10"):
        to_input(encode(Image.new("L", (4, 4))), Contract((4, 4, 1), "L", "stretch", ()), max_pixels=10)


def test_a_model_with_an_unknown_transform_is_refused(tmp_path: Path) -> None:
    write_threshold_model(tmp_path / "model.onnx")
    model = open_predictor(tmp_path / "model.onnx")
    check_input(model)
    for change in ({"mode": "CMYK"}, {"resize": "pad"}, {"depth": 17}, {"background": "pink"}):
        with pytest.raises(DataError, match=rf"model\.onnx: unknown {next(iter(change))} "):
            check_input(replace(model, contract=replace(model.contract, **change)))
    for shape in ((4, 5, 1), ("height", "width", 1), (4, 4, 3)):
        with pytest.raises(DataError, match="does not fit mode L"):
            check_input(replace(model, contract=replace(model.contract, input_shape=shape)))
