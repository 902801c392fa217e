"""Splitting of the heads of ordinary HTTP/1.1 messages (RFC 9112 3 to 5)."""

from __future__ import annotations

import re
from typing import Final

_FIRST_LINE: Final = re.compile(rb"([ -~]+)\r\n")
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([\t -~\x80-\xff]*)\r\n")


def split_head(data: bytes, max_fields: int) -> tuple[str, str, dict[str, list[str]], int] | None:
    """Split the head at the beginning of data, if it is whole and strictly formed.

    Its first line is of ASCII, space to "~". Fields follow, at least one, each a token, ":" and any
    of tab, space to "~" and bytes above 127 (RFC 9110 5.5). Every line ends with CRLF.

    Args:
        data: Bytes, beginning with the head.
        max_fields: The largest number of fields.

    Returns:
        (the first line, the lines of the fields, the values of the fields by name, the size of the
        head), or None for all other heads. The lines have their CRLF between them; the names are in
        lower case, the values without spaces and tabs around them. Text is latin-1.

    Raises:
        TypeError: `data` is not bytes.
    """
    if type(data) is not bytes:
        raise TypeError("a head is bytes")
    first = _FIRST_LINE.match(data)
    if first is None:
        return None
    begin = position = first.end()
    found: dict[str, list[str]] = {}
    count = 0
    while not data.startswith(b"\r\n", position):
        field = _FIELD.match(data, position)
        if field is None or count >= max_fields:
            return None
        found.setdefault(field[1].decode().lower(), []).append(field[2].decode("latin-1").strip(" \t"))
        position = field.end()
        count += 1
    if not count:
        return None
    return first[1].decode(), data[begin : position - 2].decode("latin-1"), found, position + 2
