"""``visiongate lr-range``: suggest a learning rate by a short training at rising rates."""

import shlex
from collections.abc import Sequence

import numpy as np
import yaml

from visiongate import paths
from visiongate.commands import params
from visiongate.errors import DataError, SettingsError
from visiongate.images.integrity import check_arrays
from visiongate.records.transform import Transform
from visiongate.settings.fields import MAX_RATE
from visiongate.settings.loading import parse_settings
from visiongate.settings.model import Model
from visiongate.settings.schema import Settings
from visiongate.settings.transformation import Transformation


def run(overrides: tuple[str, ...], steps: int, low: float, high: float) -> int:
    """Train, write the plot, and print the suggestion and the command that tries it; nothing else is written.

    Raises:
        VisiongateError: A setting is invalid, the model has no learning rate, the images are not transformed, or no rate lowers
            the loss.
    """
    if not 0 < low < high <= MAX_RATE:
        raise SettingsError(
            f"--low {low:g} --high {high:g} is invalid: must be 0 < low < high <= {MAX_RATE:g}"
        )
    settings = parse_settings(yaml.safe_load(params.compose(overrides, None)), str(paths.PARAMS))
    model = settings.model
    if not isinstance(model, Model):
        raise SettingsError(
            f"model.kind = {model.kind} has no learning rate: choose a network, as in `visiongate lr-range model=small_cnn`"
        )
    transform = check_arrays(paths.TRANSFORMED)
    _check_transform(transform, settings.transformation)
    suggestion = _measure(settings, transform, [float(rate) for rate in np.geomspace(low, high, steps)])
    print(f"Suggested learning rate: {suggestion:.2g} (model.lr is {model.lr:g}). To try it:")
    print(f"  {format_command(overrides, model, suggestion)}")
    return 0


def _check_transform(transform: Transform, wanted: Transformation) -> None:
    if (transform.size, transform.mode) != (wanted.size, wanted.mode):
        raise DataError(
            f"{paths.TRANSFORMED} has {transform.mode} images of {transform.size} pixels, not {wanted.mode} of {wanted.size}: "
            "run `visiongate params` with the same overrides, and `dvc repro transformation`"
        )


def _measure(settings: Settings, transform: Transform, rates: list[float]) -> float:
    """Write the plot and return the suggestion."""
    from visiongate.training.lr_range import draw_lr_range, measure_lr_range  # noqa: PLC0415 - torch is slow to import

    result = measure_lr_range(settings, transform, paths.TRANSFORMED, rates)
    draw_lr_range(result, f"{settings.model.name} on {settings.dataset.name}", paths.LR_RANGE)
    end = " until the loss diverged" if result.has_diverged else ""
    print(f"{paths.LR_RANGE}: the loss of {len(result.losses)} steps{end}")
    return result.suggestion


def format_command(overrides: Sequence[str], model: Model, suggestion: float) -> str:
    """Return the command that trains with the suggestion and the overrides of the test."""
    rates = {"model.lr": suggestion}
    if model.backbone_lr:
        # The test scaled both rates together.
        rates["model.backbone_lr"] = suggestion * model.backbone_lr / model.lr
    kept = [override for override in overrides if override.partition("=")[0] not in rates]
    chosen = [*kept, *(f"{name}={rate:.2g}" for name, rate in rates.items())]
    return shlex.join(["dvc", "exp", "run", *(part for override in chosen for part in ("-S", override))])
