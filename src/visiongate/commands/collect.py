"""``visiongate collect``: turn feedback with kept images into training images and corrections, and list what to look at."""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from visiongate import paths
from visiongate.adapters.dvc import DvcError, run_dvc
from visiongate.commands.collect_summary import TRACKED, summarize
from visiongate.commands.correct import read_name
from visiongate.commands.opened_log import open_log
from visiongate.correction.collected_files import CollectedFiles
from visiongate.correction.collecting import Decisions, Review, describe_opinion, plan_collection
from visiongate.errors import DataError
from visiongate.images.table import read_table
from visiongate.monitoring.collection import read_feedback
from visiongate.monitoring.kept_images import open_kept_images
from visiongate.monitoring.opinions import Knowledge, weigh
from visiongate.records.collected import read_collected
from visiongate.records.collected_paths import is_collected
from visiongate.records.corrections import read_corrections
from visiongate.records.dataset import read_dataset
from visiongate.records.doubtful_labels import DOUBTFUL_FILE, DoubtfulLabel, read_doubtful
from visiongate.settings.loading import load_settings
from visiongate.settings.serving_environment import load_serving

ALL = "all"
# Doubts about which a person must name the class, or accept each image.
NAMED_ONLY = ("conflicting", "unknown_class")


def run(
    since: datetime | None,
    folder: str | None,
    accept: tuple[str, ...],
    reject: tuple[str, ...],
    *,
    dry_run: bool,
) -> int:
    """Write the tables and copy the images; print what was done and what to run next.

    Raises:
        VisiongateError: A setting, a table or an option is invalid, or the log, the images or the data cannot be read.
    """
    deployment = load_serving(paths.PARAMS, os.environ)
    since_us = 0 if since is None else round(since.replace(tzinfo=UTC).timestamp() * 1_000_000)
    with open_log(deployment.serving.log) as database:
        found = read_feedback(database.engine, since_us)
    files = open_files(folder or deployment.serving.log.images.folder)
    _fetch_labels()
    if not dry_run:
        _fetch_images(files)
    decisions = _read_decisions()
    known = _read_knowledge(decisions)
    opinions = weigh(found.answers, known, deployment.monitoring.collect)
    doubted = {each: describe_opinion(each, found) for each, found in opinions.items() if found.doubt}
    doubtful = {**decisions.doubtful, **doubted}
    undecided = [sha256 for sha256 in doubtful if not decisions.is_by_person(sha256)]
    review = _parse_review(doubtful, undecided, known, accept, reject)
    plan = plan_collection(opinions, decisions, review, files.find)
    if not dry_run:
        files.apply(plan, decisions)
    print("\n".join(summarize(plan, found, deployment.serving.log.images.keep, dry_run=dry_run)))
    return 0


def open_files(folder: str) -> CollectedFiles:
    """Return the files and tables of this repository, with the images that a service keeps in a folder."""
    return CollectedFiles(
        open_kept_images(folder), paths.COLLECTED, paths.COLLECTED_IMAGES, paths.CORRECTIONS, paths.COLLECT
    )


# What is known


def _fetch_labels() -> None:
    """Pull the data if this machine lacks them.

    Raises:
        DataError: They are not in the remote.
    """
    if not paths.RAW.is_dir():
        _pull(paths.RAW)


def _fetch_images(files: CollectedFiles) -> None:
    """Fetch the images of earlier runs, which `dvc add` would otherwise leave out.

    Raises:
        DataError: Neither the remote nor the service has one of them.
    """
    rows, reason = read_collected(paths.COLLECTED).values(), f"there is no {TRACKED}"
    if files.missing(rows) and TRACKED.exists():
        try:
            _pull(TRACKED)
        except DataError as error:
            reason = str(error)
        else:
            reason = f"{TRACKED} does not have them"
    files.restore(rows)
    if missing := files.missing(rows):
        raise DataError(
            f"{len(missing)} images that {paths.COLLECTED} lists are missing, such as {missing[0].file}: {reason}, and the "
            "service has not kept them; run `dvc push` where they were collected, or delete their lines"
        )


def _pull(path: Path) -> None:
    print(f"Pulling {path}")
    try:
        run_dvc(["pull", "--quiet", str(path)], Path.cwd())
    except DvcError as error:
        raise DataError(f"{path}: not on this machine: {error}") from None


def _read_decisions() -> Decisions:
    table = read_table(paths.RAW, ["sha256", "label", "path"])
    rows = zip(*(table.column(name).to_pylist() for name in table.column_names), strict=True)
    labels: dict[str, set[str]] = {}
    for sha256, label, path in rows:
        if not is_collected(path, sha256):
            labels.setdefault(sha256, set()).add(label)
    # Copies with several labels have none, so that any label corrects them.
    source = {sha256: found.pop() if len(found) == 1 else "" for sha256, found in labels.items()}
    name = load_settings().dataset.name
    collected = read_collected(paths.COLLECTED).items()
    return Decisions(
        name,
        source,
        {sha256: row for sha256, row in collected if row.dataset == name},
        read_corrections(paths.CORRECTIONS),
        read_doubtful(paths.COLLECT),
    )


def _read_knowledge(decisions: Decisions) -> Knowledge:
    """Return the classes, and the labels of the source and of people; those that feedback gave are no evidence for it."""
    classes = None if load_settings().dataset.new_classes else read_dataset(paths.RAW).classes
    labels = {sha256: label for sha256, label in decisions.source.items() if label}
    for sha256, correction in decisions.corrections.items():
        if correction.label is not None and decisions.is_by_person(sha256):
            labels[sha256] = correction.label
    return Knowledge(classes, labels)


# Review


def _parse_review(
    doubtful: Mapping[str, DoubtfulLabel],
    undecided: Sequence[str],
    known: Knowledge,
    accept: Sequence[str],
    reject: Sequence[str],
) -> Review:
    """Return what the options decide about doubtful labels, those of this run and of earlier ones.

    ``all`` concerns the undecided ones, so that it takes back no decision of a person.

    Raises:
        DataError: An image is not among them, or a class is unknown.
    """
    accepted: dict[str, str | None] = {}
    for text in accept:
        if text == ALL:
            accepted |= dict.fromkeys(
                sha256 for sha256 in undecided if doubtful[sha256].doubt not in NAMED_ONLY
            )
            continue
        image, separator, label = text.partition("=")
        if separator and known.classes is not None and label not in known.classes:
            raise DataError(
                f"--accept {text}: {label!r} is not a class of the data; choose one of {', '.join(known.classes)}"
            )
        accepted[_find(image, doubtful)] = label or None
    rejected = frozenset(_find(image, doubtful) for image in reject)
    if both := sorted(rejected & accepted.keys()):
        raise DataError(f"{both[0]}: both accepted and rejected; choose one")
    return Review(read_name() if accepted or rejected else "", accepted, rejected)


def _find(image: str, doubtful: Mapping[str, DoubtfulLabel]) -> str:
    """Return the only doubtful image whose sha256 starts with a text."""
    found = [sha256 for sha256 in doubtful if image and sha256.startswith(image)]
    if len(found) != 1:
        many = "several of the" if found else "not one of the"
        raise DataError(
            f"{image!r}: {many} {len(doubtful)} doubtful images; give the start of a sha256 in {paths.COLLECT / DOUBTFUL_FILE}"
        )
    return found[0]
