"""The digest of an image in a kustomization: the only place that says what an overlay runs."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from visiongate.errors import DataError

OVERLAYS = Path("deploy/kubernetes/overlays")
KUSTOMIZATION = "kustomization.yaml"
REFERENCE = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.:-]*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+)@(?P<digest>sha256:[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image by digest.

    Attributes:
        name: Registry and repository, without a tag.
        digest: ``sha256:`` and 64 hexadecimal digits.
    """

    name: str
    digest: str

    def __str__(self) -> str:
        """Return ``NAME@DIGEST``."""
        return f"{self.name}@{self.digest}"


def parse_reference(text: str) -> ImageReference:
    """Parse ``NAME@sha256:…``.

    Raises:
        DataError: The text has a tag, no digest, or a digest that is cut off.
    """
    match = REFERENCE.fullmatch(text)
    if match is None:
        raise DataError(
            f"{text}: not an image by digest; use ghcr.io/OWNER/visiongate/serve@sha256: and 64 hexadecimal digits"
        )
    return ImageReference(match["name"], match["digest"])


def find_kustomization(overlay: str, root: Path = OVERLAYS) -> Path:
    """Return the kustomization of an overlay.

    Raises:
        DataError: There is no such overlay.
    """
    known = {path.parent.name: path for path in sorted(root.glob(f"*/{KUSTOMIZATION}"))}
    if overlay not in known:
        raise DataError(f"{overlay}: no such overlay in {root}; choose one of {', '.join(known) or 'none'}")
    return known[overlay]


def pin_digest(text: str, image: ImageReference, source: str) -> str:
    """Return a kustomization with another digest of an image; every other character stays.

    Args:
        text: YAML.
        image: The name must be the ``newName`` of an image there.
        source: The file's name, for the error messages.

    Raises:
        DataError: The file has no such image, or names it by a tag.
    """
    found = [entry for entry in _read_images(text, source) if entry.name == image.name]
    if not found:
        names = ", ".join(entry.name for entry in _read_images(text, source)) or "none"
        raise DataError(
            f"{source}: runs no {image.name} but {names}; set `newName` of the image to it once, by hand"
        )
    # From the end, so that earlier positions stay valid.
    for entry in reversed(found):
        text = text[: entry.start] + image.digest + text[entry.end :]
    return text


@dataclass(frozen=True, slots=True)
class _Entry:
    """An image, and where its digest is in the text."""

    name: str
    start: int
    end: int


def _read_images(text: str, source: str) -> list[_Entry]:
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise DataError(f"{source}: not YAML: {' '.join(str(error).split())}") from None
    images = dict(_pairs(root)).get("images")
    items = images.value if isinstance(images, yaml.SequenceNode) else []
    return [_read_entry(dict(_pairs(item)), source) for item in items]


def _read_entry(fields: dict[str, yaml.Node], source: str) -> _Entry:
    name = fields.get("newName") or fields.get("name")
    digest = fields.get("digest")
    if name is None or digest is None:
        raise DataError(
            f"{source}: {name.value if name else 'an image'} has no `digest`; name it by digest, not by `newTag`"
        )
    # A quoted value keeps its quotes.
    quote = 1 if getattr(digest, "style", None) in {"'", '"'} else 0
    return _Entry(str(name.value), digest.start_mark.index + quote, digest.end_mark.index - quote)


def _pairs(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), value) for key, value in node.value)
