"""Measure each part of the way from encoded images to pixel arrays, beside an alternative.

    python benchmarks/data.py decoding [--images FOLDER_OR_ZIP]   photographs to 224 × 224, on all cores
    python benchmarks/data.py small                               70,000 PNG of 28 × 28 and 60,000 JPEG of 32 × 32
    python benchmarks/data.py stages                              archives of these to pixel arrays, by the four data stages
    python benchmarks/data.py near_duplicates                     the search among 60,000 images
    python benchmarks/data.py remote                              dvc push and pull of 25,000 images over S3

``decoding`` compares, in alternation:

- ours: `visiongate.images.preprocessing.to_pixels` in the threads of `visiongate.images.parallel`;
- Pillow: ``Image.open(...).convert("RGB").resize(...)``, in threads or processes, whichever is faster, with the bilinear filter
  and with Pillow's default filter, bicubic;
- the decoder alone: libjpeg-turbo's scaled decode to at least 224 × 224 by simplejpeg, in the same threads. Every method that
  decodes whole blocks is slower than this.

Without ``--images``, the photographs are generated: brightness and colors have the power spectrum of natural images (amplitude
proportional to 1/frequency; Field, 1987), blurred as by a lens until quality 90 at 4:2:0 takes about two bits per pixel, as
photographs do. Speeds are medians; ratios are medians of the ratios of each run.
"""

import argparse
import io
import platform
import statistics
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import data_stages
from remote import measure_transfer
from visiongate.cores import usable_cores
from visiongate.engine.pieces import LocalEngine
from visiongate.images.measurement import measure_images
from visiongate.images.parallel import map_in_order
from visiongate.images.preprocessing import to_pixels
from visiongate.images.table import read_table, write_shards
from visiongate.preparation.near_duplicates import find_clusters, perceptual_hashes
from visiongate.settings.preparation import NearDuplicates
from visiongate.settings.transformation import Split, Transformation
from visiongate.transformation.rendering import COPIED_COLUMNS, Rendering, build_manifest, write_splits

SIDE = 224
# Number of photographs by size.
PHOTOS = {(1024, 768): 48, (1920, 1080): 24, (4032, 3024): 8}
SUFFIXES = (".jpg", ".jpeg")
GOAL_PILLOW, GOAL_DECODER = 3.0, 0.6


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description="Measure the way from encoded images to pixel arrays.")
    parser.add_argument("benchmark", nargs="?", choices=[*BENCHMARKS, "all"], default="all")
    parser.add_argument(
        "--images", type=Path, help="a folder or zip of JPEG photographs, instead of generated ones"
    )
    parser.add_argument("--limit", type=int, default=2000, help="largest number of photographs")
    parser.add_argument("--runs", type=int, default=5, help="runs of each method")
    options = parser.parse_args()
    print(f"{describe_machine()}\n")
    for name, benchmark in BENCHMARKS.items():
        if options.benchmark in (name, "all"):
            benchmark(options)


