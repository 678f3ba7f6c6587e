"""The section ``engine``: where work that can be cut into pieces runs."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from visiongate.settings.fields import Count, NonNegative, Positive, Section

# Of a core or a GPU: what Ray can reserve.
_DECIMALS = 4

_HOST_AND_PORT = re.compile(r"[^\s:/@]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


def _check_address(address: str) -> str:
    if address in {"auto", "local"} or _HOST_AND_PORT.fullmatch(address):
        return address
    raise ValueError("choose auto, local or the HOST:PORT of a Ray cluster's head, such as 10.0.0.5:6379")


def _check_amount(amount: float) -> float:
    if amount == round(amount, _DECIMALS if amount < 1 else 0):
        return amount
    raise ValueError(f"choose a whole number, or a part of 1 with up to {_DECIMALS} decimals")


_Amount = AfterValidator(_check_amount)


class Resources(Section):
    """What Ray reserves for one piece of work."""

    cpus: Annotated[Positive, _Amount] = Field(description="Cores, and threads of the piece.")
    gpus: Annotated[NonNegative, _Amount] = Field(description="GPUs.")
    memory_mb: Count = Field(description="Memory in megabytes.")


class StageResources(Section):
    """What Ray reserves, by the kind of work."""

    images: Resources = Field(description="A piece of an image table.")
    trial: Resources = Field(description="A trial of the search.")
    training: Resources = Field(description="A process of the training.")


class Engine(Section):
    """Where work that can be cut into pieces runs; it changes no output."""

    kind: Literal["local", "ray"] = Field(description="In this process, or on a Ray cluster.")
    workers: Count | None = Field(
        description="Pieces or trials at the same time; null: as many as the resources allow, with local one."
    )
    address: Annotated[str, AfterValidator(_check_address)] = Field(
        description="With ray: auto, local, or HOST:PORT of the head."
    )
    resources: StageResources = Field(description="With ray: what is reserved for a piece.")
