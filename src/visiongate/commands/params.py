"""``visiongate params``: compose ``conf/`` into ``params.yaml``."""

from visiongate.paths import PARAMS
from visiongate.records.files import write_text
from visiongate.settings.composition import CONF, compose_params


def run(overrides: tuple[str, ...], *, check: bool) -> int:
    """Write ``params.yaml`` if the composed text differs from it; with ``check``, return 1 instead.

    Raises:
        SettingsError: Hydra cannot compose, or a value is invalid.
    """
    text = compose_params(CONF, list(overrides))
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
