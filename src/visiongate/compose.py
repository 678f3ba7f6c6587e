"""Compose ``conf/`` into ``params.yaml``: ``make params``.

DVC composes by itself on ``dvc exp run``, never on ``dvc repro``; so every make target that runs the line comes here first.
"""

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visiongate.config import parse_settings
from visiongate.errors import SettingsError, VisiongateError
from visiongate.files import write_text
from visiongate.paths import PARAMS

CONF = Path("conf")
HEADER = "# Generated from conf/ by `make params`. Do not edit: change conf/, or try a value with `dvc exp run -S`.\n"


def compose_params(conf: Path, overrides: list[str]) -> str:
    """Compose the groups of ``conf`` and return the text of ``params.yaml``, validated.

    Raises:
        SettingsError: Hydra cannot compose, or a value is not allowed.
    """
    try:
        with initialize_config_dir(str(conf.absolute()), version_base="1.3"):
            tree = compose("config", overrides=overrides)
        OmegaConf.resolve(tree)
    except (HydraException, OmegaConfBaseException) as error:
        raise SettingsError(f"{conf}/: {' '.join(str(error).split())}") from None
    parse_settings(OmegaConf.to_container(tree), f"{conf}/")
    return HEADER + OmegaConf.to_yaml(tree)


def main(arguments: list[str]) -> int:
    """Write ``params.yaml`` when the composed text differs from it, and say which; return the exit status.

    Args:
        arguments: Hydra's overrides; or ``--check``, which writes nothing, and fails when the two differ.
    """
    check = arguments == ["--check"]
    try:
        text = compose_params(CONF, [] if check else arguments)
    except VisiongateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    current = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None
    if text == current:
        sys.stdout.write(f"{PARAMS} is up to date with {CONF}/\n")
    elif check:
        sys.stderr.write(f"{PARAMS} is not what {CONF}/ composes: `make params` writes it\n")
        return 1
    else:
        write_text(PARAMS, text)
        sys.stdout.write(f"{PARAMS} composed from {CONF}/\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
