"""The address of the prediction log's database. It may have a password, so that no message shows it."""

from visiongate.errors import SettingsError

SETTING = "serving.log.address"
SQLITE, POSTGRESQL = "sqlite", "postgresql"
EXAMPLES = "sqlite:///logs/predictions.sqlite or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"


def check_address(address: str) -> None:
    """Check what would otherwise lead to another database or, in an error of its driver, show a part of the password.

    It does not need SQLAlchemy, so that the service can check the address before it starts.

    Raises:
        SettingsError: The database is not supported, or a character of the password is not encoded.
    """
    scheme, separator, rest = address.partition("://")
    backend = scheme.partition("+")[0]
    if not separator or backend not in {SQLITE, POSTGRESQL}:
        raise SettingsError(f"{SETTING}: not a supported address; name {EXAMPLES}")
    if backend == POSTGRESQL and rest.count("@") > 1:
        raise SettingsError(
            f"{SETTING}: has more than one @; write %40 for an @ in the password, %2F for a /, %25 for a %"
        )
