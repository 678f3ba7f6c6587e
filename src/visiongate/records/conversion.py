"""``conversion.json``: how samples of any depth, with or without transparency, become 8-bit pixels.

`validation` decides it once for a data set and writes it to ``data/measured``; `preparation` copies it to ``data/prepared``;
`transformation` records it in ``transform.json``. So every stage, and a server, see the same pixels.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from visiongate.records.files import write_json
from visiongate.records.json_record import read_record

CONVERSION_FILE = "conversion.json"
# In the order of preference.
BACKGROUNDS = ("white", "black", "gray")
MIN_DEPTH, MAX_DEPTH = 8, 16


@dataclass(frozen=True, slots=True)
class Conversion:
    """The rule for a data set.

    Attributes:
        depth: Bits of the range that 16-bit samples use, 8 to 16. The highest level of this range becomes 255.
        background: The color behind transparent areas: ``white``, ``black`` or ``gray``.
        window: Center and width of the values of DICOM images that are shown; None for the window of each file.
    """

    depth: int = MAX_DEPTH
    background: str = BACKGROUNDS[0]
    window: tuple[float, float] | None = None


DEFAULT_CONVERSION = Conversion()


@dataclass(frozen=True, slots=True)
class ChosenConversion:
    """The content of ``conversion.json``: the rule, and how many images it concerns. With both parts set, none are counted.

    Attributes:
        conversion: The rule.
        deep: Images with 16-bit samples.
        brighter: Deep images with a sample above the range, which is clipped.
        transparent: Images with transparent areas.
        faint: Transparent images that have much less contrast on this background than on another.
    """

    conversion: Conversion
    deep: int = 0
    brighter: int = 0
    transparent: int = 0
    faint: int = 0


def write_conversion(directory: Path, chosen: ChosenConversion) -> None:
    """Write ``conversion.json`` beside measurements or images."""
    write_json(directory / CONVERSION_FILE, asdict(chosen))


def read_conversion(directory: Path) -> ChosenConversion:
    """Read ``conversion.json`` beside measurements or images.

    Raises:
        DataError: The file is missing or invalid.
    """
    return read_record(directory / CONVERSION_FILE, ChosenConversion)
