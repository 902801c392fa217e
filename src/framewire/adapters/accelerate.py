"""Replace slow parts of installed WebSocket libraries at run time, with identical behaviour.

    accelerate() ─▶ tested version? ─▶ imported? ─▶ self-test ─▶ replace attributes
                                       └─ not yet: the same after its import

For each library, the adapter module of its name imports the library, compares the replacements with
the originals on sample data, and returns a list of `Replacement`. Any exception there leaves the
library unchanged.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from threading import RLock
from types import ModuleType
from typing import Any, Final, NamedTuple, cast

from .._backend import backend

__all__ = [
    "LIBRARIES", "Acceleration", "Library", "Mismatch", "Outcome", "Replacement", "accelerate", "accelerate_process",
    "expect_same",
]  # fmt: skip

logger = logging.getLogger("framewire.adapters")


class Library(NamedTuple):
    """A library that can be accelerated.

    Attributes:
        trigger: The module after whose import the library is accelerated.
        adapter: The adapter module in this package.
        min_version: The lowest tested version.
        max_version: The lowest version above the tested ones.
        needs_compiled: Whether only the compiled backend is faster than the original.
    """

    trigger: str
    adapter: str
    min_version: tuple[int, ...]
    max_version: tuple[int, ...]
    needs_compiled: bool


#: The supported libraries, by distribution name.
LIBRARIES: Final = {
    "websockets": Library("websockets.protocol", "websockets", (16,), (18,), True),
    "wsproto": Library("wsproto.connection", "wsproto", (1, 3), (1, 4), True),
    "websocket-client": Library("websocket._abnf", "websocket_client", (1, 6), (1, 10), False),
    "gevent-websocket": Library("geventwebsocket.websocket", "gevent_websocket", (0, 10), (0, 11), False),
    "autobahn": Library("autobahn.websocket.protocol", "autobahn", (24,), (27,), True),
    "gunicorn": Library("gunicorn.asgi.websocket", "gunicorn", (25,), (28,), False),
    "tornado": Library("tornado.websocket", "tornado", (6, 5), (6, 7), True),
}


class Mismatch(Exception):  # noqa: N818 - internal: becomes the `detail` of an `Outcome`
    """A replacement behaves differently from the original."""


class Replacement(NamedTuple):
    """A new value for an attribute.

    Attributes:
        owner: The module or class.
        name: The name of the attribute.
        new: The new value.
    """

    owner: Any
    name: str
    new: Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of `accelerate` for one library.

    Attributes:
        library: The distribution name.
        version: The installed version, or "".
        state: "active", "waiting" (for its import), "left alone" or "not installed".
        detail: The replaced attributes, or the reason for the state.
    """

    library: str
    version: str
    state: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.library} {self.version}: ".replace(" :", ":") + " ".join(filter(None, (self.state, self.detail)))


def expect_same(name: str, original: Any, replacement: Any, *samples: Sequence[Any]) -> None:
    """Call two functions with the same arguments and compare their results and exceptions.

    Args:
        name: The name of the original, for the error message.
        original: The original function.
        replacement: Its replacement.
        *samples: The arguments of each call.

    Raises:
        Mismatch: If a result, or the type or text of an exception, differs.
    """
    for arguments in samples:
        if _call_outcome(original, arguments) != _call_outcome(replacement, arguments):
            raise Mismatch(f"the replacement of {name} differs from the original")


