"""A model that can be exchanged while it answers: the active version, the one before it, a canary and a shadow."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from visiongate.serving.versions.loaded_model import LoadedModel
from visiongate.serving.web.problems import Problem

ACTIVE, PREVIOUS, CANARY, SHADOW = "active", "previous", "canary", "shadow"
# What a problem concerns: the place that a version comes from, or the version itself.
SOURCE, VERSION = "source", "version"


@dataclass(slots=True)
class Slot:
    """The versions of a model. A request keeps the version that it started with, so that an exchange interrupts none.

    Attributes:
        name: In requests.
        active: Answers; None until it is loaded.
        previous: Kept for a rollback.
        canary: Answers `canary_share` of the requests.
        shadow: Predicts `shadow_share` of the images without answering.
        refused: The sha256 of the version that was rolled back; it does not become active again by itself.
        problems: What is wrong, by role and what it concerns.
        unreachable_since: When the registry stopped answering, in seconds since 1970; None if it answers.
    """

    name: str
    active: LoadedModel | None = None
    previous: LoadedModel | None = None
    canary: LoadedModel | None = None
    shadow: LoadedModel | None = None
    canary_share: float = 0.0
    shadow_share: float = 0.0
    refused: str | None = None
    problems: dict[tuple[str, str], str] = field(default_factory=dict)
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
            raise Problem(
                "not_ready", f"the model {self.name} is not loaded yet", headers={"Retry-After": "1"}
            )
        return self.active

    def choose(self) -> LoadedModel:
        """Return the version that answers a request.

        Raises:
            Problem: No version is loaded.
        """
        active = self.require()
        if self.canary is not None and self._random.random() < self.canary_share:
            return self.canary
        return active

    def choose_shadow(self, answered_by: LoadedModel) -> LoadedModel | None:
        """Return the version that also predicts an image; None for most."""
        if self.shadow is None or self.shadow is answered_by or self._random.random() >= self.shadow_share:
            return None
        return self.shadow

    def swap(self, model: LoadedModel) -> None:
        """Make a loaded version the active one, and keep the one before it."""
        if self.active is not None and self.active.origin.sha256 != model.origin.sha256:
            self.previous = self.active
        self.active = model

    def roll_back(self) -> LoadedModel:
        """Return to the version before, and refuse the current one until the alias moves to another.

        Raises:
            Problem: There is none.
        """
        if self.active is None or self.previous is None:
            raise Problem(
                "no_previous_version", f"the model {self.name} has no earlier version in this process"
            )
        self.refused = self.active.origin.sha256
        self.active, self.previous = self.previous, self.active
        return self.active

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
        roles = {ACTIVE: self.active, CANARY: self.canary, SHADOW: self.shadow, PREVIOUS: self.previous}
        for role, model in roles.items():
            if model is not None:
                yield role, model
