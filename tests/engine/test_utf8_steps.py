"""Every step of the pure UTF-8 automaton against the table of RFC 3629 section 4, by enumeration.

Together with the lemmas of tests/symbolic on headers this covers the pure code without a sample:
the automaton has one state for each set of continuations, and each state meets each byte.
"""

import pytest

from framewire._pure.utf8 import Utf8Validator

pytestmark = pytest.mark.engine

TAIL = (0x80, 0xBF)
#: The rows of the table: the range of each byte of a code point.
ROWS = [
    [(0x00, 0x7F)],
    [(0xC2, 0xDF), TAIL],
    [(0xE0, 0xE0), (0xA0, 0xBF), TAIL],
    [(0xE1, 0xEC), TAIL, TAIL],
    [(0xED, 0xED), (0x80, 0x9F), TAIL],
    [(0xEE, 0xEF), TAIL, TAIL],
    [(0xF0, 0xF0), (0x90, 0xBF), TAIL, TAIL],
    [(0xF1, 0xF3), TAIL, TAIL, TAIL],
    [(0xF4, 0xF4), (0x80, 0x8F), TAIL, TAIL],
]


def rest_of_row(prefix):
    """Return the ranges of the bytes that a prefix lacks: none after a code point; None if it begins no row."""
    if not prefix:
        return ()
    for row in ROWS:
        if len(prefix) <= len(row) and all(low <= byte <= high for byte, (low, high) in zip(prefix, row, strict=False)):
            return tuple(row[len(prefix) :])
    return None


def state_after(prefix):
    validator = Utf8Validator()
    assert validator.feed(prefix) == len(prefix)
    return validator.need, validator._low, validator._high


def test_utf8_automaton_takes_every_byte_in_every_state_as_the_table_says():
    # A pair of a state of the automaton and what the table still asks for. Each is reached once, and
    # meets every byte: both then go on alike, whatever came before.
    pairs, unseen = {}, [b""]
    while unseen:
        prefix = unseen.pop()
        rest, state = rest_of_row(prefix), state_after(prefix)
        if (state, rest) in pairs:
            continue
        pairs[state, rest] = prefix
        assert state == (len(rest), *(rest[0] if rest else TAIL))
        for byte in range(256):
            longer = prefix * bool(rest) + bytes([byte])
            validator = Utf8Validator()
            validator.feed(prefix)
            if rest_of_row(longer) is not None:
                assert validator.feed(bytes([byte])) == 1, longer
                unseen.append(longer)
            else:
                assert validator.feed(bytes([byte])) == 0, longer
                assert (validator.need, validator._low, validator._high) == state
    assert len(pairs) == 8
