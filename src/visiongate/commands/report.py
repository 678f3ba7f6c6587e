"""``visiongate report``: write the pull-request report.

The report is written in any state of the pipeline; it names the files that are unavailable.
"""

import os
from pathlib import Path

from visiongate import paths
from visiongate.commands.repro import read_last_failure
from visiongate.errors import DataError
from visiongate.records.files import write_text
from visiongate.review.inputs import collect_inputs, collect_untrusted_inputs
from visiongate.review.log_masking import mask_secrets
from visiongate.review.report import headline, render_report

MAX_LOG_BYTES = 200_000


def run(base: str | None, log: Path | None, folder: Path | None, *, failed: bool) -> int:
    """Write the report and print its first line.

    Without a log, the log of the last `visiongate repro` is used if that run failed.

    Raises:
        VisiongateError: The base, the log or the folder does not exist.
    """
    if log is None and folder is None:
        log, failed_last = read_last_failure(paths.LOCK)
        failed = failed or failed_last
    if folder is None:
        inputs = collect_inputs(base, _read_log(log) if log else "", failed=failed)
    else:
        inputs = collect_untrusted_inputs(folder, base, failed=failed)
    report = render_report(inputs)
    write_text(paths.REPORT, report)
    _add_to_summary(report)
    print(f"{paths.REPORT}: {headline(report)}")
    return 0


def _add_to_summary(report: str) -> None:
    """Add the report to the summary of the job, in a workflow on GitHub."""
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(report)


def _read_log(path: Path) -> str:
    """Return the end of a log, without secrets."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return mask_secrets(content[-MAX_LOG_BYTES:].decode(errors="replace"), os.environ)
