"""HTTP responses for resources without a handler: the files below the document root."""

from __future__ import annotations

import html
import mimetypes
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from ..http.headers import Headers
from ..http.http11 import Request, Response
from ..http.request_target import split_target

__all__ = ["read_path", "serve_file"]

#: The largest file to serve, in bytes: it is read into memory.
MAX_FILE: Final = 1 << 26


def serve_file(root: Path, request: Request) -> Response:
    """Answer GET and HEAD with a file, or with the index.html or a listing of a directory.

    Files outside of `root`, also through symbolic links, and hidden files are not served.

    Args:
        root: The document root.
        request: The request.

    Returns:
        The response: 200, 301, 404, 405 or 413.
    """
    if request.method not in ("GET", "HEAD"):
        return _refuse(405, ("Allow", "GET, HEAD"))
    path = read_path(request)
    if path is None:
        return _refuse(404)
    parts = [part for part in path.split("/") if part]
    root = root.resolve()
    try:
        found = root.joinpath(*parts).resolve()
        if not found.is_relative_to(root):
            return _refuse(404)
        if found.is_dir():
            if not path.endswith("/"):
                return _refuse(301, ("Location", quote(f"/{'/'.join(parts)}/")))
            index = found / "index.html"
            if not index.is_file():
                return _respond("text/html; charset=utf-8", _list(path, found))
            found = index
        if not found.is_file() or (path.endswith("/") and found.name != "index.html"):
            return _refuse(404)
        if found.stat().st_size > MAX_FILE:
            return _refuse(413)
        kind, encoding = mimetypes.guess_type(found.name)
        return _respond(kind if kind and not encoding else "application/octet-stream", found.read_bytes())
    except (OSError, RuntimeError):  # RuntimeError: a loop of symbolic links, before Python 3.13
        return _refuse(404)


def read_path(request: Request) -> str | None:
    """Return the decoded path of a request; None if it is invalid or has a hidden component."""
    path = unquote(split_target(request.target)[1].partition("?")[0].partition("#")[0])
    hidden = any(part.startswith(".") or "\\" in part for part in path.split("/"))
    return path if path.startswith("/") and "\0" not in path and not hidden else None


def _respond(kind: str, body: bytes) -> Response:
    lines = [("Content-Type", kind), ("X-Content-Type-Options", "nosniff")]
    return Response(200, "OK", Headers(lines), body)


def _refuse(status: int, *lines: tuple[str, str]) -> Response:
    phrase = HTTPStatus(status).phrase
    headers = Headers([("Content-Type", "text/plain; charset=utf-8"), *lines])
    return Response(status, phrase, headers, f"{phrase}\n".encode())


def _list(path: str, directory: Path) -> bytes:
    names = sorted(entry.name + "/" * entry.is_dir() for entry in directory.iterdir() if entry.name[0] != ".")
    links = "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    title = html.escape(path)
    return f"<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>\n{links}</ul>\n".encode()
