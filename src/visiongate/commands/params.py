"""``visiongate params``: compose ``conf/`` into ``params.yaml``."""

import os
from pathlib import Path

from visiongate.paths import PARAMS
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params
from visiongate.settings.grammar import environment_overrides


def run(overrides: tuple[str, ...], config: Path | None, *, check: bool) -> int:
    """Write ``params.yaml`` if the composed text differs from it; with ``check``, compare it with ``conf/`` and write nothing.

    Returns:
        1 if ``check`` finds a difference.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid.
    """
    variables = {} if check else environment_overrides(os.environ)
    sources = [f"the file {config}"] if config else []
    sources += [f"the environment: {override}" for override in variables.values()]
    text = compose_params(CONF, overrides, config, variables)
    # The header lists overrides from the environment and a file.
    text = "".join([*(f"# From {source}\n" for source in sources), text])
    for source in sources:
        print(f"From {source}")
    current = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None
    if text == current:
        print(f"{PARAMS} is up to date with {CONF}/")
        return 0
    if check:
        print(f"{PARAMS} is out of date with {CONF}/: run `visiongate params`")
        return 1
    write_text(PARAMS, text)
    print(f"{PARAMS} composed from {CONF}/")
    return 0
