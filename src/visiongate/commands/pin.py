"""``visiongate pin``: change the digest of an image in an overlay of ``deploy/kubernetes``."""

from visiongate.delivery.image_pins import find_kustomization, parse_reference, pin_digest
from visiongate.records.files import write_text


def run(image: str, overlay: str) -> int:
    """Change the digest, and print what the overlay runs now.

    Raises:
        DataError: The image is not named by digest, the overlay does not exist, or it does not run this image.
    """
    reference = parse_reference(image)
    path = find_kustomization(overlay)
    before = path.read_text(encoding="utf-8")
    after = pin_digest(before, reference, str(path))
    if after == before:
        print(f"{path}: already runs {reference}")
        return 0
    write_text(path, after)
    print(f"{path}: runs {reference}")
    return 0
