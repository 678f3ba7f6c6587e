"""From settings to a service that is ready to start."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from visiongate.cores import usable_cores
from visiongate.errors import SettingsError
from visiongate.monitoring.image_store import ImageStore
from visiongate.monitoring.prediction_log import PredictionLog
from visiongate.serving.memory import fit_memory, read_memory_limit
from visiongate.serving.recording import Recorder
from visiongate.serving.service import Service
from visiongate.serving.sources.addresses import Places, find_source
from visiongate.serving.sources.model_sources import ServedFile
from visiongate.serving.versions.keeper import Kept, ModelKeeper
from visiongate.serving.versions.slots import ACTIVE, CANARY, SHADOW, Slot
from visiongate.settings.serving import DEFAULT


def build_service(places: Places) -> tuple[Service, ModelKeeper]:
    """Return the service, and what loads its models once it runs.

    Args:
        places: The settings, and where models may be.

    Raises:
        VisiongateError: A model's address is invalid, or its file does not exist.
    """
    settings, decoding = fit_memory(places.deployment.serving, read_memory_limit())
    service = Service(settings, settings.cores or usable_cores(), decoding)
    if settings.log.enabled:
        service.log = PredictionLog(settings.log)
        if settings.log.images.keep != "none":
            service.images = ImageStore(settings.log.images, service.log.find_labeled_images)
        service.observers.append(Recorder(service.log, settings.log, service.images))
    if settings.tracing.endpoint is not None:
        from visiongate.serving.tracing import build_tracing  # noqa: PLC0415 - slow to import

        service.tracing = build_tracing(settings.tracing.endpoint)
        service.observers.append(service.tracing)
    if settings.signature.key is not None:
        service.runtime = replace(
            service.runtime, check_signature=_require_signatures(settings.signature.key)
        )
    addresses = {DEFAULT: settings.model, **settings.models}
    service.slots = {name: Slot(name) for name in addresses}
    kept = [
        Kept(service.slots[name], ACTIVE, find_source(address, places)) for name, address in addresses.items()
    ]
    rollout, slot = settings.rollout, service.slots[DEFAULT]
    slot.canary_share, slot.shadow_share = rollout.canary_share, rollout.shadow_share
    for role, address in ((CANARY, rollout.canary), (SHADOW, rollout.shadow)):
        if address is not None:
            kept.append(Kept(slot, role, find_source(address, places)))
    return service, ModelKeeper(service, kept)


def _require_signatures(key: str) -> Callable[[ServedFile, str], None]:
    try:
        from visiongate.serving.versions.signature import SignatureCheck  # noqa: PLC0415 - slow to import
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"serving.signature.key = {key}: checking signatures needs {error.name}; run: pip install "
            "'visiongate[signing]', or build the image with EXTRAS=signing"
        ) from None
    return SignatureCheck(Path(key)).check
