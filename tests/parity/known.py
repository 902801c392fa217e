"""The known failures of the peer's tests, by kind and cause: "module::test", in whatever class.

A test that is listed here and passes is reported, so that this list stays short.
"""


def _connection(*tests, apis=("asyncio", "sync", "trio")):
    """Return tests of the connections of some APIs, all by default."""
    return {f"{api}/test_connection.py::test_{test}" for api in apis for test in tests}


def _without_asyncio(*tests):
    """Return tests of the connections of threads and trio."""
    return {test for test in _connection(*tests) if not test.startswith("asyncio/")}


def _both(*tests):
    """Return tests of the servers and the clients of all three APIs."""
    sides = ("server", "client")
    return {
        f"{api}/test_{side}.py::test_{test}" for api in ("asyncio", "sync", "trio") for side in sides for test in tests
    }


#: Differences that docs/asyncio.md, docs/sync.md and docs/trio.md list, by name.
DOCUMENTED = {
    "send and a full transport": _connection("send_while_send_async_blocked", "send_while_send_blocked"),
    "errors in debug logs": {
        "sync/test_server.py::test_junk_handshake_request",
        "sync/test_server.py::test_timeout_before_handshake_request",
        "trio/test_server.py::test_junk_handshake_request",
        "trio/test_server.py::test_timeout_before_handshake_request",
    },
    "no common subprotocol": _both("subprotocol_requires_match"),
    "a request that is no HTTP": {"asyncio/test_server.py::test_junk_handshake_request"},
    "local_address and remote_address": _connection("local_address", "remote_address", apis=("sync",)),
    "open_timeout with a SOCKS proxy that is silent": {"sync/test_client.py::test_socks_proxy_connection_timeout"},
    "an argument of another type": {"trio/test_client.py::test_proxy_ssl_without_https_proxy"},
}

#: Tests of what is internal to websockets, by what they use.
INTERNALS = {
    "the task or thread that sends pings": _connection(
        "disable_keepalive",
        "keepalive_reports_errors",
        "keepalive_terminates_when_sending_ping_fails",
        "keepalive_terminates_while_sleeping",
    )
    | _connection("keepalive_terminates_while_waiting_for_pong", apis=("asyncio", "sync")),
    "recv_messages, the queue": _connection("backpressure"),
    "a Connection without a transport": _connection(
        "close_timeout", "max_queue", "max_queue_none", "max_queue_tuple", "write_limit", "write_limits"
    ),
    "a Connection on a stream of the test": _connection("local_address", "remote_address", apis=("trio",)),
    "methods of Protocol that are replaced": _connection(
        "unexpected_failure_in_data_received",
        "unexpected_failure_in_recv_events",
        "unexpected_failure_in_send_context",
    ),
    "the transport or socket below, that a test breaks": _connection(
        "broadcast_reports_connection_failing_to_send",
        "broadcast_skips_connection_failing_to_send",
        "writing_in_data_received_fails",
        "writing_in_recv_events_fails",
        "writing_in_send_context_fails",
    ),
    "the order of trio's tasks after the opening handshake": {"trio/test_client.py::test_cross_origin_redirect"},
    "names that were deprecated before version 14": _both("ssl_context_argument", "web_socket_server_class"),
    "Server.SHUTDOWN_POLLING_INTERVAL": _both("shutdown_keeps_handlers_running"),
    "Server.socket_closed and Connection.close_socket": {
        "sync/test_server.py::test_connection_closed_before_handshake_response_sync",
        "sync/test_server.py::test_context_manager_closes_server",
    },
    "close_timeout of an open connection, which a test changes": {
        "sync/test_connection.py::test_close_idempotency_race_condition",
    },
}

#: Tests of version 17.0 that fail with websockets 17.4, by what has changed since.
PEER = {
    "close before the handshake is over": {"sync/test_connection.py::test_close_expected_during_connecting"},
    "redirects of the client of threads": {
        f"sync/test_router.py::test_{test}"
        for test in ("force_redirect_server_name", "force_secure_redirect", "redirect", "secure_redirect")
    },
    "user names and passwords in URIs are decoded": {
        "test_uri.py::test_parse_user_info",
        "test_uri.py::test_parse_valid_uris",
    },
}

KNOWN = {"documented": DOCUMENTED, "internals": INTERNALS, "peer": PEER}
