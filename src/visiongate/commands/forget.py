"""``visiongate forget``: delete an image of the service and what is known of it, such as at the request of a user."""

import os
from pathlib import Path

from visiongate import paths
from visiongate.commands.collect import open_files
from visiongate.commands.collect_summary import list_next_steps
from visiongate.commands.opened_log import open_log
from visiongate.correction.lookup import is_sha256
from visiongate.errors import DataError
from visiongate.monitoring.collection import forget_image
from visiongate.records.files import sha256_of
from visiongate.settings.serving_environment import load_serving


def run(image: str, folder: str | None) -> int:
    """Delete an image here, and in the log and the folder of the service; print what still has it.

    Raises:
        VisiongateError: There is no such file, or the log or the folder cannot be used.
    """
    sha256 = _find(image)
    settings = load_serving(paths.PARAMS, os.environ).serving.log
    files = open_files(folder or settings.images.folder)
    with open_log(settings) as database:
        predictions = forget_image(database.engine, sha256)
    is_kept, is_collected = files.kept.delete(sha256), files.forget(sha256)
    print(
        f"{sha256}: deleted {predictions} predictions and their feedback, {'the file' if is_kept else 'no file'} of the "
        f"service, and {'the' if is_collected else 'no'} collected image"
    )
    if is_collected:
        print(
            "Earlier commits of the tables, DVC's cache and remote, and models that were trained on the image still have it "
            "(docs/feedback-loop.md)."
        )
    for line in list_next_steps("Forget an image"):
        print(line)
    return 0


def _find(image: str) -> str:
    if is_sha256(image):
        return image
    if not Path(image).is_file():
        raise DataError(f"{image!r}: neither a file nor a sha256, as `sha256sum FILE` prints it")
    return sha256_of(Path(image))
