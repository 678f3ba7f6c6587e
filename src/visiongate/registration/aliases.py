"""The decision about a version, written to the registry: its tags first, then the aliases.

Aliases move last and one at a time. If the process is killed in between, every alias still points to a valid version, and
the next run completes the move.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from visiongate.adapters.mlflow.registry import (
    DECISION_TAG,
    HISTORY_TAG,
    MAX_TAG,
    PASSED_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    ROLLED_BACK_TAG,
    Version,
    clear_alias,
    clear_tag,
    find_champion,
    list_versions,
    refresh,
    set_alias,
    set_tags,
)
from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.records.registry_tags import CHALLENGER, CHAMPION
from visiongate.registration.promotion import Decision

# When a version became champion last.
SINCE_TAG = "visiongate.champion_since"

logger = logging.getLogger(__name__)


def find_or_restore_champion(store: Store, name: str) -> Version | None:
    """Return the champion. If its alias was deleted, restore the version that was champion last, by its tags.

    Raises:
        TrackingError: MLflow failed.
    """
    champion = find_champion(store, name)
    if champion is not None:
        return champion
    last = max(
        (version for version in list_versions(store, name) if _was_champion(version)),
        key=_champion_since,
        default=None,
    )
    if last is None:
        return None
    logger.warning("registered model %s: no champion; restoring version %s, the last one", name, last.number)
    set_alias(store, last, CHAMPION)
    return refresh(store, last)


def make_champion(store: Store, version: Version, tags: Mapping[str, str]) -> Version:
    """Make a version the champion by hand, and return it. Tags are written first, and ``champion`` moves in one step.

    Raises:
        TrackingError: MLflow failed. The same call can be repeated.
    """
    set_tags(store, version, {SINCE_TAG: now(), **tags})
    set_alias(store, version, CHAMPION)
    # A champion is neither rolled back nor a challenger.
    clear_tag(store, version, ROLLED_BACK_TAG)
    clear_alias(store, version, CHALLENGER)
    return refresh(store, version)


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def apply_decision(store: Store, version: Version, champion: Version | None, decision: Decision) -> Version:
    """Write a decision to a version's tags, then move the aliases; return the version.

    A champion that the gate now rejects stays champion until another version is promoted.

    Args:
        store: The registry.
        version: The version that the decision is about.
        champion: The champion at the time of the decision.
        decision: The decision.

    Raises:
        TrackingError: MLflow failed, or the champion has changed. In that case no alias was moved.
    """
    set_tags(store, version, _decision_tags(version, champion, decision))
    if decision.moves_aliases:
        current = find_champion(store, version.name)
        if (current and current.number) != (champion and champion.number):
            raise TrackingError(
                f"registered model {version.name}: another version became champion; register again"
            )
        _move_aliases(store, version, decision)
    return refresh(store, version)


def champion_tags(version: Version, champion: Version) -> dict[str, str]:
    """Return the tags by which a new champion records those before it."""
    history = dict.fromkeys((champion.number, *champion.before, *version.before))
    rest = " ".join(number for number in history if number != version.number)
    return {PREVIOUS_TAG: champion.number, HISTORY_TAG: rest}


def _move_aliases(store: Store, version: Version, decision: Decision) -> None:
    """Move ``champion`` first: an interruption then leaves one challenger too many, which the next run removes."""
    if decision.action == "promoted":
        set_alias(store, version, CHAMPION)
    if decision.action == "registered":
        set_alias(store, version, CHALLENGER)
    else:
        clear_alias(store, version, CHALLENGER)


def _decision_tags(version: Version, champion: Version | None, decision: Decision) -> dict[str, str]:
    # The decision at the time of the first evaluation is kept.
    if not decision.moves_aliases and DECISION_TAG in version.tags:
        return {}
    tags = {DECISION_TAG: decision.action, REASON_TAG: decision.reason[:MAX_TAG]}
    if decision.action != "rejected":
        tags[PASSED_TAG] = "true"
    if decision.action != "promoted":
        return tags
    if champion is None:
        return {**tags, SINCE_TAG: now()}
    if champion.number != version.number:
        return {**tags, SINCE_TAG: now(), **champion_tags(version, champion)}
    # It is champion already: the reason of its promotion is kept.
    return tags if version.tags.get(DECISION_TAG) != decision.action else {}


def _was_champion(version: Version) -> bool:
    promoted = SINCE_TAG in version.tags or version.tags.get(DECISION_TAG) == "promoted"
    return promoted and ROLLED_BACK_TAG not in version.tags


def _champion_since(version: Version) -> str:
    registered = datetime.fromtimestamp(version.created / 1000, UTC).isoformat(timespec="seconds")
    return version.tags.get(SINCE_TAG, registered)
