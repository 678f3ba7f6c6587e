"""The commands and files of the docs."""

import itertools
import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

from clones import call

ROOT = Path(__file__).parents[1]
# Where the docs place the reader's images.
IMAGE_FOLDERS = ("/path/to/flowers", "/path/to/images", "/data/flowers")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES["README.md"] = README


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, also those in lists."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def commands_of(text: str) -> Iterator[str]:
    """Split the shell blocks of a page into commands, without comments."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"(^|\s+)#\s.*", "", line).strip()
            if command:
                yield command


COMMANDS = sorted({command for text in PAGES.values() for command in commands_of(text)})


def overrides_of(command: str) -> list[str]:
    """Return the settings that a command gives after `-S`."""
    words = shlex.split(command)
    return [word for option, word in itertools.pairwise(words) if option == "-S"]


def files_to_write() -> dict[str, str]:
    """Return the files that the pages ask the reader to write: a path of conf or src, a colon, and then a block."""
    pattern = r"`((?:conf|src)/[\w./]+)`[^`]*:\n\n *```(?:python|yaml)\n(.*?)^ *```$"
    return {
        path: textwrap.dedent(content)
        for text in PAGES.values()
        for path, content in re.findall(pattern, text, flags=re.DOTALL | re.MULTILINE)
    }


def write_files(clone: Path, images: Path) -> None:
    """Write and commit the files that the docs ask the reader to write."""
    for path, content in files_to_write().items():
        (clone / path).write_text(insert_folder(content, images), encoding="utf-8")
    call(clone, "git", "add", "--all")
    call(clone, "git", "commit", "--quiet", "--message", "Add the files of the docs")


def insert_folder(text: str, images: Path) -> str:
    """Replace the folders of the docs by a folder of this machine."""
    for folder in IMAGE_FOLDERS:
        text = text.replace(folder, str(images))
    return text
