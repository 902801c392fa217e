"""`ServerOptions` and `BaseServer`: the arguments of `serve`, and the rules of every server."""

import logging
import socket
from types import SimpleNamespace

import pytest

from framewire import State
from framewire.errors import CloseCodeError, ConnectionClosedOK, PayloadTooBigError
from framewire.protocol.record import check_switch
from framewire.session.arguments import check_absent, check_all_used
from framewire.session.base_server import BaseServer, ServerOptions, handler_failed, remove_socket
from framewire.session.settings import REFUSED

pytestmark = pytest.mark.both_backends

DEFAULTS = dict.fromkeys(
    [
        "compression", "create_connection", "extensions", "head_limits", "logger", "max_connections", "origins", "port",
        "process_request", "process_response", "select_subprotocol", "server_header", "ssl", "subprotocols",
        "trusted_proxies",
    ]
)  # fmt: skip


def options(**arguments):
    return ServerOptions({"handler": print, **DEFAULTS, **arguments}, object)


def test_options_have_the_arguments_and_the_defaults():
    given = options(open_timeout=3, subprotocols=["chat"], process_request=print)
    assert (given.handler, given.settings.open_timeout, given.settings.close_timeout) == (print, 3, 10)
    assert (given.policy.subprotocols, given.process_request, given.process_response) == (("chat",), print, None)
    assert given.create_connection is object
    assert options(create_connection=dict).create_connection is dict
    assert given.logger.name == "framewire.server"
    logger = logging.getLogger("chat")
    assert options(logger=logger).logger is logger


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"ssl": True}, TypeError),
        ({"process_request": 1}, TypeError),
        ({"process_response": 1}, TypeError),
        ({"create_connection": 1}, TypeError),
        ({"logger": "chat"}, TypeError),
        ({"max_connections": -1}, ValueError),
        ({"ping_interval": -1}, ValueError),
        ({"port": -1}, ValueError),
        ({"port": 65536}, ValueError),
        ({"subprotocols": ["not a token"]}, ValueError),
    ],
)
def test_invalid_options_are_rejected(arguments, error):
    with pytest.raises(error, match=rf"\b{next(iter(arguments)).replace('subprotocols', 'subprotocol')}\b"):
        options(**arguments)


@pytest.mark.parametrize("port", [0, 65535])
def test_every_port_is_accepted(port):
    assert options(port=port).settings == options().settings


def test_server_has_the_options():
    given = options(process_request=print, process_response=repr)
    server = BaseServer(given)
    assert (server.process_request, server.process_response) == (print, repr)


def test_server_counts_its_places():
    server = BaseServer(options(max_connections=2))
    assert [server.is_full(number) for number in (0, 1, 2)] == [False, False, True]
    assert [server.may_refuse(number) for number in (0, REFUSED - 1, REFUSED)] == [True, True, False]
    assert not BaseServer(options()).is_full(1 << 20)
    assert BaseServer(options(max_connections=100)).may_refuse(99)


class Connection:
    def __init__(self, state):
        self.state = state


def test_connections_of_a_server_are_those_that_are_open():
    server = BaseServer(options())
    server._everyone = [Connection(state) for state in (State.CONNECTING, State.OPEN, State.CLOSED)]
    assert server.connections == {server._everyone[1]}


def test_server_logs_its_sockets_and_the_first_call_that_closes_it(caplog):
    caplog.set_level(logging.INFO, "framewire.server")
    server = BaseServer(options())
    server.log_sockets([SimpleNamespace(getsockname=lambda: ("127.0.0.1", 80))])
    for first in (True, False):
        assert (server.closing, server.begin_closing(1001, "")) == (not first, first)
        assert caplog.messages == ["server listening on 127.0.0.1:80", "server closing"]


@pytest.mark.parametrize(
    ("code", "reason", "error"), [(1006, "", CloseCodeError), (1001, "x" * 124, PayloadTooBigError)]
)
def test_server_is_not_closed_with_an_invalid_code_or_reason(code, reason, error):
    server = BaseServer(options())
    with pytest.raises(error):
        server.begin_closing(code, reason)
    assert not server.closing


class GroupError(Exception):  # as ExceptionGroup, which Python 3.10 lacks
    def __init__(self, *exceptions):
        self.exceptions = exceptions


CLOSED = ConnectionClosedOK(None, None, None)


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (CLOSED, State.CLOSED, 1000),
        (CLOSED, State.CLOSING, 1000),
        (CLOSED, State.OPEN, 1011),
        (GroupError(CLOSED, GroupError(CLOSED)), State.CLOSED, 1000),
        (GroupError(CLOSED, GroupError(CLOSED)), State.OPEN, 1011),
        (GroupError(CLOSED, ValueError()), State.CLOSED, 1011),
        (ValueError(), State.CLOSED, 1011),
    ],
)
def test_error_of_a_handler_decides_on_the_close_code(error, state, code, caplog):
    connection = SimpleNamespace(logger=logging.getLogger("framewire.server"), state=state)
    assert handler_failed(connection, error) == code
    assert caplog.messages == ["connection handler failed"] * (code == 1011)


def test_handler_that_is_an_ordinary_function_is_a_type_error():
    with pytest.raises(TypeError, match="define it with async def"):
        BaseServer(options(handler=lambda connection: None)).run_handler(None)


def test_handler_may_return_any_awaitable():
    class Running:
        def __await__(self):
            yield

    running = Running()
    assert BaseServer(options(handler=lambda connection: running)).run_handler(None) is running


def test_arguments_that_exclude_each_other_are_rejected():
    check_absent("sock", host=None, port=None)
    with pytest.raises(ValueError, match="port is incompatible with sock"):
        check_absent("sock", host=None, port=0)
    check_all_used({}, "sock")
    with pytest.raises(TypeError, match="unexpected keyword argument 'port' with sock"):
        check_all_used({"port": None}, "sock")


def test_switch_is_true_or_false():
    check_switch("x", True)
    with pytest.raises(TypeError, match="^x is True or False, not int"):
        check_switch("x", 1)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the system has no Unix sockets")
def test_only_a_socket_is_removed(tmp_path):
    remove_socket(tmp_path / "missing")
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
    for path in (tmp_path / "file", tmp_path / "socket"):
        remove_socket(path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
