"""Notice when a source has another version."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from visiongate.errors import VisiongateError
from visiongate.serving.model_sources import ModelSource, ServedFile

logger = logging.getLogger(__name__)


async def watch(
    source: ModelSource, interval: float, on_change: Callable[[ServedFile], Awaitable[None]]
) -> None:
    """Report the version of a source at the start, and each other version.

    Args:
        source: The place.
        interval: Seconds between two looks.
        on_change: Called in the event loop.
    """
    known: str | None = None
    while True:
        try:
            file = await asyncio.to_thread(source.current)
            if file.sha256 != known:
                known = file.sha256
                await on_change(file)
        except VisiongateError as error:
            logger.warning("%s", error)
        await asyncio.sleep(interval)
