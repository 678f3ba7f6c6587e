"""Advice for images without class folders, whose file names may give the class."""

import re
from collections import Counter
from collections.abc import Sequence

# ``cat.0.jpg``, ``great_pyrenees_12.jpg``, ``dog-3.png``, ``rose (4).jpg``.
NUMBERED = re.compile(r"(?P<name>.*?[^\W\d_].*?)[ ._-]*\(?\d+\)?\.\w+")
MAX_NAMES = 3
# Names that cameras and programs give.
CAMERA = re.compile(
    r"(?:img|dsc|dscn|dscf|dcim|image|photo|pic|picture|pxl|screenshot|scan|frame|p)", re.IGNORECASE
)
MIN_NAMES = 2
# A name must occur this often on average to be that of a class.
MIN_REPEATS = 2


def advise_on_flat_files(paths: Sequence[str], splits: Sequence[str]) -> str:
    """Describe images that have no class folders, and how to sort them into some.

    Args:
        paths: The paths of the images.
        splits: The folders that are read as splits. They may be the classes.
    """
    folders = Counter(path.rpartition("/")[0] for path in paths)
    folder, count = max(folders.items(), key=lambda item: item[1])
    files = [path.rpartition("/")[2] for path in paths if path.rpartition("/")[0] == folder]
    start = f"{count:,} images without class folders in {folder or 'the top folder'}, such as {', '.join(files[:MAX_NAMES])}"
    if len(splits) > 1:
        start += f"; if {', '.join(splits)} are the classes, set dataset.splits={{}}"
    names = _find_names(files)
    if not names:
        return (
            f"{start}; move the images of each class into a folder of their own: CLASS/… or SPLIT/CLASS/…, or add a table "
            "labels.csv with the columns image and label"
        )
    listed = ", ".join(sorted(names)[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")
    return (
        f"{start}; the names begin with {len(names):,} classes ({listed}). Run this command in the folder of the files, "
        "which copies them into one folder per class, and set dataset.path to the new folder by_class beside it:\n"
        '  for f in *[0-9]*.*; do c=$(echo "$f" | sed -E "s/[ ._-]*\\(?[0-9]+\\)?\\.[^.]*$//"); '
        'mkdir -p "../by_class/$c" && cp "$f" "../by_class/$c/"; done'
    )


def _find_names(files: Sequence[str]) -> Counter[str]:
    """Return the names in front of the files' numbers; empty unless they repeat and almost all files have one."""
    matches = [NUMBERED.fullmatch(file) for file in files]
    names = Counter(match["name"] for match in matches if match and not CAMERA.fullmatch(match["name"]))
    is_plausible = len(names) >= MIN_NAMES and names.total() >= max(
        0.9 * len(files), MIN_REPEATS * len(names)
    )
    return names if is_plausible else Counter()