def describe_machine() -> str:
    """Return the processor and the versions of the libraries."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    versions = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}, numpy {np.__version__}"
    return f"{model}, {usable_cores()} cores, Python {platform.python_version()}, {versions}"


def decoding(options: argparse.Namespace) -> None:
    """Measure photographs to 224 × 224."""
    print(f"JPEG to {SIDE} × {SIDE}, images/s on all cores, medians of {options.runs} runs in turn")
    print(f"goals: {GOAL_PILLOW:g}× Pillow, {GOAL_DECODER:.0%} of the decoder alone")
    print(
        f"{'photographs':<22}{'n':>5}{'bits/px':>9}{'ours':>9}{'Pillow':>9}{'default':>9}{'decoder':>9}{'/Pillow':>9}{'/default':>9}{'/decoder':>10}"
    )
    if options.images:
        compare(options.images.name, read_photos(options.images)[: options.limit], options.runs)
        return
    for (width, height), count in PHOTOS.items():
        compare(f"{width} × {height}", list(make_photos(width, height, count)), options.runs)


def compare(name: str, photos: Sequence[bytes], runs: int) -> None:
    """Print one row: all methods on the same photographs, in alternation."""
    ours = partial(to_pixels, size=SIDE, mode="RGB", resize="stretch")
    bicubic = partial(by_pillow, method=Image.Resampling.BICUBIC)
    with ThreadPoolExecutor(usable_cores()) as threads, ProcessPoolExecutor(usable_cores()) as processes:
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda: list(map_in_order(ours, photos, len)),
            "Pillow, threads": partial(map_all, threads, by_pillow, photos),
            "Pillow, processes": partial(map_all, processes, by_pillow, photos),
            "default, threads": partial(map_all, threads, bicubic, photos),
            "default, processes": partial(map_all, processes, bicubic, photos),
            "decoder": lambda: list(map_in_order(by_decoder, photos, len)),
        }
        for way in ways.values():
            # The first run warms up.
            way()
        taken = [{key: seconds(way) for key, way in ways.items()} for _ in range(runs)]
    print_row(name, photos, taken)


def print_row(name: str, photos: Sequence[bytes], taken: Sequence[dict[str, float]]) -> None:
    """Print speeds and ratios; Pillow's are those of threads or processes, whichever is faster."""
    medians = {way: statistics.median(run[way] for run in taken) for way in taken[0]}
    pillow, default = (
        min((f"{kind}, threads", f"{kind}, processes"), key=lambda way: medians[way])
        for kind in ("Pillow", "default")
    )
    speeds = "".join(f"{len(photos) / medians[way]:9.0f}" for way in ("ours", pillow, default, "decoder"))
    ratio = {way: statistics.median(run[way] / run["ours"] for run in taken) for way in taken[0]}
    print(
        f"{name:<22}{len(photos):5}{bits_per_pixel(photos):9.2f}{speeds}"
        f"{ratio[pillow]:8.2f}×{ratio[default]:8.2f}×{ratio['decoder']:10.0%}   {pillow}"
    )


def by_pillow(encoded: bytes, method: Image.Resampling = Image.Resampling.BILINEAR) -> npt.NDArray[np.uint8]:
    """Decode and resize with Pillow alone."""
    image = Image.open(io.BytesIO(encoded)).convert("RGB")
    return np.asarray(image.resize((SIDE, SIDE), method))


def by_decoder(encoded: bytes) -> npt.NDArray[np.uint8]:
    """Decode at the smallest sufficient scale, without resizing."""
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        encoded, min_height=SIDE, min_width=SIDE, strict=False
    )
    return pixels


