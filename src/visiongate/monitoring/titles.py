"""What people call a version."""

from visiongate.monitoring.report import ModelPerformance


def title_of(model: ModelPerformance) -> str:
    """Return the name and version of a model, and its role if it is not that of the version which answers by default."""
    role = " (shadow)" if model.shadow else ""
    if model.predictions and model.roles.get("canary") == model.predictions:
        role = " (canary)"
    return f"{model.name} {model.version or model.sha256[:12]}{role}"
