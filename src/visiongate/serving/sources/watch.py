"""Notice when a source has another version."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from visiongate.errors import VisiongateError
from visiongate.serving.daemon_threads import call_in_thread
from visiongate.serving.sources.model_sources import (
    MissingFileError,
    ModelSource,
    NoChallengerError,
    NoVersionError,
    ServedFile,
    UnreachableError,
)

# Between two looks at a source that does not answer; looks become rarer up to this.
MAX_PAUSE_SECONDS = 60.0
logger = logging.getLogger(__name__)


class ModelWatch:
    """Looks at a source from time to time.

    A version that the source has lost, or that cannot be fetched, is reported once, and the last one stays.

    Args:
        source: The place.
        interval: Seconds between two looks.
        on_change: Called in the event loop with the version at the start, and with each other version.
        on_reach: Called after each look: with None if the source answers, otherwise with the time when it stopped, in seconds
            since 1970.
        on_problem: Called after each look: with what is wrong with the source, or None.
    """

    def __init__(
        self,
        source: ModelSource,
        interval: float,
        on_change: Callable[[ServedFile], Awaitable[None]],
        on_reach: Callable[[float | None], None],
        on_problem: Callable[[VisiongateError | None], None],
    ) -> None:
        self._source, self._interval = source, interval
        self._on_change, self._on_reach, self._on_problem = on_change, on_reach, on_problem
        self._pause, self._repeats = interval, False
        self._known: tuple[object, ...] | None = None
        self._unreachable_since: float | None = None
        self._reported: str | None = None

    async def run(self) -> None:
        """Look until the task is canceled."""
        while True:
            try:
                await self._look()
            except Exception:
                # Nothing but its end may end the watch.
                logger.exception("Looking for another version of the model failed")
                self._lengthen_pause()
            await asyncio.sleep(self._pause)

    def repeat(self) -> None:
        """Report the version at the next look, even if it is that of the look before."""
        self._repeats = True

    async def _look(self) -> None:
        try:
            file = await call_in_thread(self._source.current)
        except VisiongateError as error:
            await self._fail(error)
        else:
            self._reach(is_reached=True)
            self._reported, self._pause = None, self._interval
            self._on_problem(None)
            await self._serve(file)

    async def _fail(self, error: VisiongateError) -> None:
        is_unreachable = isinstance(error, UnreachableError)
        self._reach(is_reached=not is_unreachable)
        self._on_problem(error)
        if isinstance(error, NoVersionError | MissingFileError):
            self._pause = self._interval
        else:
            self._lengthen_pause()
        # What is wrong with a registry that does not answer may change from look to look.
        problem = type(error).__name__ if is_unreachable else str(error)
        if problem != self._reported:
            self._reported = problem
            if isinstance(error, NoChallengerError):
                logger.info("%s; nothing is loaded until there is one", error)
            else:
                logger.warning("%s%s", error, "; the current version stays" if self._known else "")
        if self._known is None and (file := await call_in_thread(self._source.fallback)):
            logger.warning("Serving %s until then", file.source)
            await self._serve(file)

    def _reach(self, *, is_reached: bool) -> None:
        before = self._unreachable_since
        self._unreachable_since = None if is_reached else before or time.time()
        self._on_reach(self._unreachable_since)
        if is_reached and before is not None:
            logger.info("The registry answers again, after %.0f s", time.time() - before)

    def _lengthen_pause(self) -> None:
        self._pause = min(self._pause * 2, max(self._interval, MAX_PAUSE_SECONDS))

    async def _serve(self, file: ServedFile) -> None:
        if file.identity != self._known or self._repeats:
            self._known, self._repeats = file.identity, False
            await self._on_change(file)
