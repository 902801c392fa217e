"""The numbers of RFC 6455 and of IANA's registry, and their names."""

import pytest

from framewire import CloseCode, Opcode, Role, State
from framewire.protocol.constants import MAX_CONTROL_PAYLOAD, MAX_LENGTH, MAX_REASON, close_code_name

pytestmark = [pytest.mark.engine, pytest.mark.both_backends]

CLOSE_CODES = {
    "NORMAL_CLOSURE": 1000, "GOING_AWAY": 1001, "PROTOCOL_ERROR": 1002, "UNSUPPORTED_DATA": 1003,
    "NO_STATUS_RCVD": 1005, "ABNORMAL_CLOSURE": 1006, "INVALID_DATA": 1007, "POLICY_VIOLATION": 1008,
    "MESSAGE_TOO_BIG": 1009, "MANDATORY_EXTENSION": 1010, "INTERNAL_ERROR": 1011, "SERVICE_RESTART": 1012,
    "TRY_AGAIN_LATER": 1013, "BAD_GATEWAY": 1014, "TLS_HANDSHAKE": 1015,
}  # fmt: skip


def test_members_have_the_numbers_of_the_rfc():
    assert {each.name: each.value for each in CloseCode} == CLOSE_CODES
    assert {each.name: each.value for each in State} == {"CONNECTING": 0, "OPEN": 1, "CLOSING": 2, "CLOSED": 3}
    opcodes = {"CONTINUATION": 0, "CONT": 0, "TEXT": 1, "BINARY": 2, "CLOSE": 8, "PING": 9, "PONG": 10}
    assert {name: each.value for name, each in Opcode.__members__.items()} == opcodes
    assert [each.value for each in Role] == ["server", "client"]
    assert (MAX_CONTROL_PAYLOAD, MAX_REASON, MAX_LENGTH) == (125, 123, 2**63 - 1)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (1000, "OK"), (1001, "going away"), (1002, "protocol error"), (1003, "unsupported data"), (1004, "unknown"),
        (1005, "no status received [internal]"), (1006, "abnormal closure [internal]"),
        (1007, "invalid frame payload data"), (1008, "policy violation"), (1015, "TLS handshake failure [internal]"),
        (1016, "unknown"), (2999, "unknown"), (3000, "registered"), (3999, "registered"), (4000, "private use"),
        (4999, "private use"), (5000, "unknown"),
    ],
)  # fmt: skip
def test_close_codes_have_names_in_messages(code, name):
    assert close_code_name(code) == name
