"""Compressed bodies of requests, with a limit on their size."""

import zlib

from visiongate.serving.web.problems import Problem

ENCODINGS = ("gzip", "deflate")
# Recognizes the headers of both gzip and zlib, which HTTP calls deflate.
_ANY_HEADER = zlib.MAX_WBITS | 32


def read_encoding(header: str | None) -> str | None:
    """Return the compression that the header `Content-Encoding` names; None without one.

    Raises:
        Problem: It is not supported.
    """
    encoding = (header or "identity").strip().lower()
    if encoding == "identity":
        return None
    if encoding not in ENCODINGS:
        raise Problem(
            "unsupported_media_type",
            f"the encoding of the body is not supported; compress it by one of {', '.join(ENCODINGS)}, or not at all",
            headers={"Accept-Encoding": ", ".join(ENCODINGS)},
        )
    return encoding


def decompress(body: bytes, max_bytes: int) -> bytes:
    """Return the content of a compressed body. No more than `max_bytes` are decompressed.

    Raises:
        Problem: It is damaged, or its content is too large.
    """
    decompressor = zlib.decompressobj(_ANY_HEADER)
    try:
        content = decompressor.decompress(body, max_bytes)
        # A stream that ends with the last allowed byte still has its checksum.
        beyond = b"" if decompressor.eof else decompressor.decompress(decompressor.unconsumed_tail, 1)
    except zlib.error:
        raise Problem(
            "invalid_request", "the body is not compressed as Content-Encoding states, or is damaged"
        ) from None
    if beyond:
        raise Problem(
            "body_too_large",
            f"the decompressed request has more than {max_bytes:,} bytes; send fewer or smaller images",
        )
    if not decompressor.eof or decompressor.unused_data:
        raise Problem("invalid_request", "the compressed body is truncated, or more bytes follow it")
    return content