def map_all(pool: Executor, work: Callable[[bytes], object], photos: Sequence[bytes]) -> None:
    """Apply a function to all photographs, in batches."""
    for _ in pool.map(work, photos, chunksize=max(1, len(photos) // (8 * usable_cores()))):
        pass


def seconds(work: Callable[[], object]) -> float:
    """Return the seconds of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def bits_per_pixel(photos: Sequence[bytes]) -> float:
    """Return the median bits per pixel of photographs."""
    sizes = [simplejpeg.decode_jpeg_header(photo, strict=False)[:2] for photo in photos]
    return statistics.median(
        8 * len(photo) / (size[0] * size[1]) for photo, size in zip(photos, sizes, strict=True)
    )


def read_photos(source: Path) -> list[bytes]:
    """Read the JPEG files of a folder or zip, in alphabetical order."""
    if source.is_dir():
        files = sorted(file for file in source.rglob("*") if file.suffix.lower() in SUFFIXES)
        found = [file.read_bytes() for file in files]
    else:
        with zipfile.ZipFile(source) as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith(SUFFIXES))
            found = [archive.read(name) for name in names]
    return [photo for photo in found if photo.startswith(b"\xff\xd8\xff")]


def make_photos(width: int, height: int, count: int) -> Iterator[bytes]:
    """Generate photographs."""
    draw = np.random.default_rng(0)
    luma = field(draw, width, height) * 50 + 120
    small = (width // 8, height // 8)
    tints = [
        Image.fromarray(field(draw, *small).astype(np.float32)).resize((width, height)) for _ in range(2)
    ]
    planes = [luma, *(np.asarray(tint) * 15 + 128 for tint in tints)]
    bands = [Image.fromarray(np.clip(plane, 0, 255).astype(np.uint8)) for plane in planes]
    scene = np.asarray(Image.merge("YCbCr", bands).convert("RGB"))
    for _ in range(count):
        moved = np.roll(scene, (draw.integers(height), draw.integers(width)), axis=(0, 1))
        buffer = io.BytesIO()
        Image.fromarray(moved).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
        yield buffer.getvalue()


def field(draw: np.random.Generator, width: int, height: int) -> npt.NDArray[np.float64]:
    """Return a random field that tiles, with amplitude proportional to 1/frequency, mean 0 and standard deviation 1."""
    across, down = np.fft.rfftfreq(width)[None, :], np.fft.fftfreq(height)[:, None]
    frequency = np.maximum(np.hypot(across, down), 1 / max(width, height))
    spectrum = (
        np.fft.rfft2(draw.normal(size=(height, width))) / frequency * np.exp(-((frequency / LENS) ** 2))
    )
    made = np.fft.irfft2(spectrum, (height, width))
    return (made - made.mean()) / made.std()


# Cycles per pixel at which a third of the contrast remains.
LENS = 0.15


def small(options: argparse.Namespace) -> None:
    """Measure images so small that the overhead per image dominates."""
    sets = {
        "70,000 PNG 28 × 28": (make_small("PNG", 28, "L"), 70_000, 28, "L"),
        "60,000 JPEG 32 × 32": (make_small("JPEG", 32, "RGB"), 60_000, 32, "RGB"),
    }
    print(f"\nSmall images, seconds, medians of {options.runs} runs; goal 10 s each")
    print(f"{'':<22}{'measure':>9}{'transform':>11}{'Pillow loop':>13}")
    for name, (images, count, side, mode) in sets.items():
        encoded = [images[index % len(images)] for index in range(count)]
        taken = [
            (
                seconds(partial(measure_images, encoded)),
                transform(encoded, side, mode),
                seconds(partial(loop, encoded, mode)),
            )
            for _ in range(options.runs)
        ]
        medians = [statistics.median(column) for column in zip(*taken, strict=True)]
        print(f"{name:<22}{medians[0]:9.2f}{medians[1]:11.2f}{medians[2]:13.2f}")


def make_small(kind: str, side: int, mode: str) -> list[bytes]:
    """Generate a thousand small images."""
    draw = np.random.default_rng(0)
    scene = Image.fromarray(np.clip(field(draw, 1024, 1024) * 50 + 120, 0, 255).astype(np.uint8)).convert(
        mode
    )
    found = []
    for left, upper in draw.integers(0, 1024 - 2 * side, size=(1000, 2)).tolist():
        buffer = io.BytesIO()
        scene.resize((side, side), box=(left, upper, left + 2 * side, upper + 2 * side)).save(buffer, kind)
        found.append(buffer.getvalue())
    return found


def transform(encoded: Sequence[bytes], side: int, mode: str) -> float:
    """Write pixel arrays from an image table that exists; return the seconds."""
    paths = [f"{index:06d}" for index in range(len(encoded))]
    known = {"label": "0", "split": None, "group": None, "sha256": "0" * 64}
    splits = [("train", "val", "test")[index % 3] for index in range(len(encoded))]
    shares = Split(method="hash", train=0.8, val=0.1, test=0.1, seed=0)
    rendering = Rendering(Transformation(size=side, mode=mode, resize="stretch", split=shares))
    with tempfile.TemporaryDirectory(prefix="visiongate-") as name:
        table, arrays = Path(name, "table"), Path(name, "arrays")
        write_shards(
            table,
            ({**known, "path": path, "image": image} for path, image in zip(paths, encoded, strict=True)),
        )
        manifest = build_manifest(read_table(table, ["label", *COPIED_COLUMNS]), splits, ["0"])
        return seconds(partial(write_splits, LocalEngine(), table, arrays, manifest, rendering))


def loop(encoded: Sequence[bytes], mode: str) -> None:
    """Decode one after the other with Pillow alone."""
    for image in encoded:
        np.asarray(Image.open(io.BytesIO(image)).convert(mode))


def stages(options: argparse.Namespace) -> None:
    """Measure the four data stages on an archive, each in its own process."""
    print(
        "an archive to pixel arrays; the loop decodes the zip with Pillow, without checks, quarantine or splits"
    )
    print(f"{'set':<24}{'seconds':>9}{'limit':>7}{'peak MB':>9}{'loop':>7}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for (images, size, mode, encoding), limit in SETS.items():
            archive = Path(folder, f"{size}.zip")
            data_stages.write_set(archive, images, size, mode, encoding)
            overrides = ["dataset=folder", f"dataset.path={archive}", f"transformation.size={size}"]
            costs = data_stages.measure_stages([*overrides, f"transformation.mode={mode}"])
            ours = sum(cost.seconds for cost in costs.values())
            peak = max(cost.peak for cost in costs.values())
            theirs = data_stages.measure_loop(archive, size, mode).seconds
            name = f"{images:,} {encoding} {size} × {size}"
            print(f"{name:<24}{ours:9.1f}{limit:7}{peak:9.0f}{theirs:7.1f}{ours / theirs:7.2f}", flush=True)
    print(f"(one run each; --runs {options.runs} is for the others)\n")


def near_duplicates(options: argparse.Namespace) -> None:
    """Compare the search among 60,000 sketches, a tenth of them near-duplicates, with comparing all pairs."""
    sketches = make_sketches(60_000)
    limits = NearDuplicates(max_distance=8, max_difference=0.25)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: find_clusters(sketches, limits),
        "all pairs": lambda: compare_all(perceptual_hashes(sketches), limits.max_distance),
    }
    taken = {
        name: statistics.median(seconds(way) for _ in range(min(options.runs, 3)))
        for name, way in ways.items()
    }
    print(
        f"near-duplicates among {len(sketches):,} sketches: {taken['ours']:.1f} s, all included; limit 60 s"
    )
    print(
        f"comparing all pairs of hashes in numpy: {taken['all pairs']:.1f} s, "
        f"{taken['all pairs'] / taken['ours']:.1f} times as long\n"
    )


def make_sketches(count: int) -> npt.NDArray[np.uint8]:
    """Return sketches of soft random blobs; every tenth repeats the previous one, with noise."""
    generator = np.random.default_rng(0)
    found = np.empty((count, 32, 32), np.uint8)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6), dtype=np.uint8))
        found[index] = np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC))
    noisy = found[8::10] + generator.normal(0, 3, found[8::10].shape)
    found[9::10] = noisy[: len(found[9::10])].clip(0, 255).astype(np.uint8)
    return found


def compare_all(hashes: npt.NDArray[np.uint64], distance: int) -> int:
    """Count the pairs within a distance, by comparing all pairs."""
    pairs = 0
    for start in range(0, len(hashes), 256):
        block = hashes[start : start + 256]
        pairs += int((np.bitwise_count(block[:, None] ^ hashes[None, start:]) <= distance).sum())
    return pairs


def remote(options: argparse.Namespace) -> None:
    """Compare ``dvc push`` and ``dvc pull`` of shards with those of one file per image, over S3."""
    taken = measure_transfer(25_000)
    print("25,000 images of 2 kB, moto's local S3 server, one run")
    for action in ("push", "pull"):
        ours, theirs = taken["shards"][action], taken["files"][action]
        print(
            f"dvc {action}: {ours:.1f} s in {taken['shards']['files']:.0f} shards, {theirs:.1f} s as files: "
            f"{theirs / ours:.0f} times as long; goal 30"
        )
    print(f"(--runs {options.runs} is for the others)\n")


# Time limit in seconds, by number of images, side, mode and format.
SETS = {(70_000, 28, "L", "PNG"): 90, (60_000, 32, "RGB", "JPEG"): 150}
BENCHMARKS = {
    "decoding": decoding,
    "small": small,
    "stages": stages,
    "near_duplicates": near_duplicates,
    "remote": remote,
}

if __name__ == "__main__":
    main()
