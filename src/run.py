"""``python src/run.py STAGE``: load the settings and run one stage of the line.

A script on purpose: Python puts its folder first on the path, so an experiment's copy of the repository runs its own code. With
``-m`` and an editable install, ``dvc exp run --temp`` would import the main workspace's.
"""

import errno
import importlib
import os
import sys

# Each stage by the package that holds it.
STAGES = {
    "ingestion": "ingestion",
    "validation": "validation",
    "preparation": "preparation",
    "transformation": "transformation",
    "train": "training",
    "evaluate": "evaluation",
    "optimize": "optimization",
    "register": "registration",
}
# Torch's threads spin while they wait for each other, by default for milliseconds. Where another process wants the core too, a
# step of a small network then takes twenty times as long. It is read when torch is loaded; who has set it keeps it.
SPINS = ("GOMP_SPINCOUNT", "1000")
ARTIFACTS = ("data/", "models/", "reports/")  # what stages hand to each other


# What the folder's owner or the disk says no to, by what to do about it.
REFUSALS = {
    errno.ENOSPC: "the disk is full: free some space and run again",
    errno.EDQUOT: "the disk quota is used up: free some space and run again",
    errno.EROFS: "the file system is read-only: mount it for writing, or work elsewhere",
    errno.EACCES: "not allowed: see who owns it and who may write there",
    errno.EPERM: "not allowed: see who owns it and who may write there",
}


def main(arguments: list[str]) -> int:
    """Run the stage that the arguments name; return the exit status."""
    try:
        return _start(arguments)
    except KeyboardInterrupt:
        print(f"{' '.join(arguments)}: interrupted; `dvc repro` starts it again", file=sys.stderr)
        return 130


def _start(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python src/run.py STAGE, a STAGE of: {', '.join(STAGES)}", file=sys.stderr)
        return 2
    stage = arguments[0]
    os.environ.setdefault(*SPINS)
    try:
        from visiongate.errors import VisiongateError  # noqa: PLC0415
        from visiongate.settings.schema import load_settings  # noqa: PLC0415 - a missing package is explained below
    except ModuleNotFoundError as error:
        print(
            f"{stage}: {sys.executable} has no package {error.name!r}: activate the environment "
            "(`make setup`, then `. .venv/bin/activate`), or use make",
            file=sys.stderr,
        )
        return 1
    try:
        settings = load_settings()
        importlib.import_module(f"visiongate.{STAGES[stage]}.stage").run(settings)
    except VisiongateError as error:
        print("\n".join(f"{stage}: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return 1
    except OSError as error:
        advice = _advise(error)
        if advice is None:
            raise
        print(f"{stage}: {advice}", file=sys.stderr)
        return 1
    return 0


def _advise(error: OSError) -> str | None:
    """Say what to do about a file that DVC was to provide, or a disk that refuses; None of any other error, which is a bug."""
    if error.errno in REFUSALS:
        return f"{error.filename or 'this folder'}: {REFUSALS[error.errno]}"
    if error.errno == errno.ENOENT and str(error.filename).startswith(ARTIFACTS):
        return f"{error.filename}: no such file; `dvc repro` makes it, `dvc pull` fetches it"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
