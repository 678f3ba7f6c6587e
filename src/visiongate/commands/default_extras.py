"""The packages for HEIC and DICOM images of the user's own, if the user does not set ``dataset.extras``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visiongate.images.extras import is_installed

SETTING = "dataset.extras"


@dataclass(frozen=True, slots=True)
class ExtrasChoice:
    """The value of ``dataset.extras``, and the reason in one line; nothing is to say if both are empty."""

    names: tuple[str, ...] = ()
    reason: str = ""

    @property
    def override(self) -> list[str]:
        """The setting, if there is a choice."""
        return [f"{SETTING}=[{','.join(self.names)}]"] if self.names else []


def choose_extras(images: Mapping[str, int], settings: Sequence[str]) -> ExtrasChoice:
    """Choose the installed packages that the images need by their names.

    Args:
        images: Number of images by extra, as `Inspection.extras` has them.
        settings: The user's, such as ``dataset.extras=[heic]``, which precede.
    """
    if not images or any(setting.startswith(f"{SETTING}=") for setting in settings):
        return ExtrasChoice()
    names = tuple(sorted(filter(is_installed, images)))
    reasons = []
    if names:
        count = sum(images[name] for name in names)
        reasons.append(
            f"extras: {SETTING}=[{','.join(names)}], because of the images that need a package: {count:,}"
        )
    if missing := sorted(set(images) - set(names)):
        count = sum(images[name] for name in missing)
        reasons.append(
            f"extras: images that need a package and are quarantined without it: {count:,}; to use them, run: "
            f"pip install 'visiongate[{','.join(missing)}]'; then run this command again"
        )
    return ExtrasChoice(names, "\n".join(reasons))
