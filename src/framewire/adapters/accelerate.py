"""Speeds up the WebSocket libraries that are installed, in place and without a change to what they do.

    accelerate() ─ library imported? ─▶ version tested? ─▶ changes() ─ self-test ─▶ switched over
                   └─ not yet: the same when it is

The module of each library's name says what it replaces: it imports the library, compares its replacements with the
originals on sample data, and gives back a list of `Change`. Whatever is unexpected leaves the library as it was.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final, NamedTuple

from .._backend import backend

__all__ = ["LIBRARIES", "Acceleration", "Change", "Library", "Mismatch", "Outcome", "accelerate", "expect_same"]

logger = logging.getLogger("framewire.adapters")


class Library(NamedTuple):
    """A library that can be accelerated.

    `seam` is the module whose import is the time to do it, `adapter` the module beside this one that does. `since` and
    `before` bound the tested versions. `compiled` says that it takes the compiled backend to be any faster.
    """

    seam: str
    adapter: str
    since: tuple[int, ...]
    before: tuple[int, ...]
    compiled: bool


#: By the name on the package index.
LIBRARIES: Final = {
    "websockets": Library("websockets.protocol", "websockets", (16,), (18,), True),
    "wsproto": Library("wsproto.connection", "wsproto", (1, 3), (1, 4), True),
    "websocket-client": Library("websocket._abnf", "websocket_client", (1, 6), (1, 10), False),
    "gevent-websocket": Library("geventwebsocket.websocket", "gevent_websocket", (0, 10), (0, 11), False),
    "autobahn": Library("autobahn.websocket.protocol", "autobahn", (24,), (27,), True),
    "gunicorn": Library("gunicorn.asgi.websocket", "gunicorn", (25,), (28,), False),
}


class Mismatch(Exception):  # noqa: N818 - never leaves this package: it becomes the detail of an outcome
    """A replacement does not do what the original does."""


class Change(NamedTuple):
    """The attribute `name` of a module or class `owner` becomes `new`."""

    owner: Any
    name: str
    new: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one library. `state` is "active", "waiting" (for its import), "left alone" or "not installed"."""

    library: str
    version: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.library} {self.version}: ".replace(" :", ":") + " ".join(filter(None, (self.state, self.detail)))


def expect_same(name: str, original: Any, replacement: Any, *samples: Sequence[Any]) -> None:
    """Calls both with the arguments of each sample; raises Mismatch unless they return, or raise, the same."""
    for arguments in samples:
        if _outcome_of(original, arguments) != _outcome_of(replacement, arguments):
            raise Mismatch(f"the replacement of {name} differs from the original")


def _outcome_of(function: Any, arguments: Sequence[Any]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


_lock: Final = RLock()
_outcomes: Final[dict[str, Outcome]] = {}
_replaced: Final[dict[str, list[tuple[Change, Any]]]] = {}  # with the original


def accelerate(*libraries: str) -> Acceleration:
    """Speeds up `libraries`, by their names on the package index; all of `LIBRARIES` without arguments.

    A library that is already imported is switched over at once, another one as soon as it is imported; connections that
    are open keep what they began with. One that is not installed, has a version outside the tested range or fails the
    self-test is left alone, with a line in the log `framewire.adapters`. Calling it again changes nothing.

    Raises ValueError for a name that is not in `LIBRARIES`.
    """
    if unknown := set(libraries) - LIBRARIES.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: none of {', '.join(LIBRARIES)}")
    names = libraries or tuple(LIBRARIES)
    with _lock:
        for name in names:
            if name not in _outcomes or _outcomes[name].state not in ("active", "waiting"):
                _outcomes[name] = _examine(name)
    return Acceleration(names)


class Acceleration:
    """What `accelerate` has done, and what it does later, when a library is imported. `str()` is the report."""

    def __init__(self, libraries: Sequence[str]) -> None:
        self._libraries = libraries

    def __iter__(self) -> Iterator[Outcome]:
        """One `Outcome` for each library, as it stands now."""
        return iter([_outcomes[name] for name in self._libraries])

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def undo(self) -> None:
        """Puts the originals back, for connections to come. What somebody else has replaced since then stays."""
        with _lock:
            for name in self._libraries:
                _watcher.seams.pop(LIBRARIES[name].seam, None)
                for change, original in reversed(_replaced.pop(name, [])):
                    if _current(change) is change.new:
                        setattr(change.owner, change.name, original)
                    else:
                        logger.warning("%s: %s was replaced by somebody else since; it stays", name, change.name)
                _outcomes[name] = Outcome(name, _outcomes[name].version, "left alone", "(undone)")


def _examine(name: str) -> Outcome:
    """Switches the library over if it is imported, lets it be watched for if it is not."""
    library = LIBRARIES[name]
    installed = installed_version(name)
    if installed is None:
        return Outcome(name, "", "not installed")
    number = tuple(int(digits) for digits in re.findall(r"\d+", installed))
    if not library.since <= number < library.before:
        since, before = (".".join(map(str, bound)) for bound in (library.since, library.before))
        return _left_alone(name, installed, f"its version is not one from {since} to before {before}")
    if library.compiled and backend().name == "pure":
        return _left_alone(name, installed, "only the compiled backend makes it faster")
    if library.seam in sys.modules:
        return _switch_over(name, installed)
    _watcher.seams[library.seam] = name
    if _watcher not in sys.meta_path:
        sys.meta_path.insert(0, _watcher)
    return Outcome(name, installed, "waiting", "for its import")


def installed_version(name: str) -> str | None:
    """The version of a distribution, None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and `import framewire` imports this

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _switch_over(name: str, installed: str) -> Outcome:
    try:
        adapter = import_module(f"{__package__}.{LIBRARIES[name].adapter}")
        changes: list[Change] = adapter.changes()
        originals = [(change, _current(change)) for change in changes]
    except Exception as error:
        return _left_alone(name, installed, f"{type(error).__name__}: {error}")
    for change in changes:
        setattr(change.owner, change.name, change.new)
    _replaced[name] = originals
    what = ", ".join(f"{change.owner.__name__}.{change.name}" for change in changes)
    logger.info("%s %s is accelerated: %s", name, installed, what)
    return Outcome(name, installed, "active", f"({what})")


def _current(change: Change) -> Any:
    """The attribute as it lies in its owner, static methods unbound."""
    return vars(change.owner)[change.name]


def _left_alone(name: str, installed: str, why: str) -> Outcome:
    logger.warning("%s %s is left alone: %s", name, installed, why)
    return Outcome(name, installed, "left alone", f"({why})")


class _Watcher(MetaPathFinder):
    """Sees modules being imported, and switches a library over right behind its seam."""

    def __init__(self) -> None:
        self.seams: dict[str, str] = {}

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        name = self.seams.pop(fullname, None)
        if name is None:
            return None
        spec = find_spec(fullname)  # asks the others, as this seam is no longer watched
        loader: Any = spec.loader if spec is not None else None
        if loader is None:
            return spec
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            with _lock:
                if _outcomes[name].state == "waiting":
                    _outcomes[name] = _switch_over(name, _outcomes[name].version)

        loader.exec_module = exec_module
        return spec


_watcher: Final = _Watcher()
