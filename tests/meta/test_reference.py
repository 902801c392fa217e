"""The pages in docs/api document every public name.

A name is documented by a directive of mkdocstrings, `::: framewire.Stream` for example: under its own
name or, for a class or function, under that of another module.
"""

import inspect
import pkgutil
import re
from importlib import import_module

import pytest
from documents import ROOT

import framewire

#: A directive: its name, and its options.
DIRECTIVE = re.compile(r"^::: (\S+)\n((?:    .*\n?)*)", re.MULTILINE)
MEMBERS = re.compile(r"^ +members: *(?:\[([^\]]*)\]|((?:\n +- \w+)+)|(false))", re.MULTILINE)
#: Packages that users do not import, but for `framewire.adapters.uvicorn`, and handlers of pywebsocket.
INTERNAL = {"adapters", "cli", "http", "pywebsocket", "session"}
#: Where the constants and types of a module are documented, if not there.
SOURCES = {
    "framewire": ["framewire.typing", "framewire.version", "framewire.datastructures", "framewire.extensions"],
    "framewire.handshake": ["framewire.typing"],
    "framewire.protocol": ["framewire"],
    "framewire.sync": ["framewire.asyncio"],
    "framewire.trio": ["framewire.asyncio"],
}
#: Members that users look for where they have a connection.
INHERITED = {"recv", "send", "ping", "close_code", "close_reason", "latency", "remote_address", "request", "state"}


def public_modules():
    """Return the modules that users import."""
    names = [module.name for module in pkgutil.iter_modules(framewire.__path__)]
    names = [name for name in names if not name.startswith("_") and name not in INTERNAL]
    names += ["adapters.uvicorn", *(f"testing.{name}" for name in ("asgi", "asyncio", "fixtures", "sync", "trio"))]
    return [framewire, *(import_module(f"framewire.{name}") for name in names)]


def documented():
    """Yield (name, options) of each documented name; the members of a module are names of their own."""
    for page in sorted((ROOT / "docs/api").glob("*.md")):
        for name, options in DIRECTIVE.findall(page.read_text()):
            target = pkgutil.resolve_name(name)
            if not inspect.ismodule(target):
                yield name, options
                continue
            listed = MEMBERS.search(options)
            members = re.findall(r"\w+", listed[1] or listed[2]) if listed else target.__all__
            yield from ((f"{name}.{member}", options) for member in members)


NAMES = dict(documented())
#: Names with a directive of their own.
DIRECT = {name for page in (ROOT / "docs/api").glob("*.md") for name, _ in DIRECTIVE.findall(page.read_text())}


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module):
    objects = {id(pkgutil.resolve_name(name)) for name in NAMES}
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        defined = inspect.isclass(value) or inspect.isroutine(value)
        if not (defined and id(value) in objects) and not any(
            f"{source}.{name}" in NAMES for source in (module.__name__, *SOURCES.get(module.__name__, ()))
        ):
            missing.append(name)
    assert missing == []


def test_every_documented_class_and_function_has_a_docstring():
    values = {name: pkgutil.resolve_name(name) for name in NAMES}
    assert [name for name, value in values.items() if inspect.isroutine(value) and not value.__doc__] == []
    assert [name for name, value in values.items() if inspect.isclass(value) and not value.__doc__] == []


@pytest.mark.parametrize("api", ["asyncio", "sync", "trio"])
@pytest.mark.parametrize("connection", ["ServerConnection", "ClientConnection"])
def test_connections_show_their_inherited_members(api, connection):
    name = f"framewire.{api}.{connection}"
    assert "inherited_members: true" in NAMES[name]
    assert {*dir(pkgutil.resolve_name(name)), "request"} >= INHERITED


def test_stream_shows_its_inherited_members():
    assert "inherited_members: true" in NAMES["framewire.Stream"]


def routines():
    """Return the documented functions and methods with parameters, by name."""
    hidden = "|".join(re.findall(r'- "!(.*)"', (ROOT / "mkdocs.yml").read_text()))
    found = {}
    for name, options in NAMES.items():
        target = pkgutil.resolve_name(name)
        if not inspect.isclass(target):
            found[name] = target
        elif "members: false" not in options and target.__module__.startswith("framewire."):
            listed = MEMBERS.search(options)
            members = re.findall(r"\w+", listed[1] or "") if listed and name in DIRECT else None
            for member in members or (dir(target) if "inherited_members: true" in options else vars(target)):
                value = inspect.getattr_static(target, member)
                if not member.startswith("_") and (member in (members or ()) or not re.search(hidden, member)):
                    found[f"{name}.{member}"] = getattr(value, "__func__", value)
    return {
        name: value
        for name, value in found.items()
        if inspect.isfunction(value) and {*inspect.signature(value).parameters} - {"self", "cls"}
    }


def test_parameters_have_a_table():
    assert [name for name, value in routines().items() if "Args:" not in (value.__doc__ or "")] == []


@pytest.mark.parametrize(
    "name", sorted(name for name in NAMES if re.search(r"\.(serve|connect|PerMessageDeflate)$", name))
)
def test_parameters_are_described_one_by_one(name):
    """Or the text refers to the function that describes them."""
    target = pkgutil.resolve_name(name)
    text = inspect.getdoc(target)
    parameters = set(inspect.signature(target).parameters) - {"kwargs", "options", "args"}
    described = set(re.findall(r"^ {4}\*{0,2}(\w+):", text, re.MULTILINE))
    assert described
    if not re.search(r"As for `|See `reconnect`", text):
        assert parameters - described == set()
