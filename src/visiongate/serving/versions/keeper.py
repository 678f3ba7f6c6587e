"""Keep the models of the service up to date: load them at the start, and again when the registry has another version.

A version is loaded and checked beside the current one. If it cannot be loaded, the current one stays.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from visiongate.errors import VisiongateError
from visiongate.serving.daemon_threads import call_in_thread
from visiongate.serving.memory import read_memory_limit, used_memory, warn_if_short
from visiongate.serving.recording import describe_model
from visiongate.serving.service import Service
from visiongate.serving.sources.model_sources import (
    ModelSource,
    NoChallengerError,
    NoVersionError,
    ServedFile,
)
from visiongate.serving.sources.registry_source import RegistrySource
from visiongate.serving.sources.watch import ModelWatch
from visiongate.serving.versions.loaded_model import LoadedModel, load_model
from visiongate.serving.versions.reference import load_reference
from visiongate.serving.versions.slots import ACTIVE, SOURCE, VERSION, Slot

# While the process waits for its first models.
SECONDS_BETWEEN_LOOKS = 0.05
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """A version to keep up to date.

    Attributes:
        slot: Its model.
        role: `active`, `canary` or `shadow`.
        source: Where it comes from.
    """

    slot: Slot
    role: str
    source: ModelSource


class _ChallengerSource:
    """A source whose version may be gone, such as a canary that was rolled back: then its last copy is not served.

    That of a registry that cannot be reached is.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source, self._is_gone = source, False

    def current(self) -> ServedFile:
        """Return the current version, as the source does."""
        try:
            file = self._source.current()
        except NoVersionError as error:
            self._is_gone = True
            if _has_alias(self._source):
                raise NoChallengerError(str(error)) from None
            raise
        self._is_gone = False
        return file

    def fallback(self) -> ServedFile | None:
        """Return the last copy, unless the version is gone."""
        return None if self._is_gone else self._source.fallback()


class ModelKeeper:
    """Loads models in the background.

    Args:
        service: Whose models to keep.
        kept: What to load.
    """

    def __init__(self, service: Service, kept: Sequence[Kept]) -> None:
        self._service, self._kept = service, kept
        self._tasks: list[asyncio.Task[None]] = []
        # One at a time: loading takes memory and a core.
        self._loading = asyncio.Lock()

    def start(self) -> None:
        """Start to load the models, and to watch their sources."""
        self._tasks = [asyncio.create_task(self._keep(each)) for each in self._kept]

    async def wait(self) -> None:
        """Wait until each model has an active version, or until the service ends."""
        # A signal handler cannot set an event of the loop.
        while not all(kept.slot.active for kept in self._kept) and not self._service.draining:  # noqa: ASYNC110
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def stop(self) -> None:
        """Stop watching."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reload(self, slot: Slot) -> None:
        """Look at the sources of a model at once, and load what has changed, also a version that was rolled back.

        Raises:
            VisiongateError: A source cannot be reached, or its version cannot be loaded.
            TimeoutError: A source does not answer.
        """
        slot.refused = None
        for kept in self._kept:
            if kept.slot is slot:
                await self._reload(kept)

    async def _reload(self, kept: Kept) -> None:
        try:
            async with asyncio.timeout(self._service.settings.limits.deadline_seconds):
                file = await call_in_thread(kept.source.current)
        except VisiongateError as error:
            # A challenger that is gone is no reason to refuse a reload.
            if kept.role == ACTIVE:
                raise
            _note(kept, error)
        else:
            _note(kept, None)
            if kept.role == ACTIVE:
                await self._install(kept, file)
            else:
                await self._try_to_install(kept, file)

    async def _keep(self, kept: Kept) -> None:
        async def install(file: ServedFile) -> None:
            await self._try_to_install(kept, file)

        def reach(since: float | None) -> None:
            if isinstance(kept.source, RegistrySource):
                kept.slot.unreachable_since = since
                slots = self._service.slots.values()
                self._service.registry_reachable = all(slot.unreachable_since is None for slot in slots)

        def note(problem: VisiongateError | None) -> None:
            _note(kept, problem)
            if problem is None and _may_be_missing(kept):
                watch.repeat()

        seconds = self._service.settings.registry.poll_seconds
        source = kept.source if kept.role == ACTIVE else _ChallengerSource(kept.source)
        watch = ModelWatch(source, seconds, install, reach, note)
        await watch.run()

    async def _try_to_install(self, kept: Kept, file: ServedFile) -> None:
        try:
            await self._install(kept, file)
        except VisiongateError as error:
            kept.slot.report(kept.role, VERSION, str(error))
            stays = "the current version stays" if kept.slot.active else "the model is not ready"
            logger.error("%s: %s", error, stays)  # noqa: TRY400 - the message says all

    async def _install(self, kept: Kept, file: ServedFile) -> None:
        slot = kept.slot
        async with self._loading:
            current = slot.loaded(kept.role)
            if kept.role == ACTIVE and file.identity != slot.refused:
                # The alias has moved since the rollback.
                slot.refused = None
            is_loaded = current is not None and current.origin.identity == file.identity
            if is_loaded or file.identity == slot.refused:
                # Of a version that has been replaced.
                slot.report(kept.role, VERSION, None)
                return
            model = await self._load(file)
            slot.place(kept.role, model)
            slot.report(kept.role, VERSION, None)
        logger.info("%s: %s is loaded as %s", slot.name, file.source, kept.role)
        await self._keep_reference(model)
        warn_if_short(read_memory_limit(), used_memory())

    async def _load(self, file: ServedFile) -> LoadedModel:
        metrics = self._service.metrics
        try:
            model = await asyncio.to_thread(load_model, file, self._service.runtime)
        except VisiongateError:
            metrics.reloaded(loaded=False)
            raise
        metrics.reloaded(loaded=True)
        return model

    async def _keep_reference(self, model: LoadedModel) -> None:
        """Hand the reference of a version to the prediction log, which stores it for `visiongate drift`."""
        log = self._service.log
        if log is None:
            return
        content = await asyncio.to_thread(load_reference, model.origin)
        if content is not None:
            log.keep_reference(describe_model(model), content)


def _note(kept: Kept, problem: VisiongateError | None) -> None:
    """Keep what is wrong with the source of a version, or that nothing is."""
    slot, role = kept.slot, kept.role
    if role != ACTIVE and isinstance(problem, NoVersionError):
        slot.report(role, VERSION, None)
        slot.unload(role)
        if _has_alias(kept.source):
            # There is a challenger only between a training and its promotion.
            problem = None
    slot.report(role, SOURCE, None if problem is None else str(problem))


def _has_alias(source: ModelSource) -> bool:
    return isinstance(source, RegistrySource) and source.address.alias is not None


def _may_be_missing(kept: Kept) -> bool:
    """Return whether a canary or shadow that was unloaded or refused may be loaded now."""
    slot, role = kept.slot, kept.role
    if role == ACTIVE or slot.active is None:
        return False
    if role in slot.misfits:
        return slot.misfits[role] != slot.active.origin.sha256
    return slot.loaded(role) is None and (role, VERSION) not in slot.problems
