"""Measure the prediction log beside a commit for each answer: its cost, its memory without a database, and reports.

    python benchmarks/prediction_log.py [--predictions 100000] [--rows 1000000]

The database is SQLite. A report is over all rows, of two classes and two versions, with feedback for every hundredth. Only
Linux tells the memory.
"""

import argparse
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from data import describe_machine
from visiongate.models.sketch import WIDTH
from visiongate.monitoring.database import Database
from visiongate.monitoring.entries import (
    Feedback,
    ImageFacts,
    LoggedModel,
    LoggedPrediction,
    new_prediction_id,
)
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.monitoring.report import Question, Reporter
from visiongate.monitoring.watch import read_accuracies
from visiongate.settings.serving import PredictionLog as Settings

CLASSES = ("Cat", "Dog")
MODELS = [LoggedModel("pets", version, "a" * 64, CLASSES) for version in ("1", "2")]
BATCH, HOUR_US, WINDOW_HOURS = 5000, 3_600_000_000, 168
ASK_SHARE = 0.02
ABSENT = "sqlite:////dev/null/predictions.sqlite"


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description="Measure the prediction log.")
    parser.add_argument("--predictions", type=int, default=100_000, help="to record")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the report")
    options = parser.parse_args()
    print(f"{describe_machine()}\n")
    given = list(make_predictions(options.predictions))
    with tempfile.TemporaryDirectory() as folder:
        record(f"sqlite:///{folder}/written.sqlite", given, len(given))
        record(ABSENT, given, 10_000)
        commit_each(Path(folder, "each.sqlite"), given[:1000])
        report(f"sqlite:///{folder}/report.sqlite", options.rows)


def make_predictions(count: int) -> Iterator[LoggedPrediction]:
    """Yield predictions, evenly over the window."""
    now, generator = time.time_ns() // 1000, np.random.default_rng(0)
    labels, times = generator.integers(2, size=count), generator.lognormal(3, 0.5, count)
    confidences, draws = generator.beta(5, 1, count), generator.random(count)
    for number in range(count):
        yield LoggedPrediction(
            new_prediction_id(),
            MODELS[2 * number // count],
            CLASSES[labels[number]],
            confidence=float(confidences[number]),
            total_ms=float(times[number]),
            probabilities=bytes(8),
            sure=True,
            out_of_distribution=False,
            request_id="a" * 32,
            image=ImageFacts(f"{number:064x}", 100_000, 1024, 768, "JPEG", "RGB", 0.5, 0.2),
            embedding=bytes(2 * WIDTH),
            kept=False,
            asked=bool(draws[number] < ASK_SHARE),
            time_us=now - (count - number) * WINDOW_HOURS * HOUR_US // count,
        )


def record(address: str, given: list[LoggedPrediction], queue: int) -> None:
    """Put predictions as fast as possible, and wait until they are written or the database has failed."""
    log = PredictionLog(Settings(address=address, queue=queue))
    log.start()
    # SQLAlchemy is imported in this second.
    time.sleep(1)
    memory, used, start = resident_bytes(), time.process_time(), time.thread_time()
    for prediction in given:
        log.put(prediction)
    cost = time.thread_time() - start
    while log.waiting and log.fault is None:
        time.sleep(0.01)
    used = time.process_time() - used
    print(f"{len(given):,} predictions, {log.fault or 'recorded'}:")
    print(
        f"  {1e6 * cost / len(given):.2f} us of a core for the caller, {1e6 * used / len(given):.1f} in all"
    )
    print(f"  {sum(log.dropped.values()):,} lost, {(resident_bytes() - memory) / 2**20:.1f} MiB more memory")
    log.close()


def commit_each(file: Path, given: list[LoggedPrediction]) -> None:
    """Insert and commit each prediction before it is answered, as sqlite3 does it by default."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE predictions (id TEXT PRIMARY KEY, time, label TEXT, confidence, ms)")
        start = time.perf_counter()
        for each in given:
            row = (each.prediction_id, each.time_us, each.predicted, each.confidence, each.total_ms)
            with connection:
                connection.execute("INSERT INTO predictions VALUES (?, ?, ?, ?, ?)", row)
        print(f"a commit for each: {1e6 * (time.perf_counter() - start) / len(given):,.0f} us for the caller")


def report(address: str, rows: int) -> None:
    """Make a report over many rows."""
    database, batch = Database(address), []
    for number, prediction in enumerate(make_predictions(rows), 1):
        batch.append(prediction)
        if len(batch) == BATCH or number == rows:
            database.write(batch)
            for labeled in batch[::100]:
                database.record_feedback(Feedback(labeled.prediction_id, "Cat"))
            batch.clear()
    log = PredictionLog(Settings(address=address, max_rows=max(rows, 1)))
    log.start()
    time.sleep(1)
    start, used = time.perf_counter(), time.process_time()
    made = Reporter(log).report(Question(WINDOW_HOURS + 1))
    seconds, used = time.perf_counter() - start, time.process_time() - used
    start = time.process_time()
    log.read(lambda engine: read_accuracies(engine, 0))
    print(f"gauges of the accuracy: {time.process_time() - start:.2f} s of one core")
    print(f"report on {made.all.predictions:,} predictions: {seconds:.2f} s, {used:.2f} s of one core")
    print(f"  {Path(address.removeprefix('sqlite:///')).stat().st_size / rows:.0f} bytes a row")
    log.close()


def resident_bytes() -> int:
    """Return the memory of this process."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


if __name__ == "__main__":
    main()
