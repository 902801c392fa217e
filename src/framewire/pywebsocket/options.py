"""The command-line flags of pywebsocket's standalone server, and the server that they configure."""

from __future__ import annotations

import argparse
import configparser
import logging
import logging.handlers
import os
import signal
import ssl as tls
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..errors import FramewireError
from ..sync import Server, serve
from . import modules
from .exceptions import DispatchException
from .handlers import Handlers
from .server import HandlerConnection, Site, credential

__all__ = ["Settings", "add_arguments", "load", "read_settings", "run", "start"]

logger = logging.getLogger("framewire")

_FINE: Final = 9
_LEVELS: Final = ("fine", "debug", "info", "warning", "warn", "error", "critical")
_MAX_INT: Final = (1 << 31) - 1
#: The smallest and the largest value of numbers.
_RANGES: Final = {
    "port": (0, 65535),
    "validation_port": (0, 65535),
    "log_max": (0, _MAX_INT),
    "log_count": (0, _MAX_INT),
    "queue": (0, _MAX_INT),
    "max_message_size": (0, (1 << 63) - 1),
}


class OptionError(FramewireError):
    """Flags, or a file that they name, cannot be used."""


@dataclass(frozen=True)
class Settings:
    """All flags with their defaults.

    Paths are relative to `document_root`, which becomes the current directory.

    Raises:
        OptionError: A number is out of range, the host is not a name, or a level is unknown.
    """

    host: str = "127.0.0.1"
    port: int = 9998
    validation_host: str | None = None
    validation_port: int | None = None
    websock_handlers: str = "."
    websock_handlers_map_file: str | None = None
    scan_dir: str | None = None
    allow_handlers_outside_root_dir: bool = False
    handler_encoding: str | None = None
    document_root: str = "."
    cgi_paths: str = ""
    tls: bool = False
    private_key: str = ""
    certificate: str = ""
    tls_client_auth: bool = False
    tls_client_cert_optional: bool = False
    tls_client_ca: str = ""
    basic_auth: bool = False
    basic_auth_credential: str = "test:test"
    log_file: str = ""
    log_level: str = "warn"
    deflate_log_level: str = "warn"
    thread_monitor_interval_in_sec: int = -1
    log_max: int = 1 << 18
    log_count: int = 5
    queue: int = 128
    max_message_size: int = 1 << 24

    def __post_init__(self) -> None:
        for name, (smallest, largest) in _RANGES.items():
            number = getattr(self, name)
            if number is not None and not smallest <= number <= largest:
                raise OptionError(f"{_flag(name)} is {smallest} to {largest}, not {number}")
        for name in ("log_level", "deflate_log_level"):
            if (level := getattr(self, name)) not in _LEVELS:
                raise OptionError(f"{_flag(name)} is one of {', '.join(_LEVELS)}, not {level!r}")
        try:
            self.host.encode("idna")  # as `socket.getaddrinfo` does
        except UnicodeError:
            raise OptionError(f"{self.host!r} is not a host name") from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


#: Short name, long name, help. Type and default are those of the field of `Settings`.
_FLAGS: Final = (
    ("-V", "--validation-host", "the host that absolute request URIs must name"),
    ("-P", "--validation-port", "the port that absolute request URIs must name"),
    ("-w", "--websock-handlers", "serve the handlers (*_wsh.py) below this directory"),
    ("-m", "--websock-handlers-map-file", "file of aliases: lines of alias and resource"),
    ("-s", "--scan-dir", "load handlers only below this directory, inside of the other"),
    ("", "--allow-handlers-outside-root-dir", "also handlers whose real path is elsewhere"),
    ("", "--handler-encoding", "encoding of the handlers (default: the locale's)"),
    ("-d", "--document-root", "serve files below this directory, and make it the current one"),
    ("-x", "--cgi-paths", "run the programs below these directories of the document root: /cgi-bin,/more"),
    ("-t", "--tls", "serve wss and https"),
    ("-k", "--private-key", "private key file"),
    ("-c", "--certificate", "certificate file"),
    ("", "--tls-client-auth", "ask clients for a certificate"),
    ("", "--tls-client-cert-optional", "accept clients without a certificate too"),
    ("", "--tls-client-ca", "file of the certificate authorities for clients"),
    ("", "--basic-auth", "ask for user and password"),
    ("", "--basic-auth-credential", "the user and password, as user:password"),
    ("-l", "--log-file", "file for the log"),
    ("", "--log-level", "lowest level to log"),
    ("", "--deflate-log-level", "lowest level to log for compression"),
    ("", "--thread-monitor-interval-in-sec", "seconds between log records of the running threads"),
    ("", "--log-max", "largest log file in bytes"),
    ("", "--log-count", "number of log files to keep"),
    ("-q", "--queue", "connections that may wait to be accepted"),
    ("", "--max-message-size", "the largest message, in bytes"),
)

