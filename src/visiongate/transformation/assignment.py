"""What each image of a data set is for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Assignment:
    """How the images judge a model.

    Attributes:
        protocol: By a test split, or by cross-validation.
        method: How splits or folds were drawn.
        splits: ``train``, ``val`` or ``test`` for each image; None for one that is left out.
        folds: The fold of each image with cross-validation, None for one that only trains or is left out; otherwise None.
    """

    protocol: Literal["holdout", "cross_validation"]
    method: Literal["hash", "stratified", "kfold"]
    splits: Sequence[str | None]
    folds: Sequence[int | None] | None = None

    @property
    def fold_count(self) -> int | None:
        """The number of folds."""
        return None if self.folds is None else max(fold for fold in self.folds if fold is not None) + 1
