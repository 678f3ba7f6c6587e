"""``GET /monitoring``: the latest drift check, and what was decided about versions."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter

from visiongate.monitoring.entries import LogUnavailableError
from visiongate.monitoring.standing import Standing
from visiongate.serving.routes.feedback import require_log, unavailable
from visiongate.serving.service import Service
from visiongate.serving.web.problems import document_problems

if TYPE_CHECKING:
    from sqlalchemy import Engine

# How long an answer is good for.
FRESH_SECONDS: Final = 5.0


def build_monitoring_router(service: Service) -> APIRouter:
    """Return the route."""
    router = APIRouter(tags=["feedback"])
    turn = asyncio.Lock()
    known: list[tuple[float, Standing]] = []

    @router.get(
        "/monitoring",
        summary="Show the latest drift check and the decisions about versions",
        responses=document_problems("log_unavailable"),
    )
    async def monitoring() -> Standing:
        """Return what `visiongate drift`, `visiongate rollout` and `visiongate retrain-check` have recorded."""
        log = require_log(service.log)
        async with turn:
            if not known or known[0][0] < time.monotonic():
                try:
                    standing = await asyncio.to_thread(log.read, _read)
                except LogUnavailableError:
                    raise unavailable() from None
                known[:] = [(time.monotonic() + FRESH_SECONDS, standing)]
        return known[0][1]

    return router


def _read(engine: "Engine") -> Standing:
    # Needs SQLAlchemy, which the log imports in its own thread.
    from visiongate.monitoring.standing_store import read_standing  # noqa: PLC0415

    return read_standing(engine)