#: Flags of old versions, which are accepted and have no effect: name and `argparse` action.
_OLD_FLAGS: Final = {"strict": "store_true", "allow_draft75": "store_true", "tls_module": "store"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags. One that is not given is absent from the result, so that a file may set it."""
    group = parser.add_argument_group("pywebsocket", "With -w, handlers are served in place of the chat and the echo.")
    group.add_argument("--config", "--config_file", dest="config_file", help="file with a section [pywebsocket]")
    types: dict[str, str] = {field.name: str(field.type) for field in fields(Settings)}
    for short, long, text in _FLAGS:
        name = long[2:].replace("-", "_")
        names = dict.fromkeys(filter(None, (short, long, f"--{name}")))
        options: dict[str, Any] = {"dest": name, "help": text, "default": argparse.SUPPRESS}
        if types[name] == "bool":
            options["action"] = "store_true"
        elif types[name].startswith("int"):
            options["type"] = int
        if name.endswith("log_level"):
            options["choices"] = _LEVELS
        group.add_argument(*names, **options)
    for name, action in _OLD_FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", f"--{name}", action=action, help=argparse.SUPPRESS)


def read_settings(given: Mapping[str, Any], **defaults: Any) -> Settings | None:
    """Return the settings, or None if there are no handlers to serve.

    Args:
        given: The flags of the command line, which override those of its configuration file.
        **defaults: Settings whose default differs from that of `Settings`.

    Raises:
        OptionError: A flag requires --websock-handlers or has an invalid value, or the configuration
            file is invalid.
    """
    known = {field.name: str(field.type) for field in fields(Settings)}
    values: dict[str, Any] = {**defaults}
    if given.get("config_file"):
        values |= _read_file(given["config_file"], known)
    values |= {name: given[name] for name in known if name in given}
    if "websock_handlers" not in values and not given.get("config_file"):
        if extra := values.keys() - {"host", "port"}:
            raise OptionError(f"{_flag(min(extra))} goes with --websock-handlers")
        return None
    return Settings(**values)


def _read_file(path: str, known: Mapping[str, str]) -> dict[str, Any]:
    parser = configparser.ConfigParser(interpolation=None)
    values: dict[str, Any] = {}
    try:
        with open(path) as file:
            parser.read_file(file)
        section = parser["pywebsocket"]
        for key in section:
            name = key.replace("-", "_")
            name = {"server_host": "host"}.get(name, name)
            kind = known.get(name)
            if name in _OLD_FLAGS:
                continue
            if kind is None:
                raise OptionError(f"{path}: there is no option {key}")
            read: Callable[[str], Any] = section.getboolean if kind == "bool" else section.get
            values[name] = section.getint(key) if kind.startswith("int") else read(key)
    except (KeyError, ValueError, configparser.Error) as error:
        raise OptionError(f"{path}: {' '.join(str(error).split())}") from error
    return values


def run(settings: Settings) -> int:
    """Serve until Ctrl-C or SIGTERM, in the main thread; return the exit status."""
    os.chdir(settings.document_root)
    _start_logging(settings)
    with modules.installed():
        return _serve(settings)


def _serve(settings: Settings) -> int:
    handlers = load(settings)
    with start(settings, handlers) as server:
        host, port, *_ = server.socket.getsockname()
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"Files: http{'s' * settings.tls}://{where}/")
        for resource in handlers.resources:
            print(f"Handler: ws{'s' * settings.tls}://{where}{resource}")
        print("Ctrl-C ends.", flush=True)
        stop = threading.Thread(target=server.shutdown)

        def begin_stop(number: int, frame: object) -> None:
            if not stop.ident:
                stop.start()

        # A program may serve in another thread, where signals cannot be handled.
        handled = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        former = {number: signal.signal(number, begin_stop) for number in handled}
        with suppress(KeyboardInterrupt):
            server.serve_forever()
        for number, handler in former.items():
            signal.signal(number, handler)
        print("Closing.", flush=True)
        if stop.ident:
            stop.join()
    return 0


def load(settings: Settings) -> Handlers:
    """Load the handlers. `modules.installed` must be active now, and while handlers are called.

    Raises:
        OptionError: `websock_handlers` or `scan_dir` is not a directory, or the second is not in the
            first, or the file of aliases is not text.
        OSError: The file of aliases cannot be read.
    """
    for folder in filter(None, (settings.websock_handlers, settings.scan_dir)):
        if not os.path.isdir(folder):
            raise OptionError(f"{folder} is not a directory of handlers")
    try:
        handlers = Handlers(
            Path(settings.websock_handlers),
            Path(settings.scan_dir) if settings.scan_dir else None,
            settings.allow_handlers_outside_root_dir,
            settings.handler_encoding,
        )
    except DispatchException as error:
        raise OptionError(str(error)) from error
    if settings.websock_handlers_map_file:
        try:
            handlers.add_aliases(Path(settings.websock_handlers_map_file))
        except UnicodeDecodeError as error:
            raise OptionError(f"{settings.websock_handlers_map_file}: {error}") from error
    return handlers


def start(settings: Settings, handlers: Handlers) -> Server:
    """Return a listening server, which serves the files of the current directory."""
    site = Site(
        handlers,
        Path.cwd(),
        credential(settings.basic_auth_credential) if settings.basic_auth else None,
        settings.validation_host,
        settings.validation_port,
        settings.cgi_paths.split(","),
    )
    return serve(
        HandlerConnection.transfer_data,
        settings.host or None,
        settings.port,
        ssl=_make_context(settings),
        ping_interval=None,
        max_size=settings.max_message_size or None,
        backlog=settings.queue,
        create_connection=partial(HandlerConnection, site),
    )


def _make_context(settings: Settings) -> tls.SSLContext | None:
    if not settings.tls:
        if settings.tls_client_auth or settings.tls_client_cert_optional:
            raise OptionError("clients have certificates with --tls only")
        return None
    if not settings.private_key or not settings.certificate:
        raise OptionError("--tls needs --private-key and --certificate")
    if settings.tls_client_cert_optional and not settings.tls_client_auth:
        raise OptionError("--tls-client-cert-optional goes with --tls-client-auth")
    files = settings.tls_client_ca  # no error of OpenSSL names them
    try:
        context = tls.create_default_context(tls.Purpose.CLIENT_AUTH, cafile=settings.tls_client_ca or None)
        files = f"{settings.certificate} with {settings.private_key}"
        context.load_cert_chain(settings.certificate, settings.private_key)
    except OSError as error:
        raise OptionError(f"cannot load {files}: {error.strerror}") from error
    if settings.tls_client_auth:
        context.verify_mode = tls.CERT_OPTIONAL if settings.tls_client_cert_optional else tls.CERT_REQUIRED
    return context


def _start_logging(settings: Settings) -> None:
    logging.addLevelName(_FINE, "FINE")
    handler: logging.Handler = logging.StreamHandler()
    if settings.log_file:
        handler = logging.handlers.RotatingFileHandler(
            settings.log_file, "a", settings.log_max, settings.log_count, encoding="utf-8"
        )
    handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)s] %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    logging.getLogger("framewire.deflate").setLevel(settings.deflate_log_level.upper())
    if settings.thread_monitor_interval_in_sec > 0:
        interval = settings.thread_monitor_interval_in_sec
        threading.Thread(target=_log_threads, args=(interval,), name="framewire monitor", daemon=True).start()


def _log_threads(interval: int) -> None:
    while True:
        names = sorted(thread.name for thread in threading.enumerate())
        logger.warning("%d threads: %s", len(names), ", ".join(names))
        time.sleep(interval)
