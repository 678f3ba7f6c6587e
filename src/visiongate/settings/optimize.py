"""The section ``optimize``: the Optuna study."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from visiongate.settings.fields import Count, Index, Monitor, Section

# The smallest p-value of the sign-flip test with n seeds is 2^-n.
MIN_SEEDS = 5
_ADDRESS_WITH_PASSWORD = re.compile(r"[^:/]+://[^/@]*:[^/]*@")


class SearchRange(Section):
    """One dimension of the search."""

    setting: str = Field(description="Setting by its dotted name.")
    kind: Literal["float", "log", "int", "choice"] = Field(description="Kind of the range.")
    low: float | None = Field(default=None, description="Lower end; not with choice.")
    high: float | None = Field(default=None, description="Upper end; not with choice.")
    choices: list[bool | int | float | str | None] | None = Field(
        default=None, description="Values, with choice."
    )
    start: list[bool | int | float | str | None] = Field(
        default=[], description="Values known to work, of the first trials, with tpe and gp."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "choice":
            if not self.choices or self.low is not None or self.high is not None:
                raise ValueError("kind choice takes `choices` only")
        elif self.choices is not None or self.low is None or self.high is None or self.low >= self.high:
            raise ValueError(f"kind {self.kind} takes `low` < `high` and no `choices`")
        elif self.kind == "log" and self.low <= 0:
            raise ValueError(f"kind log takes `low` > 0, not {self.low:g}")
        for value in self.start:
            if not self._contains(value):
                raise ValueError(f"start has {value}, which is not among the values: {self.describe()}")
        return self

    def _contains(self, value: float | str | None) -> bool:
        """Return whether a trial can have a value."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else (int, float)):
            return False
        return float(self.low or 0) <= value <= float(self.high or 0)

    def describe(self) -> str:
        """Return the values in words, such as ``0.001 to 0.1``."""
        if self.choices is not None:
            return ", ".join("null" if choice is None else str(choice) for choice in self.choices)
        return f"{self.low:.4g} to {self.high:.4g}"


class Optimize(Section):
    """The Optuna study."""

    trials: Count = Field(description="Trials.")
    epochs: Count = Field(description="Epochs of each trial.")
    min_images: Index = Field(
        description="Training images that a trial sees, all epochs together, before it is judged. A small training set "
        "gets more epochs and fewer trials."
    )
    min_val_images: Index = Field(
        description="Validation images that a trial needs. If the validation split has fewer, trials are cross-validated "
        "on the training and validation images."
    )
    folds: Count = Field(
        description="Folds of that cross-validation; 1 uses the validation split, however small. A data set that is "
        "cross-validated anyway keeps its folds."
    )
    metric: Monitor = Field(description="Metric of a trial, at its best epoch.")
    seed: Index = Field(description="Seed of the sampler and of the trials.")
    sampler: Literal["tpe", "gp", "random"] = Field(
        description="Sampler: tpe, gp (for one or two settings and trials without randomness), or random."
    )
    startup_trials: Count = Field(description="Random trials before the sampler starts.")
    pruner: Literal["race", "median", "hyperband", "halving", "none"] = Field(description="Pruner.")
    warmup_epochs: Index = Field(description="With median: epochs before a trial may be pruned.")
    reduction_factor: Annotated[int, Field(ge=2)] = Field(
        description="With hyperband and halving: one trial of this many continues. With race: the first check is after "
        "the epochs divided by this."
    )
    confirm_seeds: Annotated[int, Field(ge=0, le=16)] = Field(
        description="Fresh seeds on which the best and the current settings are compared: 0, or at least 5."
    )
    trials_per_round: Count = Field(
        description="Trials that the sampler proposes at a time, from earlier rounds; so many can run at the same time."
    )
    threads: Count | None = Field(
        description="Most threads of a trial, which uses fewer if its timed steps are as fast; null: one for images up to 16 "
        "pixels, otherwise all cores, or with ray engine.resources.trial.cpus."
    )
    storage: str | None = Field(
        description="Database that several machines share, without its password; null uses a local file."
    )
    space: dict[str, SearchRange] = Field(min_length=1, description="Dimensions of the search, by name.")

    @field_validator("confirm_seeds")
    @classmethod
    def _check_seeds(cls, seeds: int) -> int:
        if 0 < seeds < MIN_SEEDS:
            raise ValueError(
                f"fewer than {MIN_SEEDS} seeds cannot show a difference at 5%; set {MIN_SEEDS}, or 0 to compare nothing"
            )
        return seeds

    @model_validator(mode="after")
    def _check(self) -> Self:
        # params.yaml is in git, and its values are in dvc.lock and MLflow. The message must not show the password.
        if self.storage is not None and _ADDRESS_WITH_PASSWORD.match(self.storage):
            raise ValueError(
                "storage contains a password, which git would store; remove it and set VISIONGATE_STORAGE_PASSWORD"
            )
        return self
