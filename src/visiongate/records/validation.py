"""``reports/validation/result.json``: the result of each expectation about the raw images."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from visiongate.records.conversion import ChosenConversion
from visiongate.records.files import write_json
from visiongate.records.json_record import parse_record, read_record

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Example:
    """One image, class, group or shard that fails an expectation.

    Attributes:
        path: The image's path; for a class or a group that of its first image, for a shard its file name.
        observed: What is wrong with it.
        row: The image's row in the raw table.
        others: Rows of images to show beside it, such as the other copy of the same bytes.
    """

    path: str | None
    observed: str
    row: int | None = None
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ExpectationResult:
    """The result of one expectation.

    Attributes:
        name: Its key under `validation` in the settings.
        required: What it requires, in words.
        actual: What the images have instead or indeed, in words.
        expectation: Its type in Great Expectations.
        subject: What `unexpected` counts: images, classes, groups or shards.
        unexpected: How many fail.
        examples: The first that fail.
        advice: How to mend a failure; empty if none failed.
        command: A shell command, or options of ``dvc exp run``, that does it; empty if there is none.
    """

    name: str
    severity: Severity
    success: bool
    required: str
    actual: str
    expectation: str = ""
    subject: str = "images"
    unexpected: int = 0
    examples: tuple[Example, ...] = ()
    advice: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class RefusedFiles:
    """Files that cannot be used for the same reason. `preparation` quarantines them.

    Attributes:
        cause: The reason, such as ``HEIC image`` or ``truncated``.
        files: How many there are.
        examples: Paths of the first few.
        advice: How to mend them.
        command: As in `ExpectationResult`.
    """

    cause: str
    files: int
    examples: tuple[str, ...]
    advice: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class ValidationReport:
    """All results.

    Attributes:
        images: Number of files; None if the table could not be read and only its columns were checked.
        expectations: The result of each expectation.
        refused: The files that cannot be used, by reason, the most frequent first.
        conversion: How the images become 8-bit pixels; None if they were not measured.
    """

    images: int | None
    expectations: tuple[ExpectationResult, ...]
    refused: tuple[RefusedFiles, ...] = ()
    conversion: ChosenConversion | None = None

    def failed(self, severity: Severity) -> list[ExpectationResult]:
        """Return the failed expectations of a severity."""
        return [result for result in self.expectations if result.severity == severity and not result.success]

    @property
    def success(self) -> bool:
        """Whether no critical expectation failed."""
        return not self.failed("critical")


def write_validation(path: Path, report: ValidationReport) -> None:
    """Write a report as JSON, with whether it succeeded on top."""
    write_json(path, {"success": report.success, **asdict(report)})


def read_validation(path: Path) -> ValidationReport:
    """Read a report.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(path, ValidationReport)


def parse_validation(content: bytes) -> ValidationReport:
    """Parse a report.

    Raises:
        DataError: The content is invalid.
    """
    return parse_record(content, ValidationReport, "result.json")
