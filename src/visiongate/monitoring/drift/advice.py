"""What explains the findings of a drift check, and what to do."""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from visiongate.settings.monitoring import DriftTest

NOTHING: Final = "nothing to do"
ADVICE: Final[Mapping[DriftTest, str]] = {
    "flood": "find out which client sends these copies; a stuck camera or a loop is repaired there. The other tests leave them "
    "out",
    "format": "ask the clients whether they changed how they store images; other formats are harmless unless accuracy falls",
    "mode": "ask the clients whether they changed how they store images; gray images among colored ones lose information",
    "size": "ask the clients for their cameras and whether they scale images; enlarged small ones are blurred",
    "aspect": "ask the clients whether they crop or turn images; a stretched image looks unlike the training images",
    "brightness": "look at recent images: a camera, its exposure or its light has changed. Repair it before training again",
    "contrast": "look at recent images: fog, dirt, a broken lens or other preprocessing. Repair it before training again",
    "embeddings": "look at recent images beside older ones. Compare the accuracy by feedback with that before",
    "novelty": "look at the images of which the model is least sure: they may be of a class that it does not know. Label some "
    "of them; if they are, add the class and train again",
    "out_of_distribution": "look at the images that are marked as unlike the training images; label some of them, or reject "
    "them where they come from",
    "classes": "find out whether these classes really are more frequent; the estimated shares help. If so, nothing is wrong, "
    "but a threshold or the training set may no longer fit",
    "probabilities": "look at recent images of this class; compare its precision and recall by feedback with those before",
    "confidence": "look at the images of which the model is least sure; compare the accuracy by feedback with that before",
    "accuracy": "ask for true classes (serving.log.ask_share) to confirm it, collect them, and train again if they do",
}


class Cause(NamedTuple):
    """What may be behind several findings."""

    name: str
    tests: tuple[DriftTest, ...]


CAMERA: Final = "another camera, client or preprocessing"
NEW_IMAGES: Final = Cause("a new class, or images of another kind", ("novelty", "out_of_distribution"))
SHARES: Final = "other shares of the classes"
# Of equal effects, the first is the likelier.
CAUSES: Final = (
    Cause(
        CAMERA,
        ("brightness", "contrast", "format", "mode", "size", "aspect"),
    ),
    NEW_IMAGES,
    Cause(SHARES, ("classes",)),
    Cause("other images of the same classes", ("embeddings", "probabilities", "confidence", "accuracy")),
)
FLOOD: Final = "one picture is sent again and again"
FEW_PICTURES: Final = "a few pictures are sent again and again"
FLOODS: Final = (FLOOD, FEW_PICTURES)
# What is repaired where the images come from. To train with such images would teach the fault.
REPAIRABLE: Final = frozenset({CAMERA, *FLOODS})
# Up to so many times its share, a flood whose copies are not all recognized explains other shares of the classes.
_EXPLAINED: Final = 2.0


def explain(effects: Mapping[DriftTest, float], flood: str = FLOOD) -> list[str]:
    """Return the causes that explain findings, the one with the largest effect first, and a flood before all others.

    A broken camera changes all images, and a new class the share that it has.

    Args:
        effects: Of the tests that found drift.
        flood: What a flood is named.
    """
    found = [
        (max(effects[test] for test in cause.tests if test in effects), cause.name)
        for cause in CAUSES
        if effects.keys() & set(cause.tests)
    ]
    # What follows from another cause explains nothing: a model takes new images for some of its classes.
    is_flood = "flood" in effects and effects.get("classes", 0.0) <= _EXPLAINED * effects["flood"]
    if is_flood or effects.keys() & set(NEW_IMAGES.tests):
        found = [each for each in found if each[1] != SHARES]
    if len(found) > 1:
        found = [each for each in found if each[1] != CAUSES[-1].name]
    ordered = [name for _, name in sorted(found, key=lambda each: -each[0])]
    return [flood, *ordered] if "flood" in effects else ordered


def first_test(cause: str, found: Collection[DriftTest]) -> DriftTest | None:
    """Return the test whose advice fits a cause; None if it explains none of the findings."""
    tests: tuple[DriftTest, ...] = ("flood",) if cause in FLOODS else ()
    tests = next((each.tests for each in CAUSES if each.name == cause), tests)
    return next((test for test in tests if test in found), None)
