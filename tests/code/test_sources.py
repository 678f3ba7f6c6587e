import hashlib
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from visiongate.data.sources import find_source, register_source
from visiongate.errors import DataError


def test_the_digits_come_whole_and_in_order() -> None:
    opened = find_source("digits").open()
    images = list(opened.read())
    digits = load_digits()
    assert len(images) == opened.images == 1797
    assert [image.label for image in images] == [str(target) for target in digits.target]
    pixels = np.asarray(Image.open(io.BytesIO(images[5].image)))
    np.testing.assert_array_equal(pixels, np.rint(digits.images[5] * 255 / 16))
    assert images[5].path == "load_digits/0005.png"
    assert len({hashlib.sha256(image.image).digest() for image in images}) == 1797


def test_an_unknown_source_is_told_with_those_there_are() -> None:
    with pytest.raises(DataError, match=r"dataset\.name = 'cifar': no such data set; there are digits"):
        find_source("cifar")


def test_a_source_is_registered_once() -> None:
    with pytest.raises(ValueError, match="'digits' is registered twice"):
        register_source("digits", find_source("digits"))
