"""``dataset.json``: the facts about a data set as a whole, beside its image table."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from visiongate.records.files import write_json
from visiongate.records.json_record import read_record

DATASET_FILE = "dataset.json"


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The content of ``dataset.json``.

    Attributes:
        name: The data set's name in the settings.
        classes: Class names in the order of the model's outputs.
        images: Number of rows in the image table.
        license: License of the data set.
        citation: Publication to cite.
        homepage: The data set's home page.
        source: URL without credentials, or the name of the archive or folder.
        source_sha256: Hash of the archive, or of the images when there is no single archive.
        content_sha256: Hash of the rows' hashes, in order.
        ignored: Number of source files that are not images of a class, by reason.
        layout: How the folders of the source were understood, in one line.
        warnings: What a person should check about the source.
    """

    name: str
    classes: list[str]
    images: int
    license: str
    citation: str
    homepage: str
    source: str
    source_sha256: str
    content_sha256: str
    ignored: dict[str, int]
    layout: str = ""
    warnings: list[str] = field(default_factory=list)


def write_dataset(directory: Path, dataset: DatasetRecord) -> None:
    """Write ``dataset.json`` into an image table's folder."""
    write_json(directory / DATASET_FILE, asdict(dataset))


def read_dataset(directory: Path) -> DatasetRecord:
    """Read ``dataset.json`` from an image table's folder.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(directory / DATASET_FILE, DatasetRecord)
