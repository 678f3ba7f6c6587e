"""A model that can be exchanged while it answers: the active version, the one before it, a canary and a shadow."""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from visiongate.errors import DataError
from visiongate.models.predictor import Contract
from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.versions.shares import find_position
from visiongate.serving.web.problems import Problem
from visiongate.serving.web.request_context import current_request

ACTIVE, PREVIOUS, CANARY, SHADOW = "active", "previous", "canary", "shadow"
# What a problem concerns: the place that a version comes from, or the version itself.
SOURCE, VERSION = "source", "version"
logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Slot:
    """The versions of a model. A request keeps the version that it started with, so that an exchange interrupts none.

    Attributes:
        name: In requests.
        active: Answers; None until it is loaded.
        previous: Kept for a rollback.
        canary: Answers `canary_share` of the requests, chosen by their ids.
        shadow: Predicts `shadow_share` of the images without answering.
        refused: The identity of the version that was rolled back; it does not become active again by itself.
        problems: What is wrong, by role and what it concerns.
        misfits: The active version that the canary's or the shadow's version does not fit, as its sha256 by role.
        unreachable_since: When the registry stopped answering, in seconds since 1970; None if it answers.
    """

    name: str
    active: LoadedModel | None = None
    previous: LoadedModel | None = None
    canary: LoadedModel | None = None
    shadow: LoadedModel | None = None
    canary_share: float = 0.0
    shadow_share: float = 0.0
    refused: tuple[object, ...] | None = None
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
    misfits: dict[str, str] = field(default_factory=dict)
    unreachable_since: float | None = None
    _random: random.Random = field(default_factory=random.Random)

    @property
    def problem(self) -> str | None:
        """All that is wrong; None if nothing is."""
        found = sorted(self.problems.items())
        return "; ".join(text if role == ACTIVE else f"{role}: {text}" for (role, _), text in found) or None

    def report(self, role: str, concern: str, problem: str | None) -> None:
        """Keep what is wrong, or that nothing is."""
        if problem is None:
            self.problems.pop((role, concern), None)
        else:
            self.problems[role, concern] = problem

    def require(self) -> LoadedModel:
        """Return the active version.

        Raises:
            Problem: No version is loaded.
        """
        if self.active is None:
            # The reason may name a host or a folder, which is for the operator.
            hint = "; GET /health/ready says why" if self.problem else ""
            detail = f"the model {self.name} is not loaded yet{hint}"
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        return self.active

    def choose(self) -> LoadedModel:
        """Return the version that answers the current request.

        Raises:
            Problem: No version is loaded.
        """
        active = self.require()
        if self.canary is not None and self._position(self.canary) < self.canary_share:
            return self.canary
        return active

    def choose_shadow(self, answered_by: LoadedModel) -> LoadedModel | None:
        """Return the version that also predicts an image; None for most."""
        if self.shadow is None or self.shadow is answered_by or self._random.random() >= self.shadow_share:
            return None
        return self.shadow

    def loaded(self, role: str) -> LoadedModel | None:
        """Return the version that has a role."""
        return {ACTIVE: self.active, CANARY: self.canary, SHADOW: self.shadow, PREVIOUS: self.previous}[role]

    def place(self, role: str, model: LoadedModel) -> None:
        """Give a loaded version its role.

        Raises:
            DataError: It does not fit the active version.
        """
        if role == ACTIVE:
            self.swap(model)
        elif misfit := self._find_misfit(role, model):
            raise DataError(misfit)
        else:
            self._assign(role, model)

    def swap(self, model: LoadedModel) -> None:
        """Make a loaded version the active one, and keep the one before it."""
        if self.active is not None and self.active.origin.identity != model.origin.identity:
            self.previous = self.active
        self._activate(model)

    def roll_back(self) -> LoadedModel:
        """Return to the version before, and refuse the current one until the alias moves to another.

        Raises:
            Problem: There is none.
        """
        if self.active is None or self.previous is None:
            raise Problem(
                "no_previous_version", f"the model {self.name} has no earlier version in this process"
            )
        self.refused = self.active.origin.identity
        previous, self.previous = self.previous, self.active
        self._activate(previous)
        return previous

    def unload(self, role: str) -> None:
        """Go on without a canary or a shadow."""
        self.misfits.pop(role, None)
        self._assign(role, None)

    def find(self, version: str) -> LoadedModel:
        """Return a loaded version by its number.

        Raises:
            Problem: It is not loaded.
        """
        for _, model in self.versions():
            if model.version == version:
                return model
        raise Problem("unknown_model", f"version {version} of {self.name} is not loaded")

    def versions(self) -> Iterator[tuple[str, LoadedModel]]:
        """Yield the loaded versions with their roles."""
        for role in (ACTIVE, CANARY, SHADOW, PREVIOUS):
            if (model := self.loaded(role)) is not None:
                yield role, model

    def _position(self, canary: LoadedModel) -> float:
        """Return where the current request stands between 0 and 1; a random place without a request."""
        context = current_request.get()
        if context is None:
            return self._random.random()
        return find_position(context.request_id, canary.origin.sha256)

    def _activate(self, model: LoadedModel) -> None:
        self.active = model
        for role in (CANARY, SHADOW):
            other = self.loaded(role)
            if other is not None and (misfit := self._find_misfit(role, other)):
                self._assign(role, None)
                self.report(role, VERSION, misfit)
                logger.warning("%s: the %s is unloaded", misfit, role)

    def _assign(self, role: str, model: LoadedModel | None) -> None:
        if role == CANARY:
            self.canary = model
        else:
            self.shadow = model

    def _find_misfit(self, role: str, model: LoadedModel) -> str | None:
        """Return why a version cannot be the canary or the shadow beside the active version; None if it can."""
        self.misfits.pop(role, None)
        if self.active is None:
            return None
        ours, others = _contract(self.active), _contract(model)
        if role == CANARY:
            # The rest is how an image becomes the input, and a canary prepares its images itself.
            others = replace(ours, input_shape=others.input_shape, mode=others.mode, classes=others.classes)
        difference = ours.difference(others)
        if difference is None:
            return None
        self.misfits[role] = self.active.origin.sha256
        return (
            f"{model.origin.source}: it has the {difference} as the active version, and cannot be its {role}; set "
            f"serving.rollout.{role} to a version that fits"
        )


def _contract(model: LoadedModel) -> Contract:
    classifier = model.classifier
    return replace(classifier.model.contract, classes=tuple(classifier.classes))
