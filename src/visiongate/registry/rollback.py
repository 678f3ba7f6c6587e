"""Move the champion by hand: back to an earlier version, or on to any version."""

from visiongate.adapters.mlflow.environment import user_name
from visiongate.adapters.mlflow.registry import (
    BY_HAND_TAG,
    ROLLED_BACK_TAG,
    Version,
    find_champion,
    find_number,
    list_versions,
    set_tags,
)
from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.registration.aliases import champion_tags, make_champion, now

# When, by whom and why a version was restored.
RESTORED_TAG = "visiongate.restored"


def roll_back(store: Store, name: str, number: str | None, reason: str, *, force: bool) -> Version:
    """Make an earlier version the champion, record when and why in tags, and return it.

    Tags are written first and ``champion`` moves in one step, so that an interrupted rollback can be run again.

    Args:
        store: The registry.
        name: Of the registered model.
        number: The version to restore. By default the previous champion that still exists and was not rolled back itself, so
            that repeated rollbacks go back in time.
        reason: Kept in the tags.
        force: Accept a version that never passed the gate.

    Raises:
        TrackingError: MLflow failed, there is no such version or no previous champion, or the version never passed the gate.
    """
    with store.exclusive():
        champion = find_champion(store, name)
        target = (
            _find_previous(store, name, champion) if number is None else _find_version(store, name, number)
        )
        if champion is not None and champion.number == target.number:
            raise TrackingError(f"registered model {name}: version {target.number} is already champion")
        if not (target.passed or force):
            raise TrackingError(
                f"registered model {name}: version {target.number} never passed the gate; --force restores it anyway"
            )
        return make_champion(store, target, _tag(store, champion, target, reason))


def promote_by_hand(store: Store, name: str, number: str, reason: str) -> Version:
    """Make a version the champion without gate and comparison; record when, who and why in a tag, and return it.

    Args:
        store: The registry.
        name: Of the registered model.
        number: The version.
        reason: Kept in the tag.

    Raises:
        TrackingError: MLflow failed, there is no such version, or it is champion already.
    """
    with store.exclusive():
        champion, target = find_champion(store, name), _find_version(store, name, number)
        if champion is not None and champion.number == target.number:
            raise TrackingError(f"registered model {name}: version {number} is already champion")
        tags = {BY_HAND_TAG: f"{now()}, by {user_name()}, {_describe_origin(champion)}: {reason}"}
        if champion is not None:
            tags |= champion_tags(target, champion)
        return make_champion(store, target, tags)


def _find_version(store: Store, name: str, number: str) -> Version:
    version = find_number(store, name, number)
    if version is None:
        raise TrackingError(f"registered model {name}: no version {number}; {_suggest(store, name)}")
    return version


def _find_previous(store: Store, name: str, champion: Version | None) -> Version:
    if champion is None:
        raise TrackingError(f"registered model {name}: no champion; {_suggest(store, name)}")
    for number in champion.before:
        version = find_number(store, name, number)
        if version is not None and ROLLED_BACK_TAG not in version.tags:
            return version
    raise TrackingError(
        f"registered model {name}: no champion before version {champion.number}; {_suggest(store, name)}"
    )


def _suggest(store: Store, name: str) -> str:
    numbers = [version.number for version in list_versions(store, name) if version.passed]
    return f"the versions that passed the gate: {', '.join(numbers) or 'none'}"


def _tag(store: Store, champion: Version | None, target: Version, reason: str) -> dict[str, str]:
    """Return the target's tags, and tag the champion if the target is an earlier one, which makes this a rollback of it."""
    time = now()
    tags = {RESTORED_TAG: f"{time}, by {user_name()}, {_describe_origin(champion)}: {reason}"}
    if champion is not None and target.number in champion.before:
        text = f"{time}, by {user_name()}, to version {target.number}: {reason}"
        set_tags(store, champion, {ROLLED_BACK_TAG: text})
    elif champion is not None:
        tags |= champion_tags(target, champion)
    return tags


def _describe_origin(champion: Version | None) -> str:
    return f"from version {champion.number}" if champion is not None else "without a champion"
