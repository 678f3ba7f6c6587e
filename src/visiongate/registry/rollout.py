"""Move a challenger by what was measured beside the champion: on to canary, to champion, or out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from visiongate.adapters.mlflow.environment import user_name
from visiongate.adapters.mlflow.registry import (
    MAX_TAG,
    ROLLED_BACK_TAG,
    ROLLOUT_TAG,
    Version,
    clear_alias,
    find_champion,
    find_number,
    set_alias,
    set_tags,
)
from visiongate.adapters.mlflow.store import Store, TrackingError
from visiongate.monitoring.rollout_report import RolloutModel, StageReport
from visiongate.records.registry_tags import CHALLENGER, CHAMPION, MODEL_TAG
from visiongate.registration.aliases import SINCE_TAG, champion_tags, make_champion, now

# Characters of the reasons in one entry of the history.
MAX_REASON: Final = 600


@dataclass(frozen=True, slots=True)
class RolloutAliases:
    """The aliases by which the service finds challengers; None if it finds one in another way, or has none.

    Attributes:
        shadow: Of the version that predicts beside the champion.
        canary: Of the version that answers a share.
    """

    shadow: str | None
    canary: str | None

    def of_challengers(self) -> set[str]:
        """Return the aliases that a challenger may have."""
        return {CHALLENGER, *(alias for alias in (self.shadow, self.canary) if alias)} - {CHAMPION}


@dataclass(frozen=True, slots=True)
class Move:
    """What a verdict changed.

    Attributes:
        text: What was done, or why nothing was.
        done: Whether an alias was moved.
    """

    text: str
    done: bool = True


def apply_verdict(store: Store, name: str, stage: StageReport, aliases: RolloutAliases) -> Move | None:
    """Move the aliases as a verdict says, and write it to the tags of the version.

    A shadow that passes becomes canary, if the service finds canaries by an alias of their own, else champion. A version that
    fails loses its aliases, and is not promoted again by itself, nor is one that was rolled back by hand: the log still has
    what it was promoted by. Tags are written first, so that the call can be repeated.

    Args:
        store: The registry.
        name: Of the registered model.
        stage: The verdict.
        aliases: Of the service.

    Returns:
        None if the verdict is to hold.

    Raises:
        TrackingError: MLflow failed, the versions are not those of the registry, the champion has changed, or the challenger
            never passed the gate.
    """
    if stage.verdict == "hold":
        return None
    with store.exclusive():
        version = _find(store, name, stage.challenger)
        if stage.verdict == "roll back":
            return _roll_back(store, version, stage, aliases)
        if stage.stage == "shadow" and aliases.canary not in {None, aliases.shadow}:
            return _make_canary(store, version, stage, str(aliases.canary))
        return _promote(store, version, stage, aliases)


def _roll_back(store: Store, version: Version, stage: StageReport, aliases: RolloutAliases) -> Move:
    held = aliases.of_challengers() & set(version.aliases)
    if not held:
        return Move(f"version {version.number} is no challenger anymore; nothing to move", done=False)
    reason = describe_stage(stage)
    text = f"{now()}, by {user_name()}, as {reason}"
    tags = {ROLLED_BACK_TAG: text[:MAX_TAG], **_history(version, reason)}
    # A champion was promoted in the meantime, and is another's to roll back.
    version = set_tags(store, version, tags if CHAMPION not in version.aliases else _history(version, reason))
    for alias in sorted(held):
        clear_alias(store, version, alias)
    return Move(f"version {version.number} lost the alias {', '.join(sorted(held))}")


def _make_canary(store: Store, version: Version, stage: StageReport, alias: str) -> Move:
    if alias in version.aliases:
        return Move(f"version {version.number} is {alias} already; nothing to move", done=False)
    champion = find_champion(store, version.name)
    settled = _find_settled(version, champion, stage)
    if settled is not None:
        return Move(settled, done=False)
    _require_passed(version)
    set_tags(store, version, _history(version, describe_stage(stage)))
    set_alias(store, version, alias)
    return Move(f"version {version.number} is {alias}")


def _promote(store: Store, version: Version, stage: StageReport, aliases: RolloutAliases) -> Move:
    champion = find_champion(store, version.name)
    settled = _find_settled(version, champion, stage)
    if settled is not None:
        return Move(settled, done=False)
    _require_passed(version)
    if champion is None or champion.tags.get(MODEL_TAG) != stage.champion.sha256:
        raise TrackingError(
            f"registered model {version.name}: the champion is not {stage.champion}, which the challenger was compared with; "
            "wait until the service has loaded it"
        )
    tags = {**_history(version, describe_stage(stage)), **champion_tags(version, champion)}
    promoted = make_champion(store, version, tags)
    for alias in sorted(aliases.of_challengers()):
        clear_alias(store, promoted, alias)
    return Move(f"version {version.number} is champion in place of version {champion.number}")


def _find_settled(version: Version, champion: Version | None, stage: StageReport) -> str | None:
    """Return why a version is not promoted whatever it has shown, in words; None if it may be."""
    number = version.number
    if champion is not None and champion.number == number:
        return f"version {number} is the champion already; nothing to move"
    restore = f"`visiongate registry rollback --to {number}` makes it champion again"
    if ROLLED_BACK_TAG in version.tags:
        return f"version {number} was rolled back, and is not promoted again by itself; {restore}"
    # Another version took its place by hand or by a comparison, and the evidence is of before.
    since = champion.tags.get(SINCE_TAG) if champion is not None and number in champion.before else None
    if since is not None and stage.first < datetime.fromisoformat(since):
        return f"version {number} was champion before, and was compared before it was replaced; {restore}"
    return None


def _find(store: Store, name: str, model: RolloutModel) -> Version:
    version = find_number(store, name, model.version) if model.version and model.name == name else None
    if version is None or version.tags.get(MODEL_TAG) != model.sha256:
        raise TrackingError(
            f"{model}: not a version of the registered model {name}; serve challengers by an address such as "
            f"models:/{name}@{CHALLENGER}"
        )
    return version


def _require_passed(version: Version) -> None:
    if not version.passed:
        raise TrackingError(f"{version.uri}: never passed the gate, and is not promoted")


def describe_stage(stage: StageReport) -> str:
    """Return the role, the verdict and its reasons in a line."""
    decisive = [check for check in stage.checks if check.verdict == stage.verdict] or stage.checks
    reasons = "; ".join(f"{check.check}: {check.reason}" for check in decisive)
    return f"{stage.stage}: {stage.verdict}: {reasons}"[:MAX_REASON]


def _history(version: Version, entry: str) -> Mapping[str, str]:
    """Return the tag with all verdicts about a version, the latest first, a line each."""
    lines = [f"{now()}, {entry}", version.tags.get(ROLLOUT_TAG, "")]
    return {ROLLOUT_TAG: "\n".join(filter(None, lines))[:MAX_TAG]}
