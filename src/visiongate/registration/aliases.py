"""The decision about a version, written to the registry: its tags first, then the aliases.

Aliases move last and one at a time. If the process is killed in between, every alias still points to a valid version, and
the next run completes the move.
"""

from collections.abc import Callable

from visiongate.adapters.mlflow.registry import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    HISTORY_TAG,
    MAX_TAG,
    PASSED_TAG,
    PREVIOUS_TAG,
    REASON_TAG,
    Version,
    find_champion,
    read_aliases,
    read_version,
    set_tags,
)
from visiongate.adapters.mlflow.store import Store, TrackingError, mlflow_errors
from visiongate.registration.promotion import Decision


class ChampionMovedError(TrackingError):
    """The champion is no longer the one that the model was compared with."""


def apply_decision(
    store: Store,
    version: Version,
    champion: Version | None,
    decision: Decision,
    renew: Callable[[], None] = lambda: None,
) -> Version:
    """Write a decision to a version's tags, then move the aliases; return the version.

    A champion that the gate now rejects stays champion until another version is promoted.

    Args:
        store: The registry.
        version: The version that the decision is about.
        champion: The champion at the time of the decision.
        decision: The decision.
        renew: Called right before the aliases move; raises if another process may move them.

    Raises:
        ChampionMovedError: The champion has changed. No alias was moved.
        TrackingError: MLflow failed.
    """
    set_tags(store, version, _decision_tags(version, champion, decision))
    if decision.moves_aliases:
        renew()
        current = find_champion(store, version.name)
        if (current and current.number) != (champion and champion.number):
            raise ChampionMovedError(
                f"registered model {version.name}: another version became champion; run the command again"
            )
        _move_aliases(store, version, decision)
    with mlflow_errors(store.address):
        return read_version(store, version.name, version.number)


def champion_tags(version: Version, champion: Version) -> dict[str, str]:
    """Return the tags by which a new champion records those before it."""
    history = dict.fromkeys((champion.number, *champion.before, *version.before))
    rest = " ".join(number for number in history if number != version.number)
    return {PREVIOUS_TAG: champion.number, HISTORY_TAG: rest}


def _move_aliases(store: Store, version: Version, decision: Decision) -> None:
    """Move ``champion`` first: an interruption then leaves one challenger too many, which the next run removes."""
    with mlflow_errors(store.address):
        if decision.verdict == "promoted":
            store.client.set_registered_model_alias(version.name, CHAMPION, version.number)
        if decision.verdict == "registered":
            store.client.set_registered_model_alias(version.name, CHALLENGER, version.number)
        elif read_aliases(store, version.name).get(CHALLENGER) == version.number:
            store.client.delete_registered_model_alias(version.name, CHALLENGER)


def _decision_tags(version: Version, champion: Version | None, decision: Decision) -> dict[str, str]:
    # The decision at the time of the first evaluation is kept.
    if not decision.moves_aliases and DECISION_TAG in version.tags:
        return {}
    tags = {DECISION_TAG: decision.verdict, REASON_TAG: decision.reason[:MAX_TAG]}
    if decision.verdict != "rejected":
        tags[PASSED_TAG] = "true"
    if champion is None or decision.verdict != "promoted":
        return tags
    if champion.number != version.number:
        return {**tags, **champion_tags(version, champion)}
    # It is champion already: the reason of its promotion is kept.
    return tags if version.tags.get(DECISION_TAG) != decision.verdict else {}