def _call_outcome(function: Any, arguments: Sequence[Any]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:
        return type(error), str(error)


_lock: Final = RLock()
_outcomes: Final[dict[str, Outcome]] = {}
#: The active replacements of each library, with the original values.
_active: Final[dict[str, list[tuple[Replacement, Any]]]] = {}


def accelerate(*libraries: str) -> Acceleration:
    """Accelerate WebSocket libraries in this process.

    A library that is already imported is accelerated at once, another one after its import. Open
    connections are not affected. A library that is not installed, has an untested version or fails
    the self-test is left alone; once it is imported, the log `framewire.adapters` has a line with
    the reason. A second call has no effect.

    Args:
        *libraries: Distribution names. Default: all in `LIBRARIES`.

    Returns:
        The outcome for each library, which can be undone.

    Raises:
        ValueError: For a name that is not in `LIBRARIES`.
    """
    if unknown := set(libraries) - LIBRARIES.keys():
        raise ValueError(f"{', '.join(sorted(unknown))}: not one of {', '.join(LIBRARIES)}")
    names = libraries or tuple(LIBRARIES)
    with _lock:
        for name in names:
            if name not in _outcomes or _outcomes[name].state not in ("active", "waiting"):
                _outcomes[name] = _accelerate_or_watch(name)
    return Acceleration(names)


def accelerate_process() -> None:
    """Accelerate all libraries in a process of `framewire run`, once; the log goes to standard
    error.

    Without `framewire run`, which sets `FRAMEWIRE_RUN`, this does nothing.
    """
    mode = os.environ.get("FRAMEWIRE_RUN")
    if mode is None or _outcomes:
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("framewire: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False  # else a line more for each handler of the program
    if mode == "verbose":
        logger.setLevel(logging.INFO)
    found = [str(outcome) for outcome in accelerate() if outcome.state != "not installed"]
    command = " ".join(" ".join(sys.orig_argv).split())  # in one line
    logger.info("process %d (%s): %s", os.getpid(), command, "; ".join(found) or "no library installed")


class Acceleration:
    """The outcome of `accelerate`: iterate over it, print it as a report, or undo it."""

    def __init__(self, libraries: Sequence[str]) -> None:
        self._libraries = libraries

    def __iter__(self) -> Iterator[Outcome]:
        """Iterate over the current `Outcome` of each library."""
        return iter([_outcomes[name] for name in self._libraries])

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def undo(self) -> None:
        """Restore the originals for future connections.

        An attribute that other code has replaced in the meantime is left as it is.
        """
        with _lock:
            for name in self._libraries:
                _import_watcher.triggers.pop(LIBRARIES[name].trigger, None)
                for replacement, original in reversed(_active.pop(name, [])):
                    if _current_value(replacement) is replacement.new:
                        setattr(replacement.owner, replacement.name, original)
                    else:
                        logger.warning("%s: other code has replaced %s; it is left as it is", name, replacement.name)
                _outcomes[name] = Outcome(name, _outcomes[name].version, "left alone", "(undone)")


def _accelerate_or_watch(name: str) -> Outcome:
    """Accelerate the library if it is imported, else do so after its import."""
    library = LIBRARIES[name]
    version = installed_version(name)
    if version is None:
        return Outcome(name, "", "not installed")
    numbers = tuple(int(digits) for digits in re.findall(r"\d+", version))
    if not library.min_version <= numbers < library.max_version:
        lowest, limit = (".".join(map(str, bound)) for bound in (library.min_version, library.max_version))
        outcome = _leave_alone(name, version, f"tested versions are {lowest} and later, below {limit}")
    elif library.needs_compiled and backend().name == "pure":
        outcome = _leave_alone(name, version, "only the compiled backend makes it faster")
    else:
        outcome = Outcome(name, version, "waiting", "for its import")
    if library.trigger in sys.modules:
        return _handle_import(outcome)
    _import_watcher.triggers[library.trigger] = name
    if _import_watcher not in sys.meta_path:
        sys.meta_path.insert(0, _import_watcher)
    return outcome


def _handle_import(outcome: Outcome) -> Outcome:
    """Accelerate a library that has been imported, or log why it is left alone."""
    if outcome.state == "waiting":
        outcome = _replace_attributes(outcome.library, outcome.version)
    if outcome.state == "left alone":
        logger.warning("%s %s is left alone: %s", outcome.library, outcome.version, outcome.detail[1:-1])
    return outcome


def installed_version(name: str) -> str | None:
    """Return the version of a library, by its distribution name; None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import

    try:
        return version(name)
    except PackageNotFoundError:
        # It is not installed, or a frozen program has it without metadata. Otherwise nothing is
        # imported, since a module of the program may have the name of the package.
        package = LIBRARIES[name].trigger.partition(".")[0]
        if package not in sys.modules and not (getattr(sys, "frozen", False) and find_spec(package)):
            return None
        module: Any = import_module(package)
        found: str | None = getattr(module, "__version__", None) or getattr(module, "version", None)
        return found


def _replace_attributes(name: str, version: str) -> Outcome:
    try:
        adapter = import_module(f"{__package__}.{LIBRARIES[name].adapter}")
        replacements: list[Replacement] = adapter.replacements()
        originals = [(replacement, _current_value(replacement)) for replacement in replacements]
    except Exception as error:
        return _leave_alone(name, version, f"{type(error).__name__}: {error}")
    for replacement in replacements:
        setattr(replacement.owner, replacement.name, replacement.new)
    _active[name] = originals
    attributes = ", ".join(f"{replacement.owner.__name__}.{replacement.name}" for replacement in replacements)
    logger.info("%s %s is accelerated: %s", name, version, attributes)
    return Outcome(name, version, "active", f"({attributes})")


def _current_value(replacement: Replacement) -> Any:
    """Return the current value of the attribute; of a static method, the `staticmethod` object."""
    return vars(replacement.owner)[replacement.name]


def _leave_alone(name: str, version: str, reason: str) -> Outcome:
    return Outcome(name, version, "left alone", f"({reason})")


class _ImportWatcher(MetaPathFinder):
    """An import hook that accelerates a library right after the import of its trigger module.

    `triggers` maps the names of these modules to the libraries. A trigger stays until its module has
    been imported: its spec may be looked up before, and its import may fail and be repeated.
    """

    def __init__(self) -> None:
        self.triggers: dict[str, str] = {}
        self._searched: set[str] = set()

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in self.triggers or fullname in self._searched:
            return None
        self._searched.add(fullname)
        try:
            spec = find_spec(fullname)  # asks the other finders
        finally:
            self._searched.discard(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = cast(Loader, _TriggerLoader(spec.loader))
        return spec

    def imported(self, fullname: str) -> None:
        """Accelerate the library whose trigger has been imported."""
        with _lock:
            name = self.triggers.pop(fullname, None)
            if name is not None:  # else it was undone meanwhile
                _outcomes[name] = _handle_import(_outcomes[name])


class _TriggerLoader:
    """The loader of a trigger module: that of another finder, which the module gets as its own."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _import_watcher.imported(module.__spec__.name)


_import_watcher: Final = _ImportWatcher()
