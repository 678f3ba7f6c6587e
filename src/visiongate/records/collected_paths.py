"""The paths of collected images in the image table, by which stages tell them from those of the source."""

# The folder of the images in the image table.
FOLDER = "collected"


def collected_file(sha256: str, extension: str) -> str:
    """Return the path in the folder of the collected images: few files are in one folder."""
    return f"{sha256[:2]}/{sha256}.{extension}"


def collected_path(sha256: str, extension: str) -> str:
    """Return the path in the image table."""
    return f"{FOLDER}/{collected_file(sha256, extension)}"


def is_collected(path: str, sha256: str) -> bool:
    """Return whether a row of the image table is a collected image: its path has the hash of its content."""
    return path.startswith(collected_path(sha256, ""))
