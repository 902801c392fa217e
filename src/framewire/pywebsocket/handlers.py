"""`Handlers`: the handler files of a directory, by resource."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .exceptions import DispatchException
from .request import HandlerRequest

__all__ = ["Handlers", "Suite"]

logger = logging.getLogger("framewire.pywebsocket")

_SUFFIX: Final = "_wsh.py"


def _close_normally(request: HandlerRequest) -> tuple[int | None, str]:
    return 1000, ""


@dataclass(frozen=True)
class Suite:
    """The functions of one handler file."""

    do_extra_handshake: Callable[[HandlerRequest], object]
    transfer_data: Callable[[HandlerRequest], object]
    passive_closing_handshake: Callable[[HandlerRequest], tuple[int | None, str]] = _close_normally


class Handlers:
    """The handlers below a directory: `DIR/a/b_wsh.py` serves the resource `/a/b`.

    A file that cannot be loaded, or lacks a required function, is skipped with a warning.

    Args:
        root: The directory of the handlers.
        scan_dir: A directory in `root`; only handlers below it are loaded.
        outside: Whether to load files whose real path is outside of `root`.
        encoding: The encoding of the files; None: that of the locale.

    Raises:
        DispatchException: `scan_dir` is not in `root`.
    """

    def __init__(
        self, root: Path, scan_dir: Path | None = None, outside: bool = False, encoding: str | None = None
    ) -> None:
        self._suites: dict[str, Suite] = {}
        root = root.resolve()
        scanned = (scan_dir or root).resolve()
        if not scanned.is_relative_to(root):
            raise DispatchException(f"the scanned directory {scanned} is not in {root}")
        for path in _find_files(scanned):
            if not outside and not path.resolve().is_relative_to(root):
                logger.info("%s is left out: it leads outside of %s", path, root)
                continue
            try:
                suite = _load(path, encoding)
            except DispatchException as error:
                logger.warning("%s is left out: %s", path, error)
            else:
                self._suites["/" + path.relative_to(root).as_posix().removesuffix(_SUFFIX)] = suite

    def add_alias(self, alias: str, resource: str) -> None:
        """Serve `alias` with the handler of `resource`. DispatchException if that has none."""
        if resource not in self._suites:
            raise DispatchException(f"there is no handler for {resource}")
        self._suites[alias] = self._suites[resource]

    def add_aliases(self, path: Path) -> None:
        """Read aliases from a file.

        Args:
            path: A file whose lines are an alias and a resource, or a comment that begins with "#".
        """
        for number, line in enumerate(path.read_text().splitlines(), 1):
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            if len(words) != 2:
                logger.warning("%s, line %d is left out: it is not an alias and a resource", path, number)
                continue
            try:
                self.add_alias(*words)
            except DispatchException as error:
                logger.warning("%s, line %d is left out: %s", path, number, error)

    @property
    def resources(self) -> list[str]:
        """The resources that have a handler, sorted."""
        return sorted(self._suites)

    def find(self, target: str) -> Suite | None:
        """Return the handler of a request target, or None; its query is ignored.

        Raises:
            DispatchException: With status 400, if the target has a fragment.
        """
        resource, _, fragment = target.partition("#")
        suite = self._suites.get(resource.partition("?")[0])
        if suite is not None and fragment:
            raise DispatchException("a fragment has no meaning in a WebSocket URI", 400)
        return suite


def _find_files(directory: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(directory):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names) if name.endswith(_SUFFIX))


def _load(path: Path, encoding: str | None) -> Suite:
    names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        exec(compile(path.read_text(encoding=encoding), path, "exec"), names)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        how = "pip install framewire[pywebsocket]" if package == "six" else f"install the package that has {package}"
        raise DispatchException(f"it imports {error.name}, which is not installed: {how}") from error
    except Exception as error:
        raise DispatchException(f"it cannot be loaded: {type(error).__name__}: {error}") from error
    functions = {}
    for name in ("do_extra_handshake", "transfer_data", "passive_closing_handshake"):
        function = names.get(f"web_socket_{name}")
        if callable(function):
            functions[name] = function
        elif name != "passive_closing_handshake":
            raise DispatchException(f"web_socket_{name} is not a function of it")
    return Suite(**functions)
