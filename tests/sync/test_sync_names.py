"""The names, parameters and defaults of `websockets.sync`: only what docs/sync.md tells differs."""

import inspect
from importlib.metadata import version

import pytest
import websockets.sync.client
import websockets.sync.server

import framewire.sync.client
import framewire.sync.server

#: That version needs Python 3.11; others have other names.
of_version_17 = pytest.mark.skipif(
    not version("websockets").startswith("17."), reason="the names are those of websockets 17"
)

#: Parameters whose defaults differ.
DIFFERENT = {
    "serve": {"origins", "server_header"},
    "connect": {"user_agent_header"},
    "reconnect": {"user_agent_header", "process_exception", "reconnect_delays"},
}

#: Methods that are public for subclasses in websockets, and constants.
INTERNAL = {
    "SHUTDOWN_POLLING_INTERVAL", "acknowledge_pings", "close_exc", "close_socket", "enable_tls", "handshake",
    "keepalive", "maybe_raise_legacy_warning", "open_connection", "open_socket", "process_event", "process_redirect",
    "recv_bufsize", "recv_events", "send_context", "send_data", "set_connection_exc", "start_keepalive",
    "terminate_pending_pings",
}  # fmt: skip


def parameters(function):
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


def modules(name):
    module = "client" if "connect" in name or name.startswith("Client") else "server"
    return getattr(websockets.sync, module), getattr(framewire.sync, module)


@of_version_17
@pytest.mark.parametrize("module", ["client", "server"])
def test_sync_modules_have_the_names_of_websockets(module):
    theirs, ours = getattr(websockets.sync, module), getattr(framewire.sync, module)
    assert set(theirs.__all__) <= set(ours.__all__)


@of_version_17
@pytest.mark.parametrize(
    "name",
    ["serve", "unix_serve", "basic_auth", "broadcast", "connect", "unix_connect", "reconnect", "unix_reconnect"],
)
def test_sync_parameters_and_defaults_match_websockets(name):
    module_of_theirs, module_of_ours = modules(name)
    theirs, ours = parameters(getattr(module_of_theirs, name)), parameters(getattr(module_of_ours, name))
    assert {each for each in theirs if ours.get(each, "missing") != theirs[each]} == DIFFERENT.get(name, set())
    positional = [
        [each.name for each in inspect.signature(getattr(module, name)).parameters.values() if each.kind < 2]
        for module in (module_of_theirs, module_of_ours)
    ]
    assert positional[0] == positional[1]


@of_version_17
@pytest.mark.parametrize("name", ["Server", "ServerConnection", "ClientConnection", "reconnect"])
def test_sync_methods_and_their_parameters_match_websockets(name):
    module_of_theirs, module_of_ours = modules(name)
    theirs, ours = getattr(module_of_theirs, name), getattr(module_of_ours, name)
    for each in dir(theirs):
        if each.startswith("_") or each in INTERNAL:
            continue
        assert hasattr(ours, each), each
        if inspect.isfunction(getattr(theirs, each)):
            assert list(parameters(getattr(theirs, each)).items()) == list(parameters(getattr(ours, each)).items()), (
                each
            )


def test_sync_connect_has_the_options_of_reconnect():
    connect, reconnect = parameters(framewire.sync.connect), parameters(framewire.sync.reconnect)
    assert connect.pop("legacy") is None
    for name in ("process_exception", "reconnect_delays"):
        del reconnect[name]
    assert connect == reconnect
