"""The section ``dataset``: where the images come from."""

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from visiongate.settings.fields import Count, Name, Section


def _require_text(name: object) -> object:
    if isinstance(name, bool | int | float):
        kind = "a truth value" if isinstance(name, bool) else "a number"
        # Pydantic adds the key to a ValueError only.
        raise ValueError(  # noqa: TRY004
            f"YAML reads a name without quotes as {kind}; put class names in quotes, such as 'yes' or '01'"
        )
    return name


ClassName = Annotated[str, BeforeValidator(_require_text)]


class PublishedFile(Section):
    """A file of a published data set, checked before it is read."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        description="Checksum; null if the publisher gives none."
    )
    size: Count | None = Field(description="Bytes; null if unknown.")


class Limits(Section):
    """Limits that protect against decompression bombs."""

    max_files: Count = Field(description="Files in one source.")
    max_file_bytes: Count = Field(
        description="Decompressed bytes of one file, or of one image in a file of many."
    )
    max_total_bytes: Count = Field(description="Decompressed bytes of all files of a source.")
    max_ratio: Annotated[float, Field(ge=1)] = Field(
        description="Decompressed over compressed bytes of an archive."
    )
    # Pillow refuses images with more than twice its `MAX_IMAGE_PIXELS`.
    max_pixels: Annotated[int, Field(ge=1, le=178_956_970)] = Field(
        description="Width times height of one image."
    )


Column = Annotated[str, BeforeValidator(_require_text)]


class LabelTable(Section):
    """The table that labels the images, and the names of its columns; null guesses, and an empty text uses none."""

    file: str | None = Field(
        description="Path in the source, or a shell pattern, of a table that labels the images; null takes it if one does, and "
        "the folders do not."
    )
    image: Column | None = Field(
        description="Column of the images' paths or names, or of the encoded images."
    )
    label: Column | list[Column] | None = Field(
        description="Column of the labels, or one column of 0 and 1 per class."
    )
    split: Column | None = Field(description="Column of train, val or test, or of the keys of `splits`.")
    group: Column | None = Field(
        description="Column whose equal values stay in one split, such as a patient."
    )


class Dataset(Section):
    """Where the images come from, and what is known about them."""

    name: Name = Field(description="Name of the data set.")
    path: str = Field(
        description="Archive or folder that replaces the download; without one, the data set's file in conf/."
    )
    url: str | None = Field(
        description="Address of one file, or of a folder with `files`: http(s), s3, gs, file, or kaggle://owner/dataset."
    )
    files: dict[str, PublishedFile] = Field(description="Files by name; if empty, all files at `url`.")
    classes: list[ClassName] | None = Field(
        description="Classes in the order of the model's outputs; null takes those of the source: the "
        "names of folders and labels in alphabetical order, or the order that a file gives."
    )
    exclude: list[str] = Field(description="Shell patterns of paths to leave out.")
    splits: dict[str, Literal["train", "val", "test"]] | None = Field(
        description="Split by folder above or below the class folders, in any case, in addition to the usual names, such as "
        "train and Test_Set; null adds none, and {} takes all folders for classes."
    )
    auxiliary: list[str] = Field(
        description="Names of folders whose images are left out with a warning, in any case, unless they seem to be classes; a "
        "name in `classes` is kept."
    )
    links: list[str] = Field(description="Folders outside of `path` that symbolic links in it may lead to.")
    encoding: str | None = Field(
        description="Encoding of names that are not UTF-8, such as gbk, shift_jis or cp866."
    )
    group: str | None = Field(
        description="Regular expression on the path; images whose parenthesized part is equal stay in one split."
    )
    table: LabelTable = Field(
        description="Table that labels the images; null guesses its columns, and an empty text uses none."
    )
    license: str = Field(description="License of the images.")
    citation: str = Field(description="How to cite the data set.")
    homepage: str = Field(description="Page of the data set.")
    extras: list[Literal["heic", "dicom"]] = Field(
        description="Formats of the images that need a package; the pipeline stops without it: "
        "`pip install 'visiongate[heic,dicom]'`."
    )
    depth: Annotated[int, Field(ge=8, le=16)] | Literal["auto"] = Field(
        description="Bits of the range that samples of 16-bit files use; `auto` is the smallest range that holds them."
    )
    background: Literal["auto", "white", "black", "gray"] = Field(
        description="Color behind transparent areas; `auto` is white, or else black or gray if more images are visible on it."
    )
    window: Annotated[list[float], Field(min_length=2, max_length=2)] | Literal["auto"] = Field(
        description="Center and width of the values of DICOM images that are shown, such as [40, 400]; `auto` is the window of "
        "each file."
    )
    limits: Limits = Field(description="Limits that protect against decompression bombs.")
    limit: Count | None = Field(
        description="At most this many images of the source, spread evenly; null takes all."
    )
    new_classes: bool = Field(
        description="Whether a label that only collected images have becomes a class, after those of the source."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes has a duplicate entry")
        if self.group is not None:
            _check_group(self.group)
        if self.group and self.table.group:
            raise ValueError("group and table.group are two rules for one thing; set one of them to null")
        if self.window != "auto" and self.window[1] < 1:
            raise ValueError(f"window = {self.window}: the width, its second number, must be at least 1")
        if self.encoding is not None:
            _check_encoding(self.encoding)
        return self


def _check_encoding(encoding: str) -> None:
    try:
        b"name".decode(encoding)
    except LookupError:
        raise ValueError(
            f"encoding {encoding!r} is unknown; use a name of Python's, such as gbk, shift_jis, cp437, cp866 or cp1252"
        ) from None


def _check_group(pattern: str) -> None:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"group {pattern!r} is not a regular expression: {error}") from None
    if groups != 1:
        raise ValueError(
            rf"group {pattern!r} needs one pair of parentheses around the group's name, as in (person\d+)"
        )
