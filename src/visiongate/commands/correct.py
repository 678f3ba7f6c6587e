"""``visiongate correct``: find labels that are probably wrong, look through them on a page, and write corrections."""

import contextlib
import getpass
import logging
import socket
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visiongate import paths
from visiongate.adapters.git import GitError, Repository
from visiongate.commands.features import embed_labeled
from visiongate.correction.desk import Desk, today
from visiongate.correction.embeddings import Embeddings
from visiongate.correction.lookup import find_image, is_sha256
from visiongate.correction.suspects import (
    LabeledImages,
    Suspect,
    drop_rare_classes,
    predict_out_of_fold,
    rank_labels,
)
from visiongate.errors import DataError
from visiongate.records.corrections import (
    Correction,
    add_correction,
    read_corrections,
    remove_correction,
)
from visiongate.records.csv_rows import write_rows
from visiongate.records.dataset import read_dataset
from visiongate.settings.loading import load_settings
from visiongate.text_tables import format_table

MAX_LISTED = 50
NEXT = "`visiongate repro` applies the corrections"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the options say about one image."""

    label: str | None
    exclude: bool
    undo: bool
    why: str

    @property
    def options(self) -> int:
        """How many decisions there are; one is valid."""
        return (self.label is not None) + self.exclude + self.undo


def run(
    image: str | None,
    output: Path | None,
    port: int,
    *,
    as_list: bool,
    no_browser: bool,
    **decision: Any,  # noqa: ANN401 - the options of a `Decision`
) -> int:
    """Write one correction, list the suspects, or serve the page.

    Raises:
        VisiongateError: The image, the class or ``corrections.csv`` is invalid, the pipeline has not run, or the port is used.
    """
    decided = Decision(**decision)
    if image is not None or decided.options:
        print(_correct(image, decided))
    elif as_list or output is not None:
        _list(output)
    else:
        _serve(port, opens_browser=not no_browser)
    return 0


def _correct(image: str | None, decision: Decision) -> str:
    """Write or undo the correction of one image; return what was done."""
    if image is None or decision.options != 1:
        raise DataError(
            "give an image and one decision: visiongate correct IMAGE --label CLASS, --exclude or --undo"
        )
    if decision.undo:
        return _undo(image)
    found, classes = find_image(image, paths.RAW), read_dataset(paths.RAW).classes
    if decision.label is not None and decision.label not in classes:
        raise DataError(f"{decision.label!r} is not a class of the data; choose one of {', '.join(classes)}")
    correction = Correction(found.sha256, decision.label, read_name(), today(), decision.why)
    add_correction(paths.CORRECTIONS, correction)
    return f"{found.path}: {correction.decision}; the source has {found.label!r}; {NEXT}"


def _undo(image: str) -> str:
    # The image may have left the data.
    sha256 = image if is_sha256(image) else find_image(image, paths.RAW).sha256
    removed = remove_correction(paths.CORRECTIONS, sha256)
    if removed is None:
        raise DataError(f"{image}: {paths.CORRECTIONS} has no correction of it")
    return f"{image}: undone: {removed.decision}; {NEXT}"


def read_name() -> str:
    """Return git's ``user.name``, otherwise the name of the account."""
    try:
        return Repository(Path.cwd()).run("config", "user.name").strip()
    except GitError:
        return getpass.getuser()


def find_suspects() -> tuple[LabeledImages, Embeddings, list[Suspect]]:
    """Return all prepared images, their embeddings, and the images in the order of suspicion.

    Raises:
        VisiongateError: The pipeline has not run, or the weights of the backbone cannot be read.
    """
    everything, features, _ = embed_labeled()
    images, embeddings = drop_rare_classes(everything, features)
    return images, embeddings, rank_labels(predict_out_of_fold(embeddings, images), images)


def _list(output: Path | None) -> None:
    """Print the likely label errors that nobody has decided about, or write all images in their order."""
    _, _, suspects = find_suspects()
    decided = read_corrections(paths.CORRECTIONS)
    open_suspects = [suspect for suspect in suspects if suspect.sha256 not in decided]
    likely = [suspect for suspect in open_suspects if suspect.likely]
    if output is not None:
        write_rows(output, open_suspects, Suspect)
        print(f"Wrote {output}: {len(open_suspects)} images, {len(likely)} of them likely wrong")
        return
    print(_format(likely[:MAX_LISTED]) if likely else "No label is probably wrong.")
    if len(likely) > MAX_LISTED:
        print(f"and {len(likely) - MAX_LISTED} more; --output suspects.csv writes all")


def _format(suspects: Sequence[Suspect]) -> str:
    header = ("path", "label", "probability", "suggested", "probability", "sha256")
    rows = [
        (
            suspect.path,
            suspect.label,
            f"{suspect.label_probability:.1%}",
            suspect.suggested,
            f"{suspect.suggested_probability:.1%}",
            suspect.sha256,
        )
        for suspect in suspects
    ]
    return format_table(header, rows, width=None)


def _serve(port: int, *, opens_browser: bool) -> None:
    """Serve the page until Ctrl-C."""
    # Imported here, because neither is needed for a single correction.
    import uvicorn  # noqa: PLC0415

    from visiongate.correction.application import Review, build_application  # noqa: PLC0415
    from visiongate.correction.pictures import Pictures  # noqa: PLC0415
    from visiongate.images.decoding import DecodeOptions  # noqa: PLC0415
    from visiongate.records.conversion import read_conversion  # noqa: PLC0415

    listening = open_port(port)
    images, embeddings, suspects = find_suspects()
    desk = Desk(images, embeddings, suspects, paths.CORRECTIONS, read_name())
    conversion = read_conversion(paths.MEASURED).conversion
    options = DecodeOptions(conversion, load_settings().dataset.limits.max_pixels)
    application, path = build_application(Review(desk, Pictures(paths.RAW, options)))
    address = f"http://127.0.0.1:{listening.getsockname()[1]}{path}"
    print(f"{len(desk.suspects(likely=True))} labels are likely wrong: {address}\nCtrl-C stops.", flush=True)
    if opens_browser and sys.stdout.isatty():
        webbrowser.open(address)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    print(f"{len(desk.corrections())} corrections in {paths.CORRECTIONS}; {NEXT}")


def open_port(port: int) -> socket.socket:
    """Return a socket on 127.0.0.1. It is opened before the work, so that a port in use is noticed at once.

    Raises:
        DataError: The port is in use, or this account may not use it.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
        listening.listen()
    except OSError as error:
        raise DataError(f"port {port}: {error.strerror}; choose another one with --port") from None
    return listening
