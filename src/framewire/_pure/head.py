"""Splitting of the heads of ordinary HTTP/1.1 messages (RFC 9112 3 to 5)."""

from __future__ import annotations

import re
from typing import Final

_FIELD: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n"
_HEAD: Final = re.compile(rb"([ -~]+)\r\n((?:" + _FIELD + rb")+)\r\n")


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
    match = _HEAD.match(data)
    if match is None:
        return None
    lines = match[2][:-2].decode("latin-1")
    found: dict[str, list[str]] = {}
    separate = lines.split("\r\n")
    if len(separate) > max_fields:
        return None
    for line in separate:
        name, _, value = line.partition(":")
        found.setdefault(name.lower(), []).append(value.strip(" \t"))
    return match[1].decode("latin-1"), lines, found, match.end()
