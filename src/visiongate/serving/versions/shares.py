"""Which share of the requests a request belongs to, by its id."""

import hashlib

DIGEST_BYTES = 8


def find_position(request_id: str, sha256: str) -> float:
    """Return where a request stands between 0 and 1, for a version that answers those below its share.

    The same id has the same position in all processes, so that a repeated request meets the same version, and a larger share
    keeps the requests of a smaller one. Positions are uniform over ids, and independent from version to version: the clients of
    one canary are not those of the next.

    Args:
        request_id: Of the request.
        sha256: Of the version's file.
    """
    digest = hashlib.blake2b(request_id.encode(), digest_size=DIGEST_BYTES, key=sha256.encode()).digest()
    return int.from_bytes(digest, "big") / float(1 << 8 * DIGEST_BYTES)
