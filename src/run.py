"""``python src/run.py STAGE``: load the settings and run one stage of the pipeline.

This is a script, not a module, because Python puts the folder of a script first on the path: the copy of the repository in
which DVC runs an experiment then runs its own code. ``-m`` with an editable installation would run the main workspace's code.
"""

import errno
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Each stage by the package that holds it.
STAGES = {
    "ingestion": "ingestion",
    "validation": "validation",
    "preparation": "preparation",
    "transformation": "transformation",
    "train": "training",
    "evaluate": "evaluation",
    "study": "study",
    "optimize": "optimization",
    "recommend": "recommendation",
    "register": "registration",
}
# By default torch's threads spin for milliseconds while they wait for each other. If another process needs the core, a training
# step then takes twenty times as long. A thread that sleeps at once makes small operations slower on an idle machine, but
# training uses several threads only where they pay (`visiongate.training.hardware_choice`). Torch reads the variable when it is
# imported; an existing value is kept.
SPIN_COUNT = ("GOMP_SPINCOUNT", "0")
# Imports make hundreds of thousands of objects, and hardly any garbage. By default the garbage collector searches all of them
# again and again, which is a third of the time of an import. Some modules are imported later, when the collector is on: it
# then runs after many more new objects than the 700 or 2,000 of Python's default.
COLLECTION_THRESHOLDS = (10_000, 10, 10)
OUTPUT_FOLDERS = ("data/", "models/", "reports/")
# Errors of the disk or of permissions, by what to do about them.
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space and run the stage again",
    errno.EDQUOT: "the disk quota is exhausted; free some space and run the stage again",
    errno.EROFS: "the file system is read-only; mount it for writing or work elsewhere",
    errno.EACCES: "permission denied; check the owner and the permissions",
    errno.EPERM: "permission denied; check the owner and the permissions",
}


def main(arguments: list[str]) -> int:
    """Run the stage that the arguments name; return the exit status."""
    if len(arguments) != 1 or arguments[0] not in STAGES:
        print(f"usage: python src/run.py STAGE, with STAGE one of {', '.join(STAGES)}", file=sys.stderr)
        return 2
    stage = arguments[0]
    try:
        problem = _run(stage)
    except KeyboardInterrupt:
        print(f"{stage}: interrupted; `dvc repro` runs the stage again", file=sys.stderr)
        return 130
    if problem is None:
        return 0
    lines = [*problem.splitlines(), *_explain_recovery(stage)]
    print("\n".join(f"{stage}: {line}" for line in lines), file=sys.stderr)
    return 1


def _run(stage: str) -> str | None:
    """Run a stage; return the message of an error that the user can fix, None on success."""
    os.environ.setdefault(*SPIN_COUNT)
    try:
        # Imported here, so that a missing package is explained.
        from visiongate import logs  # noqa: PLC0415
        from visiongate.errors import VisiongateError  # noqa: PLC0415
        from visiongate.settings.loading import load_settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        return (
            f"{sys.executable} has no package {error.name!r}: activate the environment "
            "(`make setup`, then `. .venv/bin/activate`)"
        )
    settings = None
    try:
        logs.configure(os.environ.get("VISIONGATE_LOG_LEVEL", "info").upper(), Path("logs", f"{stage}.log"))
        settings = load_settings()
        with _quick_imports():
            module = importlib.import_module(f"visiongate.{STAGES[stage]}.stage")
        module.run(settings)
    except VisiongateError as error:
        if settings is not None and settings.debug.tracebacks:
            raise
        return str(error)
    except OSError as error:
        message = _explain(error)
        if message is None:
            raise
        return message
    return None


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Turn the garbage collector off while modules are imported; afterwards it ignores their objects, and runs less often."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*COLLECTION_THRESHOLDS)
        gc.enable()


def _explain(error: OSError) -> str | None:
    """Say what to do about a missing output or a full disk; return None for other errors, which are bugs."""
    if error.errno in ADVICE:
        return f"{error.filename or Path.cwd()}: {ADVICE[error.errno]}"
    if error.errno == errno.ENOENT and str(error.filename).startswith(OUTPUT_FOLDERS):
        return f"{error.filename}: no such file; run `dvc repro` to make it, or `dvc pull` to fetch it"
    return None


def _explain_recovery(stage: str) -> list[str]:
    """Say how to restore what the last run of a stage wrote, if DVC has removed it in this workspace to run the stage."""
    if os.environ.get("DVC_ROOT") != str(Path.cwd()) or not Path("dvc.lock").exists():
        return []
    import yaml  # noqa: PLC0415 - not before the check of the environment

    if stage not in yaml.safe_load(Path("dvc.lock").read_bytes())["stages"]:
        return []
    # DVC takes all outputs from its cache of runs, also those that git tracks.
    return [
        f"DVC removed the outputs of the last run; undo the change, then `visiongate params && dvc repro {stage}` restores them"
    ]


if __name__ == "__main__":
    exit_status = main(sys.argv[1:])
    # Otherwise the interpreter searches all objects before it ends.
    gc.freeze()
    sys.exit(exit_status)
