"""Wait for what may never answer, without keeping the process alive."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

Result = TypeVar("Result")


async def call_in_thread(function: Callable[[], Result]) -> Result:
    """Return what a function returns that waits for the network or for a file system.

    Unlike with `asyncio.to_thread`, the end of the process does not wait for it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def settle(report: Callable[[], None]) -> None:
        if not future.cancelled():
            report()

    def run() -> None:
        report: Callable[[], None]
        try:
            report = partial(future.set_result, function())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is awaited
            report = partial(future.set_exception, error)
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, report)

    threading.Thread(target=run, name="waiting", daemon=True).start()
    return await future
