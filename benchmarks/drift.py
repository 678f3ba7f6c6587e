"""Measure the check for drift: ``make bench BENCH=drift ARGS=false-alarms``.

Streams of predictions are drawn from real images and a real model (`drift_pool`), and each look runs the check of
`visiongate drift` as it is, without the database. Each year has a new reference, which all its looks are compared with.

- ``false-alarms``: years of weekly looks at an unchanged stream in which at least one look alarms.
- ``daily``: the same for daily looks at the last seven days, whose windows overlap.
- ``tails``: how often the p-values of the tests that are not exact are at most a level, without drift.
- ``power``: how often a look at a changed stream alarms, by the size of the window.
- ``accuracy``: the estimated accuracy and shares of classes beside the true ones.
- ``speed``: seconds of the test of embeddings, 5,000 against 5,000.
- ``peers``: Evidently and NannyML with their defaults on the same streams, each in an environment of its own.

A look takes about 60 ms on one core: 1,000 years of weekly looks take an hour.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Final

# Each process has one core: set before NumPy is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import numpy.typing as npt
import torch

from drift_pool import SHA256, Labels, Pool, make_pool, make_reference
from visiongate.evaluation.corruptions import CORRUPTIONS
from visiongate.monitoring.drift.check import Candidate, check_drift
from visiongate.monitoring.drift.distributions import compare_counts
from visiongate.monitoring.drift.embeddings import FeatureMap, compare_means
from visiongate.monitoring.drift.label_shift import estimate_label_shift
from visiongate.monitoring.drift.report import DriftReport
from visiongate.monitoring.drift.sample import Sample
from visiongate.monitoring.entries import LoggedModel
from visiongate.records.drift_reference import DriftReference
from visiongate.records.interval import wilson_interval
from visiongate.settings.monitoring import Monitoring

HERE: Final = Path(__file__).resolve().parent
START: Final = datetime(2026, 1, 1, tzinfo=UTC)
WEEKS, DAYS, WEEK_DAYS = 52, 365, 7
SIZES = (100, 300, 1000, 3000)
SEVERITIES = (1, 3, 5)
# By how much the share of one class rises, at the expense of the others.
RISES = (0.03, 0.05, 0.1, 0.2, 0.4)
# Of a class that the model does not know, and of one picture.
SHARES = (0.01, 0.03, 0.05, 0.1, 0.3)
REPETITIONS = 40
LEFT_OUT, RISEN = "4", 3
# Points by which an estimated accuracy may be wrong, and the level of a look that nobody spends.
TOLERATED, UNCONTROLLED = 3, 0.05
LEVELS = (1e-2, 1e-3, 1e-4)
PEERS = ("evidently", "nannyml")
Rows = npt.NDArray[np.int64]
# Of a stream: the predictions of a window of some size.
Draw = Callable[[np.random.Generator, int], Sample]


@dataclass(frozen=True, slots=True)
class Stream:
    """Held-out images as the service would record them, and their labels."""

    sample: Sample
    labels: Labels
    classes: tuple[str, ...]

    def reference(self, rows: Rows) -> DriftReference:
        """Return images as the reference of the model."""
        return make_reference(self.sample.take(rows), self.labels[rows], self.classes)


@dataclass(frozen=True, slots=True)
class Year:
    """What the looks of a year found: tests that alarmed, and looks with a p-value below 5% that is not adjusted for looks."""

    alarms: tuple[str, ...]
    uncontrolled: bool


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=[*MEASUREMENTS])
    parser.add_argument("--data", type=Path, help="folder with MNIST; by default the embedded digits")
    parser.add_argument("--years", type=int, default=1000)
    parser.add_argument("--reference", type=int, default=1000, help="images of the reference")
    parser.add_argument("--window", type=int, default=500, help="images a week")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    MEASUREMENTS[options.what](options)


def measure_false_alarms(options: argparse.Namespace) -> None:
    """Count the years with an alarm at an unchanged stream."""
    stream, daily = make_stream(options.data), options.what == "daily"
    task = partial(
        simulate_year,
        size=options.window,
        reference=options.reference,
        looks_of_week=WEEK_DAYS if daily else 1,
    )
    print(
        f"{options.years:,} years of {'daily' if daily else 'weekly'} looks, reference {options.reference:,}, "
        f"{options.window:,} images a week, {len(stream.sample):,} held-out images"
    )
    with ProcessPoolExecutor(options.processes, initializer=_share, initargs=(stream,)) as executor:
        years = list(executor.map(task, range(options.years), chunksize=5))
    _print_share("years with a false alarm", [bool(year.alarms) for year in years])
    _print_share("years with a look that is below 5% by itself (Holm)", [year.uncontrolled for year in years])
    tests = Counter(test for year in years for test in set(year.alarms))
    print("years by test: " + (", ".join(f"{test} {count}" for test, count in tests.most_common()) or "none"))


def simulate_year(year: int, size: int, reference: int, looks_of_week: int) -> Year:
    """Look at an unchanged stream for a year.

    Args:
        year: Its number, which seeds it.
        size: Images a week.
        reference: Images of the reference.
        looks_of_week: 1, or 7 for daily looks.
    """
    stream, generator = _shared(), np.random.default_rng((1, year))
    rows = generator.permutation(len(stream.sample))
    held_out, rest = stream.reference(rows[:reference]), rows[reference:]
    looks, fresh = (WEEKS if looks_of_week == 1 else DAYS), size // looks_of_week
    earlier, alarms, uncontrolled = None, [], False
    for look in range(looks):
        end = size + look * fresh
        # A stream that is longer than the pool starts again with other neighbors.
        window = rest[np.arange(end - size, end) % len(rest)]
        now = START + timedelta(days=look * WEEK_DAYS / looks_of_week)
        earlier = look_at(held_out, stream.sample.take(window), earlier, now)
        alarms += [each.test for each in earlier.models[0].findings]
        uncontrolled |= any(each.p_value <= UNCONTROLLED for each in earlier.models[0].tests)
    return Year(tuple(alarms), uncontrolled)


def look_at(
    held_out: DriftReference,
    window: Sample,
    earlier: DriftReport | None = None,
    now: datetime = START,
) -> DriftReport:
    """Check a window with the default settings."""
    model = LoggedModel("model", "1", SHA256, held_out.classes)
    candidate = Candidate(model, held_out, None, None, window, len(window))
    return check_drift([candidate], Monitoring(), earlier, now)


def measure_tails(options: argparse.Namespace) -> None:
    """Count small p-values of the tests that use a limit distribution, without drift.

    Only p-values far from those of permutations show the limit, so that no permutation is counted.
    """
    stream = make_stream(options.data)
    features = FeatureMap.fit(stream.sample.embedding[:1000])(stream.sample.embedding)
    print("share of p-values at most a level, without drift; 1.0 is exact, less is cautious\n")
    print("| test | reference | window | " + " | ".join(f"{level:g}" for level in LEVELS) + " |")
    print("|---|---|---|" + "---|" * len(LEVELS))
    draws = options.years * 20
    for size in (100, 1000):
        generator, p_values = np.random.default_rng(size), {"embeddings": [], "classes": []}
        for _ in range(draws):
            rows = generator.choice(len(features), options.reference + size, replace=False)
            before, after = rows[size:], rows[:size]
            p_values["embeddings"].append(compare_means(features[before], features[after], 0).p_value)
            counts = [
                np.bincount(stream.sample.predicted[each], minlength=len(stream.classes))
                for each in (before, after)
            ]
            p_values["classes"].append(compare_counts(*counts).p_value)
        for test, values in p_values.items():
            shares = [float((np.array(values) <= level).mean() / level) for level in LEVELS]
            print(
                f"| {test} | {options.reference:,} | {size:,} | "
                + " | ".join(f"{each:.2f}" for each in shares)
                + " |"
            )


def measure_power(options: argparse.Namespace) -> None:
    """Print how often a changed stream alarms."""
    stream, pool = make_stream(options.data), _pool(options.data, None)
    print("| change | " + " | ".join(f"{size:,}" for size in SIZES) + " | found by, at the largest |")
    print("|---|" + "---|" * (len(SIZES) + 1))
    for name, draw in changed_streams(pool, stream, options.data):
        shares, found = [], Counter[str]()
        base = stream if "new class" not in name else _known_stream(options.data)
        for size in SIZES:
            alarms, found = 0, Counter[str]()
            for repetition in range(options.repetitions):
                generator = np.random.default_rng((2, size, repetition))
                rows = generator.permutation(len(base.sample))[: options.reference]
                report = look_at(base.reference(rows), draw(generator, size))
                alarms += report.verdict == "drift"
                found.update(each.test for each in report.models[0].findings)
            shares.append(alarms / options.repetitions)
        tests = ", ".join(test for test, count in found.most_common() if count >= options.repetitions / 2)
        print(
            f"| {name} | " + " | ".join(f"{share:.0%}" for share in shares) + f" | {tests or '-'} |",
            flush=True,
        )


def changed_streams(pool: Pool, stream: Stream, data: Path | None) -> Iterator[tuple[str, Draw]]:
    """Yield the name of a change, and what draws a window of it."""
    yield "none", partial(_draw, stream.sample)
    for corruption in CORRUPTIONS:
        for severity in SEVERITIES:
            changed = pool.corrupted(corruption, severity, 2 * max(SIZES))
            yield f"{corruption}, severity {severity}", partial(_draw, changed)
    for rise in RISES:
        yield f"one class {rise:+.0%}", partial(_draw_shifted, stream, rise)
    for share in SHARES:
        yield f"new class, {share:.0%}", partial(_draw_new, data, share)
    for share in SHARES:
        yield f"one picture, {share:.0%}", partial(_draw_flood, stream.sample, share)


def measure_accuracy(options: argparse.Namespace) -> None:
    """Print the estimated accuracy beside the true one, and the same of the shares of classes."""
    stream, pool = make_stream(options.data), _pool(options.data, None)
    print(
        "| stream | true | estimated | error, points | within 3 points | called reliable | in the interval |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, draw in labeled_streams(pool, stream):
        truth, estimates, covered, reliable = [], [], [], []
        for repetition in range(options.repetitions):
            generator = np.random.default_rng((3, repetition))
            rows = generator.permutation(len(stream.sample))[: options.reference]
            window, labels = draw(generator, 1000)
            [model] = look_at(stream.reference(rows), window).models
            if (accuracy := model.accuracy) is None:
                raise RuntimeError("the reference has labels, but the accuracy was not estimated")
            reliable.append(accuracy.reliable)
            truth.append(float((window.predicted == labels).mean()))
            estimates.append(accuracy.value)
            covered.append(accuracy.low <= truth[-1] <= accuracy.high)
        error = 100 * (np.mean(estimates) - np.mean(truth))
        print(
            f"| {name} | {np.mean(truth):.1%} | {np.mean(estimates):.1%} | {error:+.1f} | "
            f"{'yes' if abs(error) <= TOLERATED else '**no**'} | {np.mean(reliable):.0%} | {np.mean(covered):.0%} |",
            flush=True,
        )
    print(
        "\n| class share | mean error of the estimate, points | of the predicted shares | true share in the interval |"
    )
    print("|---|---|---|---|")
    for rise in RISES:
        errors, plain, covered = [], [], []
        for repetition in range(options.repetitions):
            generator = np.random.default_rng((4, repetition))
            held_out = stream.reference(generator.permutation(len(stream.sample))[: options.reference])
            rows = _shifted_rows(stream, rise, generator, 1000)
            count = len(stream.classes)
            actual, predicted = (
                np.bincount(each[rows], minlength=count) for each in (stream.labels, stream.sample.predicted)
            )
            shift = estimate_label_shift(held_out.confusion, predicted)
            errors.append(np.abs(shift.shares - actual / 1000).mean())
            plain.append(np.abs(predicted / 1000 - actual / 1000).mean())
            covered.append(((shift.low <= actual / 1000) & (actual / 1000 <= shift.high)).mean())
        print(
            f"| {rise:+.0%} | {100 * np.mean(errors):.2f} | {100 * np.mean(plain):.2f} | {np.mean(covered):.0%} |",
            flush=True,
        )


def labeled_streams(
    pool: Pool, stream: Stream
) -> Iterator[tuple[str, Callable[[np.random.Generator, int], tuple[Sample, Labels]]]]:
    """Yield the name of a stream, and what draws a window with its labels."""

    def draw(sample: Sample, generator: np.random.Generator, size: int) -> tuple[Sample, Labels]:
        rows = generator.choice(len(sample), size, replace=False)
        return sample.take(rows), pool.labels[: len(sample)][rows]

    yield "unchanged", partial(draw, stream.sample)
    for corruption in CORRUPTIONS:
        for severity in range(1, 6):
            yield (
                f"{corruption}, severity {severity}",
                partial(draw, pool.corrupted(corruption, severity, 4000)),
            )

    def draw_shifted(rise: float, generator: np.random.Generator, size: int) -> tuple[Sample, Labels]:
        rows = _shifted_rows(stream, rise, generator, size)
        return stream.sample.take(rows), stream.labels[rows]

    for rise in RISES:
        yield f"one class {rise:+.0%}", partial(draw_shifted, rise)


def measure_speed(options: argparse.Namespace) -> None:
    """Print the seconds of the test of embeddings."""
    stream = make_stream(options.data)
    rows = np.random.default_rng(0).permutation(len(stream.sample))
    before, after = (stream.sample.embedding[rows[start : start + 5000]] for start in (0, 5000))
    for name, window in (("unchanged", after), ("changed", after + np.float16(0.05))):
        start = time.perf_counter()
        features = FeatureMap.fit(before)
        outcome = compare_means(features(before), features(window), Monitoring().drift.permutations)
        print(f"{name}: {time.perf_counter() - start:.2f} s, p = {outcome.p_value:.2g}")
    held_out = stream.reference(rows[:5000])
    start = time.perf_counter()
    look_at(held_out, stream.sample.take(rows[5000:10_000]))
    print(f"all tests, unchanged: {time.perf_counter() - start:.2f} s")


def measure_peers(options: argparse.Namespace) -> None:
    """Write streams to files, and let the peers look at them."""
    stream, pool = make_stream(options.data), _pool(options.data, None)
    folder = Path(tempfile.mkdtemp(prefix="drift-"))
    generator = np.random.default_rng(5)
    for year in range(options.years):
        rows = generator.permutation(len(stream.sample))
        weeks = rows[options.reference : options.reference + WEEKS * options.window]
        _export(
            folder / f"unchanged-{year}.npz",
            stream,
            rows[: options.reference],
            stream.sample.take(weeks),
            stream.labels[weeks],
        )
    for name, draw in labeled_streams(pool, stream):
        rows = generator.permutation(len(stream.sample))[: options.reference]
        window, labels = draw(generator, 2 * options.window)
        _export(folder / f"{name.replace(', severity ', '-')}.npz", stream, rows, window, labels)
    for peer in PEERS:
        python = _make_environment(peer)
        quiet = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1"}
        subprocess.run(
            [python, HERE / "drift_peers" / f"{peer}_looks.py", folder, str(options.window)],
            env=os.environ | quiet,
            check=True,
        )


def _export(path: Path, stream: Stream, rows: Rows, window: Sample, labels: Labels) -> None:
    reference = stream.sample.take(rows)
    arrays = {}
    for prefix, sample, truth in (("reference", reference, stream.labels[rows]), ("window", window, labels)):
        arrays |= {
            f"{prefix}_probabilities": sample.probabilities.astype(np.float32),
            f"{prefix}_predicted": sample.predicted,
            f"{prefix}_brightness": sample.brightness,
            f"{prefix}_contrast": sample.contrast,
            f"{prefix}_labels": truth,
        }
    np.savez(path, **arrays)


def _make_environment(peer: str) -> Path:
    folder = Path(tempfile.gettempdir()) / f"visiongate-drift-{peer}"
    requirements = HERE / "drift_peers" / f"{peer}.txt"
    python, done = folder / "bin" / "python", folder / "requirements.txt"
    if not done.exists() or done.read_text() != requirements.read_text():
        subprocess.run(["uv", "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run(
            ["uv", "pip", "install", "--quiet", "--python", python, "-r", requirements], check=True
        )
        done.write_text(requirements.read_text())
    return python


@cache
def _pool(data: Path | None, without: str | None) -> Pool:
    return make_pool(data, without)


@cache
def make_stream(data: Path | None) -> Stream:
    """Return the held-out images of a data set as the service would record them."""
    pool = _pool(data, None)
    return Stream(pool.predict(pool.images), pool.labels, pool.classes)


@cache
def _stream_without(data: Path | None) -> Stream:
    pool = _pool(data, LEFT_OUT)
    return Stream(pool.predict(pool.images), pool.labels, pool.classes)


@cache
def _known_stream(data: Path | None) -> Stream:
    whole = _stream_without(data)
    known = np.flatnonzero(whole.labels >= 0)
    return Stream(whole.sample.take(known), whole.labels[known], whole.classes)


def _draw(sample: Sample, generator: np.random.Generator, size: int) -> Sample:
    return sample.take(generator.choice(len(sample), size, replace=False))


def _shifted_rows(stream: Stream, rise: float, generator: np.random.Generator, size: int) -> Rows:
    is_risen = stream.labels == RISEN
    more = generator.binomial(size, min(1.0, float(is_risen.mean()) + rise))
    risen, others = np.flatnonzero(is_risen), np.flatnonzero(~is_risen)
    parts = [
        generator.choice(risen, more, replace=False),
        generator.choice(others, size - more, replace=False),
    ]
    return generator.permutation(np.concatenate(parts))


def _draw_shifted(stream: Stream, rise: float, generator: np.random.Generator, size: int) -> Sample:
    return stream.sample.take(_shifted_rows(stream, rise, generator, size))


def _draw_new(data: Path | None, share: float, generator: np.random.Generator, size: int) -> Sample:
    whole = _stream_without(data)
    new = generator.binomial(size, share)
    parts = [
        generator.choice(np.flatnonzero(whole.labels >= 0), size - new, replace=False),
        generator.choice(np.flatnonzero(whole.labels < 0), new, replace=False),
    ]
    return whole.sample.take(generator.permutation(np.concatenate(parts)))


def _draw_flood(sample: Sample, share: float, generator: np.random.Generator, size: int) -> Sample:
    rows = generator.choice(len(sample), size, replace=False)
    rows[generator.random(size) < share] = rows[0]
    return sample.take(rows)


_worker: list[Stream] = []


def _share(stream: Stream) -> None:
    torch.set_num_threads(1)
    _worker[:] = [stream]


def _shared() -> Stream:
    return _worker[0]


def _print_share(what: str, found: Sequence[bool]) -> None:
    interval = wilson_interval(float(np.mean(found)), len(found), 0.95)
    print(
        f"{what}: {sum(found)} of {len(found):,}, {interval.value:.1%} ({interval.low:.1%} to {interval.high:.1%})"
    )


MEASUREMENTS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "false-alarms": measure_false_alarms,
    "daily": measure_false_alarms,
    "tails": measure_tails,
    "power": measure_power,
    "accuracy": measure_accuracy,
    "speed": measure_speed,
    "peers": measure_peers,
}

if __name__ == "__main__":
    main()
