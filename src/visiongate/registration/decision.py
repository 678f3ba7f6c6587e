"""Decide about an evaluated model: the gate first, then a test against the champion on the same images."""

from dataclasses import replace

from visiongate.adapters.mlflow.registry import ROLLED_BACK_TAG, Version, fetch_model
from visiongate.adapters.mlflow.store import Store
from visiongate.comparison.paired_test import Comparison, compare, uses_mcnemar
from visiongate.comparison.predictions import GroundTruth
from visiongate.models.predictor import Predictor, open_predictor
from visiongate.records.registry_tags import MODEL_TAG
from visiongate.registration import promotion
from visiongate.registration.evaluated_model import EvaluatedModel
from visiongate.registration.gains import measure_gain
from visiongate.registration.pairing import pair_predictions
from visiongate.registration.promotion import Decision
from visiongate.registration.versions import read_champion
from visiongate.settings.schema import Settings


def decide(
    store: Store, model: EvaluatedModel, version: Version, champion: Version | None, settings: Settings
) -> Decision:
    """Decide whether to reject, register or promote a model of a commit.

    Args:
        store: Where the champion's file is.
        model: The model.
        version: Its version.
        champion: The current champion.
        settings: Of the registry and the evaluation.

    Raises:
        TrackingError: The champion's file cannot be downloaded.
    """
    is_champion = champion is not None and champion.number == version.number
    if not model.verdict.passed:
        return promotion.reject(model.verdict.failed, is_champion=is_champion)
    if champion is None:
        return promotion.promote_first()
    if is_champion:
        return promotion.keep_champion()
    if ROLLED_BACK_TAG in version.tags:
        return promotion.register_rolled_back(version.number, version.tags[ROLLED_BACK_TAG])
    return _challenge(store, model, champion, settings)


def _challenge(store: Store, model: EvaluatedModel, champion: Version, settings: Settings) -> Decision:
    """Compare both models on the evaluated images, without those that the champion has learned from."""
    if MODEL_TAG not in champion.tags:
        return promotion.register_incomparable(champion.number, "it was not registered by this pipeline")
    opponent = open_predictor(fetch_model(store, champion))
    lost = [name for name in opponent.contract.classes if name not in model.predictor.contract.classes]
    if lost and not settings.registry.allow_lost_classes:
        return promotion.reject_lost_classes(champion.number, lost)
    ours, theirs = model.predictor.contract, opponent.contract
    if ours.classes != theirs.classes:
        difference = f"the champion has {ours.difference(replace(ours, classes=theirs.classes))}"
        return promotion.register_incomparable(champion.number, difference)
    record = read_champion(store, champion, opponent if ours == theirs else None)
    pairing = pair_predictions(model.images, record, ours.classes)
    if pairing.is_too_small:
        return promotion.register_too_few(champion.number, len(pairing.truth.labels), pairing.note)
    if _is_single_group(pairing.truth) and not uses_mcnemar(pairing.truth, settings.registry):
        return promotion.register_incomparable(champion.number, "all test images are of one group")
    comparison = compare(pairing.challenger, pairing.champion, pairing.truth, settings.registry)
    decision = promotion.decide_by_test(champion.number, comparison, settings.registry.alpha, pairing.note)
    return _consider_gain(model, opponent, decision, comparison, settings)


def _is_single_group(truth: GroundTruth) -> bool:
    return len(set(truth.groups)) == 1 and truth.groups[0] is not None


def _consider_gain(
    model: EvaluatedModel,
    opponent: Predictor,
    decision: Decision,
    comparison: Comparison,
    settings: Settings,
) -> Decision:
    required = settings.registry.non_inferiority
    if required is None or decision.action == "promoted":
        return decision
    # Both are timed on the same images.
    if required.gain == "latency" and opponent.contract != model.predictor.contract:
        return decision
    gain = None
    if not promotion.exceeds_margin(comparison, required):
        gain = measure_gain(required.gain, model.predictor, opponent, model.test.images, settings.evaluation)
    return promotion.decide_by_gain(decision, comparison, required, gain)
