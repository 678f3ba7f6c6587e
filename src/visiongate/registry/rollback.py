"""Put an earlier champion back into service."""

from datetime import UTC, datetime

from visiongate.adapters.mlflow.registry import (
    CHALLENGER,
    CHAMPION,
    ROLLED_BACK_TAG,
    Version,
    clear_tag,
    find_champion,
    find_number,
    list_versions,
    read_aliases,
    set_tags,
)
from visiongate.adapters.mlflow.store import Store, TrackingError, mlflow_errors
from visiongate.registration.aliases import champion_tags
from visiongate.registration.lease import exclusive

RESTORED_TAG = "visiongate.restored"  # when and why it was put back


def rollback(store: Store, name: str, number: str | None, why: str, *, force: bool) -> Version:
    """Make an earlier version champion, tag why and when, and return it.

    What is tagged is tagged first, and ``champion`` moves in one step: stopped half-way, it can be run again.

    Args:
        store: Where.
        name: Of the registered model.
        number: The version to put back; None takes the champion before the present one that is still there and was not itself
            rolled back, so that one rollback after another goes back in time.
        why: The reason, for the tags.
        force: Take a version that never passed the gate.

    Raises:
        TrackingError: MLflow failed, there is no champion before, there is no such version, or it never passed the gate.
    """
    with exclusive(store, name) as renew:
        champion = find_champion(store, name)
        target = _find_target(store, name, champion, number)
        if champion is not None and champion.number == target.number:
            raise TrackingError(f"registered model {name}: version {target.number} is champion already")
        if not (target.passed or force):
            raise TrackingError(
                f"registered model {name}: version {target.number} never passed the gate; FORCE=1 puts it into "
                "service all the same"
            )
        _tag(store, champion, target, why)
        renew()
        return _move(store, target)


def _find_target(store: Store, name: str, champion: Version | None, number: str | None) -> Version:
    if number is not None:
        found = find_number(store, name, number)
        if found is None:
            raise TrackingError(
                f"registered model {name}: there is no version {number}; {_offer(store, name)}"
            )
        return found
    if champion is None:
        raise TrackingError(
            f"registered model {name}: there is no champion to roll back; {_offer(store, name)}"
        )
    for earlier in champion.before:
        found = find_number(store, name, earlier)
        if found is not None and ROLLED_BACK_TAG not in found.tags:
            return found
    raise TrackingError(
        f"registered model {name}: there is no champion before version {champion.number}; {_offer(store, name)}"
    )


def _offer(store: Store, name: str) -> str:
    numbers = [version.number for version in list_versions(store, name) if version.passed]
    return f"TO=NUMBER chooses one of those that passed the gate: {', '.join(numbers) or 'none did'}"


def _tag(store: Store, champion: Version | None, target: Version, why: str) -> None:
    """Tell of it on both; only who is left for an earlier one was rolled back, and whoever comes anew remembers the other."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    left = f"from version {champion.number}" if champion is not None else "there was no champion"
    tags = {RESTORED_TAG: f"{now}, {left}: {why}"}
    if champion is not None and target.number in champion.before:
        set_tags(store, champion, {ROLLED_BACK_TAG: f"{now}, to version {target.number}: {why}"})
    elif champion is not None:
        tags |= champion_tags(target, champion)
    set_tags(store, target, tags)


def _move(store: Store, target: Version) -> Version:
    """Move the aliases; a version in service is neither rolled back nor a challenger."""
    with mlflow_errors(store.address):
        store.client.set_registered_model_alias(target.name, CHAMPION, target.number)
        target = clear_tag(store, target, ROLLED_BACK_TAG)
        if read_aliases(store, target.name).get(CHALLENGER) == target.number:
            store.client.delete_registered_model_alias(target.name, CHALLENGER)
    return set_tags(store, target, {})
