"""Names, parameters and defaults of `websockets`: what is valid for its API is valid for ours."""

import importlib
import inspect
from importlib.metadata import version

import pytest

import framewire.sync

if not version("websockets").startswith("17."):
    pytest.skip("the names are those of websockets 17, which needs Python 3.11", allow_module_level=True)

APIS = ["asyncio", "sync", "trio"]
MODULES = ["client", "connection", "router", "server"]

#: Parameters with other defaults; docs/asyncio.md has the table of differences.
DIFFERENT = {
    "serve": {"origins", "server_header"},
    "connect": {"user_agent_header", "process_exception", "reconnect_delays"},
    "reconnect": {"user_agent_header", "process_exception", "reconnect_delays"},
    ("sync", "connect"): {"user_agent_header"},  # it opens one connection, so it has no delays
}

#: Classes whose objects programs receive; their constructors are not part of the API.
MADE_BY_LIBRARY = {"ClientConnection", "Connection", "Server", "ServerConnection"}

#: Methods and attributes that are public for subclasses and transports, not for programs.
INTERNAL = {
    "SHUTDOWN_POLLING_INTERVAL", "acknowledge_pending_pings", "acknowledge_pings", "close_exc", "close_socket",
    "close_stream", "connection_lost", "connection_made", "data_received", "drain", "enable_tls", "eof_received",
    "handshake", "keepalive", "maybe_raise_legacy_warning", "open_connection", "open_socket", "open_tcp_connection",
    "open_tcp_stream", "pause_reading", "pause_writing", "process_event", "process_redirect", "recv_bufsize",
    "recv_events", "resume_reading", "resume_writing", "send_context", "send_data", "set_connection_exc",
    "start_keepalive", "terminate_pending_pings",
}  # fmt: skip

#: `connect.connect` of websockets opens TCP; ours is awaited or entered.
INTERNAL_OF_CONNECT = {"connect"}


def load(api, module):
    return importlib.import_module(f"websockets.{api}.{module}"), importlib.import_module(f"framewire.{api}.{module}")


def names_of(kind):
    """Return the public names of websockets of which `kind` is true, each with its API and module."""
    found = []
    for api in APIS:
        for module in MODULES:
            theirs, _ = load(api, module)
            for name in theirs.__all__:
                if kind(getattr(theirs, name)):
                    found.append(pytest.param(api, module, name, id=f"{api}.{module}.{name}"))
    return found


def parameters(function):
    return inspect.signature(function).parameters


def is_variable(parameter):
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def positional(function):
    return [name for name, each in parameters(function).items() if each.kind <= each.POSITIONAL_OR_KEYWORD]


def find_differences(theirs, ours):
    """Return the parameters because of which a call that is valid for `theirs` differs for `ours`.

    `ours` may take more parameters, and by position what `theirs` takes by keyword only.
    """
    expected, found = parameters(theirs), parameters(ours)
    different = set()
    for name, each in expected.items():
        same = name in found and found[name].default == each.default and is_variable(found[name]) == is_variable(each)
        if not same:
            different.add(name)
    for name in found.keys() - expected.keys():
        if found[name].default is inspect.Parameter.empty and not is_variable(found[name]):
            different.add(name)  # required
    if positional(ours)[: len(positional(theirs))] != positional(theirs):
        different.add("positional")
    return different


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("api", APIS)
def test_module_has_the_public_names_of_websockets(api, module):
    theirs, ours = load(api, module)
    assert set(theirs.__all__) <= set(ours.__all__)
    assert all(hasattr(ours, name) for name in theirs.__all__)


@pytest.mark.parametrize(
    ("api", "module", "name"),
    [each for each in names_of(callable) if each.values[2] not in MADE_BY_LIBRARY],
)
def test_parameters_and_defaults_are_those_of_websockets(api, module, name):
    theirs, ours = load(api, module)
    allowed = DIFFERENT.get((api, name), DIFFERENT.get(name, set()))
    assert find_differences(getattr(theirs, name), getattr(ours, name)) == allowed


@pytest.mark.parametrize(("api", "module", "name"), names_of(inspect.isclass))
def test_attributes_and_parameters_of_methods_are_those_of_websockets(api, module, name):
    theirs, ours = (getattr(each, name) for each in load(api, module))
    internal = INTERNAL | INTERNAL_OF_CONNECT if name == "connect" else INTERNAL
    for each in dir(theirs):
        if each.startswith("_") or each in internal:
            continue
        assert hasattr(ours, each), each
        method = getattr(theirs, each)
        if inspect.isfunction(method):
            assert not find_differences(method, getattr(ours, each)), each
            if each != "handler":  # of a router: ours is one for all APIs, and returns an awaitable
                assert inspect.iscoroutinefunction(method) == inspect.iscoroutinefunction(getattr(ours, each)), each


@pytest.mark.parametrize(
    ("ours", "difference"),
    [
        ("def f(a, b=1, *, c=2): ...", set()),
        ("def f(a, b=1, c=2, d=3, **more): ...", set()),
        ("def f(a, b=1): ...", {"c"}),
        ("def f(a, b=2, *, c=2): ...", {"b"}),
        ("def f(b=1, a=2, *, c=2): ...", {"a", "positional"}),
        ("def f(a, *, b=1, c=2): ...", {"positional"}),
        ("def f(a, b=1, *, c=2, d): ...", {"d"}),
        ("def f(a, b=1, *c): ...", {"c"}),
    ],
)
def test_comparison_finds_each_kind_of_difference(ours, difference):
    namespace = {}
    exec(ours, namespace)
    assert find_differences(lambda a, b=1, *, c=2: None, namespace["f"]) == difference


def test_sync_connect_has_the_options_of_reconnect():
    connect, reconnect = (
        {name: each.default for name, each in parameters(function).items()}
        for function in (framewire.sync.connect, framewire.sync.reconnect)
    )
    assert connect.pop("legacy") is None
    for name in ("process_exception", "reconnect_delays"):
        del reconnect[name]
    assert connect == reconnect
