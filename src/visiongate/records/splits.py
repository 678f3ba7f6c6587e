"""The names of the splits."""

# In ascending order of protection: the test split must stay unknown to training.
SPLITS = ("train", "val", "test")


def protection(split: str | None) -> int:
    """Rank a given split by how well its images must be protected: none 0, train 1, val 2, test 3."""
    return SPLITS.index(split) + 1 if split else 0


def fold_split(fold: int) -> str:
    """Return the split that a fold is in the pixel arrays: that of its images for the model which is tested on fold 0."""
    return "test" if fold == 0 else "val" if fold == validation_fold(0, 2) else "train"


def validation_fold(fold: int, folds: int) -> int:
    """Return the fold that validates the model which is tested on a fold."""
    return (fold + 1) % folds
