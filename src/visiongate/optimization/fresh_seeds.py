"""The comparison of the best and the current settings with fresh seeds, without torch.

The best of twenty trials is also the luckiest of twenty, so that its score in the search says little. Both settings are
therefore trained with seeds that the search did not use.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from visiongate.errors import DataError
from visiongate.optimization.fingerprint import digest
from visiongate.optimization.storage import JOURNALS
from visiongate.records.files import write_json
from visiongate.records.json_record import read_record
from visiongate.records.search import Values

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeedScores:
    """The scores of settings that were trained with the first fresh seeds.

    Attributes:
        scores: The score with each seed, of which higher is better; None if the training failed.
        failure: The message of the first training that failed; empty if none did.
    """

    scores: list[float | None]
    failure: str = ""


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The scores of the best and of the current settings, perhaps with different numbers of seeds."""

    best: SeedScores
    current: SeedScores

    @property
    def pairs(self) -> list[tuple[float, float]]:
        """The score of the best and of the current settings, for each seed with which both were trained."""
        scores = zip(self.best.scores, self.current.scores, strict=False)
        return [(best, current) for best, current in scores if best is not None and current is not None]


NO_SCORES = PairedScores(SeedScores([]), SeedScores([]))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison depends on.

    Attributes:
        study: The fingerprint of the study.
        best: The best settings of the search by dotted name.
        current: The current values of the same settings.
        seeds: How many fresh seeds are planned; 0 compares nothing.
    """

    study: str
    best: Values
    current: Values
    seeds: int

    @property
    def name(self) -> str:
        """A name that changes with everything that the comparison depends on."""
        return f"{self.study}-{digest(self.best, self.current, self.seeds)}"

    def read_scores(self) -> PairedScores | None:
        """Return the scores; None if they must be trained, also because their file is damaged."""
        if self.best == self.current or self.seeds == 0:
            return NO_SCORES
        if not self._file.exists():
            return None
        try:
            return read_record(self._file, PairedScores)
        except DataError:
            logger.warning("%s: damaged; the pairs are trained again", self._file)
            return None

    def write_scores(self, scores: PairedScores) -> None:
        """Keep the scores."""
        write_json(self._file, asdict(scores))

    @property
    def _file(self) -> Path:
        return JOURNALS / f"{self.name}.json"
