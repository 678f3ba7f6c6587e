"""``visiongate serve-key``: a new API key for the service."""

from visiongate.serving.web.keys import make_key


def run(name: str, *, admin: bool) -> int:
    """Print a key and its line.

    Raises:
        SettingsError: The name is invalid.
    """
    secret, key = make_key(name, is_admin=admin)
    print(f"key:  {secret}")
    print(f"line: {key.line}")
    return 0
