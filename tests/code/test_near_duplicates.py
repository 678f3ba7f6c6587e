"""Near-duplicates: hashes equal to ImageHash's, copies that are found, and images that only look alike."""

import io
import time
from collections import defaultdict
from collections.abc import Callable
from functools import cache

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from scipy.fft import idctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.datasets import load_digits

from visiongate.preparation.near_duplicates import (
    MAX_CLUSTER,
    MIN_CONTRAST,
    Sketches,
    differences,
    find_clusters,
    perceptual_hashes,
)
from visiongate.settings.preparation import NearDuplicates

LIMITS = NearDuplicates(max_distance=8, max_difference=0.25)
RANDOM = np.random.default_rng(0)
# Frequencies of a generated picture, in each direction.
LOW = 8


@cache
def pictures(count: int, side: int = 96, seed: int = 0) -> list[Image.Image]:
    """Color pictures, made of frequencies that fall off as a photograph's do."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    falling = 1 / np.hypot(rows + 1, columns + 1) ** 1.5
    waves = idctn(random.normal(size=(count, 3, side, side)) * falling, axes=(2, 3))
    gray = waves.mean(axis=1, keepdims=True) * 2 + waves
    low, high = gray.min(axis=(1, 2, 3), keepdims=True), gray.max(axis=(1, 2, 3), keepdims=True)
    pixels = (30 + 190 * (gray - low) / (high - low)).astype(np.uint8)
    return [Image.fromarray(np.moveaxis(picture, 0, -1)) for picture in pixels]


def sketch(image: Image.Image) -> Sketches:
    return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))


def sketches_of(images: list[Image.Image]) -> Sketches:
    return np.stack([sketch(image) for image in images])


def again(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    return Image.open(buffer)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.1)


def darker(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(0.9)


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((2, 2, image.width - 2, image.height - 2))


def marked(image: Image.Image) -> Image.Image:
    copy = image.copy()
    ImageDraw.Draw(copy).text((image.width - 40, image.height - 12), "a.org", fill=(255, 255, 255))
    return copy


def gray(image: Image.Image) -> Image.Image:
    return image.convert("L")


def cluster_all_pairs(sketches: Sketches, limits: NearDuplicates) -> list[list[int]]:
    """Cluster by comparing all pairs, without the rule for crowds."""
    flat = sketches.reshape(len(sketches), -1)
    hashes = perceptual_hashes(sketches)
    one, other = np.nonzero(
        np.triu(np.bitwise_count(hashes[:, None] ^ hashes) <= limits.max_distance, 1)
        & (np.corrcoef(flat) >= 1 - limits.max_difference**2 / 2 - 1e-9)
    )
    edges = coo_array((np.ones(len(one)), (one, other)), shape=(len(flat), len(flat)))
    members = defaultdict[int, list[int]](list)
    for image, label in enumerate(connected_components(edges, directed=False)[1].tolist()):
        members[label].append(image)
    return [found for found in members.values() if len(found) > 1]


@pytest.mark.parametrize("side", [8, 28, 100])
def test_hashes_equal_imagehash(side: int) -> None:
    images = pictures(60, side) + [
        Image.fromarray(RANDOM.integers(0, 256, (side, side), dtype=np.uint8)) for _ in range(60)
    ]
    hashes = perceptual_hashes(sketches_of(images))
    assert [f"{value:016x}" for value in hashes.tolist()] == [str(imagehash.phash(image)) for image in images]


def test_hashes_of_simple_images_equal_imagehash() -> None:
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    simple = [
        np.zeros_like(ramp),
        np.full_like(ramp, 255),
        np.full_like(ramp, 7),
        ramp,
        ramp.T,
        ramp[:, ::-1],
    ]
    simple += [np.where(ramp > 99, 255, 0).astype(np.uint8), np.eye(32, dtype=np.uint8) * 255]
    hashes = perceptual_hashes(np.stack(simple))
    assert [f"{value:016x}" for value in hashes.tolist()] == [
        str(imagehash.phash(Image.fromarray(pixels))) for pixels in simple
    ]


def test_hashes_do_not_depend_on_the_other_images() -> None:
    sketches = RANDOM.integers(0, 256, (5000, 32, 32), dtype=np.uint8)
    np.testing.assert_array_equal(perceptual_hashes(sketches)[4090:], perceptual_hashes(sketches[4090:]))


def test_the_difference_is_of_standardized_pixels() -> None:
    one, other = RANDOM.integers(0, 256, (2, 9, 1024), dtype=np.uint8)
    standard = [(side - side.mean(1, keepdims=True)) / side.std(1, keepdims=True) for side in (one, other)]
    wanted = np.sqrt(((standard[0] - standard[1]) ** 2).mean(axis=1))
    np.testing.assert_allclose(differences(one, other), wanted, rtol=1e-9)
    np.testing.assert_allclose(differences(one, one), 0, atol=1e-7)
    np.testing.assert_allclose(differences(one, 255 - one), 2)
    np.testing.assert_allclose(differences(one // 4 * 2 + 9, one // 4), 0, atol=1e-7)


@pytest.mark.parametrize(
    ("change", "share"),
    [(again, 1), (halved, 1), (brighter, 1), (darker, 1), (gray, 1), (marked, 0.9), (cropped, 0.95)],
)
def test_copies_are_found(change: Callable[[Image.Image], Image.Image], share: float) -> None:
    images = pictures(50, 200)
    clusters = find_clusters(sketches_of(images + [change(image) for image in images]), LIMITS)
    assert all(second == first + 50 for first, second in clusters)
    assert len(clusters) >= 50 * share


def test_different_pictures_are_in_no_cluster() -> None:
    assert find_clusters(sketches_of(pictures(400)), LIMITS) == []


def test_handwritten_digits_have_no_clusters() -> None:
    pixels = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    sketches = sketches_of([Image.fromarray(image) for image in pixels])
    assert find_clusters(sketches, LIMITS.model_copy(update={"max_difference": 0.125})) == []
    assert max(map(len, find_clusters(sketches, LIMITS))) <= MAX_CLUSTER


@pytest.mark.parametrize("distance", [0, 4, 8, 16])
@pytest.mark.parametrize("difference", [0.0, 0.1, 0.25])
def test_clusters_equal_those_of_all_pairs(distance: int, difference: float) -> None:
    limits = NearDuplicates(max_distance=distance, max_difference=difference)
    images = pictures(120)
    changes = [again, halved, brighter, marked, cropped]
    copies = [changes[number % 5](image) for number, image in enumerate(images[:90])]
    sketches = sketches_of([*images, *copies, *images[:3], *map(again, copies[:20])])
    assert find_clusters(sketches, limits) == cluster_all_pairs(sketches, limits)


def test_flat_images_are_in_no_cluster() -> None:
    flat = np.repeat(np.arange(0, 256, 4, dtype=np.uint8), 1024).reshape(-1, 32, 32)
    assert find_clusters(np.concatenate([flat, flat]), LIMITS) == []


def test_faint_noise_is_in_no_cluster() -> None:
    faint = RANDOM.integers(100, 106, (500, 32, 32), dtype=np.uint8)
    assert faint.std(axis=(1, 2)).min() > MIN_CONTRAST
    assert find_clusters(faint, LIMITS) == []


def test_a_chain_of_similar_images_is_split() -> None:
    """Each picture differs little from the next."""
    start, end = (sketch(image).astype(float) for image in pictures(2))
    steps = np.linspace(0, 1, MAX_CLUSTER + 10)
    chain = np.stack([np.rint(start * (1 - step) + end * step).astype(np.uint8) for step in steps])
    apart = differences(chain[:-1].reshape(-1, 1024), chain[1:].reshape(-1, 1024))
    limits = NearDuplicates(max_distance=16, max_difference=float(apart.max()) * 1.01)
    assert find_clusters(chain[:MAX_CLUSTER], limits) == [list(range(MAX_CLUSTER))]
    left = find_clusters(chain, limits)
    assert max(map(len, left), default=0) < MAX_CLUSTER
    np.testing.assert_array_less(apart.max() / 2, apart.max())


def noisy(count: int, share: float) -> Sketches:
    """One picture with noise of so many standard deviations of its own."""
    base = sketch(pictures(1)[0]).astype(float)
    noise = RANDOM.normal(0, share * base.std(), (count, 32, 32))
    return np.clip(base + noise, 0, 255).round().astype(np.uint8)


def test_many_copies_of_one_picture_are_one_cluster() -> None:
    frames = noisy(2500, 0.07)
    start = time.perf_counter()
    assert find_clusters(frames, LIMITS) == [list(range(2500))]
    assert time.perf_counter() - start < 10


def test_a_large_crowd_is_split_in_seconds() -> None:
    frames = noisy(2500, 0.14)
    start = time.perf_counter()
    assert find_clusters(frames[:MAX_CLUSTER], LIMITS) == [list(range(MAX_CLUSTER))]
    assert find_clusters(frames, LIMITS) == []
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("share", [0.02, 0.0885, 0.177])
def test_dense_pairs_give_the_same_clusters(share: float) -> None:
    """Noise puts differences around both limits, and most pairs are settled by a matrix product."""
    frames = np.concatenate([noisy(300, share), sketches_of(pictures(50)[1:])])
    clusters = find_clusters(frames, LIMITS)
    loose = cluster_all_pairs(frames, LIMITS)
    strict = cluster_all_pairs(
        frames, LIMITS.model_copy(update={"max_difference": LIMITS.max_difference / 2})
    )
    crowds = [cluster for cluster in loose if len(cluster) > MAX_CLUSTER]
    wanted = [cluster for cluster in loose if cluster not in crowds]
    wanted += [cluster for cluster in strict if any(set(cluster) <= set(crowd) for crowd in crowds)]
    assert clusters == sorted(wanted)


def test_six_thousand_with_few_hashes_take_seconds() -> None:
    """The worst case: different pictures with the same hash."""
    signs = RANDOM.permutation(np.repeat([-1, 1], LOW * LOW // 2)).reshape(LOW, LOW)
    sketches = np.empty((6_000, 32, 32), dtype=np.uint8)
    for start in range(0, len(sketches), 2000):
        waves = np.zeros((2000, 32, 32), dtype=np.float32)
        waves[:, :LOW, :LOW] = signs * RANDOM.uniform(0.3, 3, (2000, LOW, LOW))
        made = idctn(waves, axes=(1, 2))
        sketches[start : start + 2000] = 128 + 127 * made / np.abs(made).max(axis=(1, 2), keepdims=True)
    assert len(np.unique(perceptual_hashes(sketches))) < 100
    start_time = time.perf_counter()
    find_clusters(sketches, LIMITS)
    assert time.perf_counter() - start_time < 10


def test_identical_images_take_little_time() -> None:
    sketches = np.repeat(sketches_of(pictures(2)), 30_000, axis=0)
    start = time.perf_counter()
    clusters = find_clusters(sketches, LIMITS)
    assert time.perf_counter() - start < 5
    assert [len(cluster) for cluster in clusters] == [30_000, 30_000]


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_clusters(count: int) -> None:
    assert find_clusters(sketches_of(pictures(1))[:count], LIMITS) == []
