"""Elements of the datatype BYTES in binary form: each is its length, 4 bytes in little-endian order, and its bytes."""

import struct
from collections.abc import Iterable

from visiongate.serving.web.problems import Problem

_LENGTH = struct.Struct("<I")


def pack(elements: Iterable[bytes]) -> bytes:
    """Return the binary form of some elements."""
    return b"".join(part for element in elements for part in (_LENGTH.pack(len(element)), element))


def unpack(name: str, content: memoryview, count: int) -> list[bytes]:
    """Return the elements of a tensor in binary form.

    Args:
        name: Of the tensor, for messages.
        content: Its bytes.
        count: Elements, as its shape states.

    Raises:
        Problem: The bytes are not those of as many elements.
    """
    elements, start = [], 0
    for index in range(count):
        body = start + _LENGTH.size
        end = body + _LENGTH.unpack_from(content, start)[0] if body <= len(content) else body
        if end > len(content):
            raise Problem(
                "invalid_request",
                f"input {name}: its {len(content)} bytes end within element {index} of {count}; each element is its length "
                "(4 bytes, little-endian) and its bytes",
            )
        elements.append(bytes(content[body:end]))
        start = end
    if start != len(content):
        raise Problem(
            "invalid_request",
            f"input {name}: {len(content) - start} bytes follow its {count} elements; state the number of elements in shape",
        )
    return elements
