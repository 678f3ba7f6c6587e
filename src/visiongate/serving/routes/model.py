"""``GET /model`` and ``GET /models``: what is served, and where it comes from."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from visiongate.serving.service import Service
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.versions.slots import Slot
from visiongate.serving.web.problems import document_problems


class ServedVersion(BaseModel):
    """A loaded version of a model."""

    role: Annotated[str, Field(description="`active`, `canary`, `shadow` or `previous`.")]
    name: Annotated[str, Field(description="Of the registered model, or of the file.")]
    version: Annotated[str | None, Field(description="Null for a file.")]
    sha256: Annotated[str, Field(description="Of the model's file.")]
    source: str
    loaded_at: datetime

    @classmethod
    def of(cls, role: str, model: LoadedModel) -> "ServedVersion":
        """Return the description of a loaded version."""
        origin = model.origin
        return cls(
            role=role,
            name=model.name,
            version=model.version,
            sha256=origin.sha256,
            source=origin.source,
            loaded_at=datetime.fromtimestamp(model.loaded_at, UTC),
        )


class ServedModel(BaseModel):
    """A model of the service."""

    name: Annotated[str, Field(description="In requests: `?model=NAME`.")]
    ready: bool
    problem: Annotated[
        str | None, Field(description="Why the last version is not served, or cannot be found.")
    ]
    versions: list[ServedVersion]

    @classmethod
    def of(cls, slot: Slot) -> "ServedModel":
        """Return the description of a model."""
        versions = [ServedVersion.of(role, model) for role, model in slot.versions()]
        return cls(name=slot.name, ready=slot.active is not None, problem=slot.problem, versions=versions)


class ModelDescription(ServedVersion):
    """The active version of a model, with all that is known about it."""

    classes: Annotated[list[str], Field(description="In the order of the probabilities.")]
    threshold: Annotated[
        float | None, Field(description="Probability from which the second of two classes is predicted.")
    ]
    transform: Annotated[dict[str, Any], Field(description="How an image becomes the input of the model.")]
    outputs: list[str]
    reliability: Annotated[
        dict[str, Any] | None, Field(description="The thresholds of `sure` and `out_of_distribution`.")
    ]
    aliases: Annotated[list[str], Field(description="That pointed to the version when it was loaded.")]
    lineage: Annotated[
        dict[str, Any],
        Field(
            description="The commit, data and parameters that it was trained from, and when it was registered."
        ),
    ]
    card: Annotated[str | None, Field(description="The model card, as Markdown.")]
    example: Annotated[
        dict[str, Any] | None,
        Field(
            description="An image, as a PNG in base64, and its probabilities, which the service has checked."
        ),
    ]


def build_model_router(service: Service) -> APIRouter:
    """Return the routes that describe the models."""
    router = APIRouter(tags=["model"])

    @router.get("/models", summary="List the models of the service")
    async def models() -> list[ServedModel]:
        """Return each model with its loaded versions. The first is the default one."""
        return [ServedModel.of(slot) for slot in service.slots.values()]

    @router.get(
        "/model",
        summary="Describe a model",
        responses=document_problems("unknown_model", "not_ready"),
    )
    async def model(
        model: Annotated[str | None, Query(description="One of the models of the service.")] = None,
    ) -> ModelDescription:
        """Return the active version of a model: its classes, preprocessing, lineage and card."""
        return describe(service.slot(model).require())

    return router


def describe(model: LoadedModel) -> ModelDescription:
    """Return all that is known about a loaded version."""
    classifier, origin = model.classifier, model.origin
    return ModelDescription(
        **ServedVersion.of("active", model).model_dump(),
        classes=list(classifier.classes),
        threshold=classifier.threshold,
        transform={
            name: value for name, value in asdict(classifier.model.contract).items() if name != "classes"
        },
        outputs=sorted(classifier.model.outputs),
        reliability=None if classifier.reliability is None else asdict(classifier.reliability),
        aliases=list(origin.aliases),
        lineage=dict(origin.lineage),
        card=origin.card,
        example=None if model.example is None else asdict(model.example),
    )
