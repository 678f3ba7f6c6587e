"""``/admin``: exchange the version of a model by hand."""

import logging
from typing import Annotated

from fastapi import APIRouter, Query

from visiongate.errors import VisiongateError
from visiongate.serving.routes.model import ServedModel
from visiongate.serving.service import Service
from visiongate.serving.versions.keeper import ModelKeeper
from visiongate.serving.web.problems import Problem, document_problems

logger = logging.getLogger(__name__)
Name = Annotated[str | None, Query(alias="model", description="One of the models of the service.")]


def build_admin_router(service: Service, keeper: ModelKeeper) -> APIRouter:
    """Return the routes that exchange versions. Which requests may use them is decided by the middleware."""
    router = APIRouter(prefix="/admin", tags=["admin"])

    @router.post(
        "/reload",
        summary="Load the current version of a model at once",
        responses=document_problems("unknown_model", "load_failed"),
    )
    async def reload(model: Name = None) -> ServedModel:
        """Look at the registry or file at once, also for a version that was rolled back, and load it if it has changed."""
        slot = service.slot(model)
        try:
            await keeper.reload(slot)
        except VisiongateError as error:
            raise Problem("load_failed", str(error)) from None
        except TimeoutError:
            raise Problem("load_failed", "the registry or file system does not answer") from None
        return ServedModel.of(slot)

    @router.post(
        "/rollback",
        summary="Return to the version before",
        responses=document_problems("unknown_model", "no_previous_version"),
    )
    async def rollback(model: Name = None) -> ServedModel:
        """Make the version before active again. It stays active until the alias moves to another version, or a reload."""
        slot = service.slot(model)
        before = slot.require()
        after = slot.roll_back()
        logger.warning("%s: rolled back from %s to %s", slot.name, before.origin.source, after.origin.source)
        return ServedModel.of(slot)

    return router
