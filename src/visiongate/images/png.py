"""Repair PNG files whose descriptions Pillow refuses, such as a color profile of several megabytes."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that describe the pixels and do not change them, for color profiles are ignored.
_DESCRIPTIONS = {b"iCCP", b"iTXt", b"tEXt", b"zTXt"}
# Length, type and checksum of a chunk.
_FRAME_BYTES = 12


def drop_descriptions(encoded: bytes) -> bytes:
    """Return a PNG without texts and color profile. Other files, and a PNG without these, are returned unchanged."""
    if not encoded.startswith(SIGNATURE):
        return encoded
    kept = [SIGNATURE]
    start = len(SIGNATURE)
    while start < len(encoded):
        end = start + int.from_bytes(encoded[start : start + 4], "big") + _FRAME_BYTES
        if encoded[start + 4 : start + 8] not in _DESCRIPTIONS:
            kept.append(encoded[start:end])
        start = end
    return b"".join(kept)
