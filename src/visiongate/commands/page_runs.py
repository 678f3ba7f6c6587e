"""``reports/runs.js``: the commit, the date and the registered version that the pages show.

The pages do not contain them, because the outputs of a stage are a function of its inputs. The file has the digest of each page
of a run, and a page shows the run only if the digest is its own.
"""

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from visiongate import paths
from visiongate.adapters.git import SHORT_COMMIT, Repository
from visiongate.errors import DataError
from visiongate.pages.rendering import PAGES
from visiongate.records.files import write_text
from visiongate.records.registration import read_registration

RUNS = paths.REPORT.parent / "runs.js"
# A script, because a page that was opened from disk may not read other files.
ASSIGNMENT = "var visiongateRuns = "
DIGEST = re.compile(r'data-digest="([0-9a-f]+)"')
HEAD_CHARACTERS = 200
PIPELINE_PAGES = tuple(folder for folder, _ in PAGES.values() if folder != paths.EXPERIMENTS.name)


def record_pages(folders: Iterable[str], directory: Path) -> None:
    """Record that pages are those of the current commit.

    Args:
        folders: Of the pages, in ``reports/``; one without a page is left out.
        directory: The root of the repository.
    """
    text = describe_run(directory)
    digests = {folder: _read_digest(directory / RUNS.parent / folder / "index.html") for folder in folders}
    runs = {folder: {"digest": digest, "text": text} for folder, digest in digests.items() if digest}
    known = _read_runs(directory / RUNS)
    write_text(directory / RUNS, f"{ASSIGNMENT}{json.dumps(known | runs, indent=2)};\n")


def describe_run(directory: Path) -> str:
    """Return the commit, the date and, if there is one, the registered version, as a sentence."""
    commit = Repository(directory).checked_out((paths.LOCK, paths.REPORT.parent))
    changes = " with uncommitted changes" if commit.dirty else ""
    date = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"Commit {commit.sha[:SHORT_COMMIT]}{changes}, {date}{_describe_version(directory)}."


def _describe_version(directory: Path) -> str:
    try:
        registration = read_registration(directory / paths.REGISTRATION)
    except DataError:
        return ""
    return f", model {registration.name} version {registration.version}"


def _read_runs(path: Path) -> dict[str, object]:
    """Return the known runs; none if the file is missing or damaged, because the next run writes them again."""
    try:
        runs: dict[str, object] = json.loads(_read(path).removeprefix(ASSIGNMENT).rstrip(";\n"))
    except ValueError:
        return {}
    return runs


def _read_digest(page: Path) -> str | None:
    found = DIGEST.search(_read(page)[:HEAD_CHARACTERS])
    return found[1] if found else None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
