"""``visiongate issue``: open, update or close the issue about a champion that falls short."""

import os
from pathlib import Path

from visiongate.adapters.github import open_repository, run_address
from visiongate.delivery.champion_check import ChampionCheck
from visiongate.delivery.champion_issue import update_issue
from visiongate.delivery.champion_report import headline
from visiongate.errors import DataError
from visiongate.records.json_record import read_record
from visiongate.review.comments import WORKFLOW_AUTHOR


def run(check: Path, report: Path) -> int:
    """Print the address of the issue.

    Args:
        check: The result of `visiongate registry check`.
        report: Its report.

    Raises:
        VisiongateError: A file is missing or invalid, or GitHub refused.
    """
    try:
        found = read_record(check, ChampionCheck)
        text = report.read_text(encoding="utf-8")
    except (DataError, OSError) as error:
        raise DataError(f"{error}; `visiongate registry check` writes both files") from None
    title = None if found.verdict.passed else headline(found)
    author = os.environ.get("COMMENT_AUTHOR") or WORKFLOW_AUTHOR
    print(update_issue(title, text, run_address(os.environ), open_repository(), author))
    return 0
