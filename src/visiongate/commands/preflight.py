"""What a run needs, checked before it starts: DVC removes the outputs of a stage before it runs the stage."""

from pathlib import Path
from typing import Any

import yaml

from visiongate import paths
from visiongate.images.extras import check_installed
from visiongate.ingestion.opening import check_path
from visiongate.records.dvc_lock import read_lock
from visiongate.settings.loading import parse_settings
from visiongate.settings.model import Baseline, Probe
from visiongate.settings.schema import Settings

# The parameters that the model depends on, by the stage that lists them.
MODEL_SECTIONS = {"transformation": ("transformation",), "train": ("model", "training")}


def check_run(params: str, *, reads_images: bool) -> None:
    """Check that a run with these parameters can start.

    Args:
        params: The text of ``params.yaml``.
        reads_images: Whether the run needs the local images; otherwise it may use those that were ingested elsewhere.

    Raises:
        VisiongateError: A setting is invalid, the images cannot be read, the weights cannot be fetched, or this machine does
            not have the device.
    """
    tree = yaml.safe_load(params)
    settings = parse_settings(tree, str(paths.PARAMS))
    if reads_images:
        check_path(Path(settings.dataset.path))
        check_installed(settings.dataset.extras)
    if _is_new_model(tree):
        _check_model(settings)


def _is_new_model(tree: Any) -> bool:  # noqa: ANN401 - plain values
    """Return whether the model's parameters differ from those of the last run, which could start."""
    stages = read_lock(paths.LOCK).stages
    for stage, sections in MODEL_SECTIONS.items():
        locked = stages[stage].params.get(str(paths.PARAMS), {}) if stage in stages else {}
        if any(locked.get(section) != tree[section] for section in sections):
            return True
    return False


def _check_model(settings: Settings) -> None:
    """Build the model, which downloads its weights if needed, and process one image.

    Raises:
        SettingsError: The model, an option, the weights, the device or the size of the images is invalid.
    """
    # Imported here, because torch takes seconds, and most runs have the model of the last one.
    import torch  # noqa: PLC0415

    from visiongate.models.backbone import build_backbone  # noqa: PLC0415
    from visiongate.models.normalization import ChannelStatistics, Normalization  # noqa: PLC0415
    from visiongate.models.registry import build_baseline, build_network  # noqa: PLC0415
    from visiongate.training.hardware import choose_hardware  # noqa: PLC0415
    from visiongate.training.task import check_sizes  # noqa: PLC0415

    model, training = settings.model, settings.training
    if isinstance(model, Baseline):
        build_baseline(model.name, model.options, training.seed)
        return
    size, channels = settings.transformation.size, len(settings.transformation.mode)
    if isinstance(model, Probe):
        build_backbone(model, channels, size)
        return
    choose_hardware(training.device, training.precision)
    network = build_network(model.name, model.options, channels, size, len(settings.dataset.classes or "ab"))
    # The statistics of the data set are not known yet; those of pretrained weights also set the number of channels.
    statistics = getattr(network, "statistics", None) or ChannelStatistics(
        (0.5,) * channels, (0.5,) * channels
    )
    check_sizes(network, Normalization(statistics)(torch.zeros(1, channels, size, size)), model, training)
