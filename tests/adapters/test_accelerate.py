"""`accelerate`: only tested libraries that pass the self-test are changed, and can be restored."""

import importlib.metadata
import json
import logging
import os
import re
import signal
import subprocess
import sys
import zlib
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from backends import LOADED
from hypothesis import given, settings
from hypothesis import strategies as st

import framewire
from applications import MESSAGES, UNDER_TEST, free_port, wait_for
from framewire import _backend
from framewire.adapters import accelerate as adapters
from framewire.adapters import wsaccel
from framewire.adapters.self_test_samples import KEY, PAYLOADS, TEXTS, make_mask_call, make_validate_call
from framewire.cli.run import find_obstacle

HERE = Path(__file__).parent
compiled = pytest.mark.skipif(
    "fast" not in LOADED, reason="some libraries are accelerated only by the compiled backend"
)


def python(script, **options):
    """Run a script in a new process and return its output."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextmanager
def accelerated(monkeypatch, *names):
    """Accelerate libraries in this process, on any backend."""
    monkeypatch.setattr(adapters, "backend", lambda: _backend.Backend("fast", "plain"))
    acceleration = framewire.accelerate(*names)
    try:
        yield acceleration
    finally:
        acceleration.undo()


@compiled
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", [each.__name__ for each in UNDER_TEST])
def test_accelerated_application_echoes_all_messages(name, order):
    """Applications on real sockets: all messages come back, and the replacements processed them."""
    command = [sys.executable, "-W", "ignore", HERE / "applications.py", name, order]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) >= len(MESSAGES)


def test_framewire_run_accelerates_gunicorn(tmp_path):
    """Without a change to the application, in a process that the command forks."""
    port = free_port()
    (tmp_path / "echo.py").write_text(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'websocket':\n"
        "        await receive()\n"
        "        await send({'type': 'websocket.accept'})\n"
        "        while (event := await receive())['type'] == 'websocket.receive':\n"
        "            await send({**event, 'type': 'websocket.send'})\n"
    )
    command = ["run", "-v", "-m", "gunicorn", "-k", "asgi", "-b", f"127.0.0.1:{port}", "echo:app"]
    server = subprocess.Popen(
        [sys.executable, "-m", "framewire", *command], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(port)
        script = f"import asyncio, sys; sys.path.insert(0, {str(HERE)!r}); import applications as a; "
        python(script + f"asyncio.run(a.talk({port}))")
    finally:
        server.send_signal(signal.SIGTERM)
        log = server.communicate(timeout=20)[1]
    assert re.search(r"framewire: gunicorn \S+ is accelerated: WebSocketProtocol\._unmask", log)


@compiled
def test_framewire_run_accelerates_spawned_processes(tmp_path):
    script = tmp_path / "spawns.py"
    script.write_text(
        "import subprocess, sys\n"
        "code = 'import wsproto.connection as c; print(c.FrameProtocol.__module__)'\n"
        "subprocess.run([sys.executable, '-c', code], check=True)\n"
        "sys.exit(len(sys.argv))\n"
    )
    command = [sys.executable, "-m", "framewire", "run", "--", str(script), "an argument"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode, done.stderr) == ("framewire.adapters.wsproto", 2, "")


def test_framewire_run_executes_the_shadowed_sitecustomize(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("print('still here')")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "framewire", "run", sys.executable, "-c", "print('done')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout.split("\n")[-3:] == ["still here", "done", ""]


def run_verbosely(code):
    """Run code with `framewire run -v`; return the lines on standard error."""
    command = [sys.executable, "-m", "framewire", "run", "-v", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


#: Makes websockets and wsproto look like versions that nobody has tested.
UNTESTED = """
import importlib.metadata
original = importlib.metadata.version
importlib.metadata.version = lambda name: "99.0" if name in ("wsproto", "websockets") else original(name)
"""


@pytest.mark.parametrize("imported", ["sys", "wsproto.connection"])
def test_framewire_run_tells_of_an_untested_version_once_and_if_it_is_imported(tmp_path, imported):
    startup = tmp_path / "startup.py"
    startup.write_text(UNTESTED + "import framewire.adapters.accelerate as a; a.accelerate_process()\n")
    code = f"import runpy; runpy.run_path({str(startup)!r}); import logging; logging.basicConfig(); import {imported}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "FRAMEWIRE_RUN": "quiet"},
    )
    line = "framewire: wsproto 99.0 is left alone: tested versions are 1.3 and later, below 1.4\n"
    assert (done.stdout, done.stderr) == ("", line if imported != "sys" else "")


def test_verbose_framewire_run_names_each_process():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'pass # the child'], check=True)"
    lines = run_verbosely(child)
    assert len(lines) == 2
    for line, program in zip(lines, ("import subprocess", "the child"), strict=True):
        assert re.match(r"framewire: process \d+ \(.*\): websockets .*wsproto ", line)
        assert program in line


def test_framewire_run_accelerates_after_a_sitecustomize_that_hides_its_own(tmp_path):
    """As of OpenTelemetry, which calls what pyproject.toml names; or of others, before
    `usercustomize`.
    """
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text("")
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    entry = re.search(r'^\[project.entry-points.opentelemetry_pre_instrument\]\nframewire = "(.+):(.+)"', project, re.M)
    module, function = entry.groups()
    called = f"from {module} import {function} as start; start(); start()"
    for code in (called, "import usercustomize"):
        program = (
            "import os, subprocess, sys\n"
            f"os.environ['PYTHONPATH'] = {str(hiding)!r} + os.pathsep + os.environ['PYTHONPATH']\n"
            f"subprocess.run([sys.executable, '-s', '-c', {code!r}], check=True)\n"
        )
        lines = run_verbosely(program)
        assert ["framewire: process " in line for line in lines] == [True, True]


def test_hidden_usercustomize_is_executed_after_that_of_framewire(tmp_path):
    (tmp_path / "usercustomize.py").write_text("print('still here')")
    (tmp_path / "sitecustomize.py").write_text("")
    startup = str(Path(adapters.__file__).with_name("startup"))
    paths = os.pathsep.join([str(tmp_path / "none"), startup, str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "FRAMEWIRE_RUN": "quiet"}
    command = [sys.executable, "-s", "-S", "-c", "import usercustomize, sys; print(usercustomize.__file__)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.stdout == f"still here\n{tmp_path / 'usercustomize.py'}\n"


def test_function_of_framewire_run_does_nothing_in_other_processes():
    environment = {name: value for name, value in os.environ.items() if name != "FRAMEWIRE_RUN"}
    script = "import framewire.adapters.accelerate as a; a.accelerate_process(); print(a._outcomes, a.logger.handlers)"
    assert python(script, env=environment) == "{} []"


@pytest.mark.parametrize(
    ("command", "obstacle"),
    [
        ("python app.py", None),
        ("python -m app -I", None),
        ("python -c code -E", None),
        ("python -mapp -I", None),
        ("python -u -B app.py -I", None),
        ("python --version", None),
        ("hypercorn -I app:app", None),
        ("env A=b python app.py", None),
        ("env -u A python app.py", None),
        ("env", None),
        ("python -I app.py", "python -I ignores"),
        ("/usr/bin/python3.11 -B -E app.py", "python3.11 -E ignores"),
        ("python -uS -m app", "python -S ignores"),
        ("pypy3 -sE app.py", "pypy3 -E ignores"),
        ("env -i python app.py", "env -i removes"),
        ("env - python app.py", "env - removes"),
        ("env PYTHONPATH=. python app.py", "env PYTHONPATH=. removes"),
        ("env A=b python -I app.py", "python -I ignores"),
    ],
)
def test_framewire_run_sees_that_a_command_cannot_be_accelerated(command, obstacle):
    found = find_obstacle(command.split())
    assert (found or "").startswith(obstacle or "")
    assert bool(found) == bool(obstacle)


def test_framewire_run_says_that_a_command_cannot_be_accelerated():
    command = [sys.executable, "-m", "framewire", "run", "--", sys.executable, "-I", "-c", "print('done')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert re.fullmatch(r"framewire run: python\S* -I ignores .*; call framewire.accelerate\(\) in .*\n", done.stderr)


@pytest.mark.parametrize(("arguments", "status"), [(["run"], 2), (["run", "no-such-command"], 127)])
def test_framewire_run_without_a_valid_command_fails(arguments, status):
    done = subprocess.run([sys.executable, "-m", "framewire", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert done.stderr.startswith("framewire")


@pytest.mark.parametrize("name", [library.adapter for library in adapters.LIBRARIES.values()])
def test_adapter_self_test_passes(name):
    """Every adapter behaves like the original library, on both backends."""
    assert import_module(f"framewire.adapters.{name}").replacements()


@pytest.mark.parametrize("name", adapters.LIBRARIES)
def test_undo_restores_the_original_library(name, monkeypatch, caplog):
    library = adapters.LIBRARIES[name]
    import_module(library.trigger)
    replacements = import_module(f"framewire.adapters.{library.adapter}").replacements()
    before = [vars(each.owner)[each.name] for each in replacements]
    caplog.set_level(logging.INFO, "framewire.adapters")
    with accelerated(monkeypatch, name) as acceleration:
        assert [(each.library, each.state) for each in acceleration] == [(name, "active")]
        assert str(acceleration).startswith(f"{name} {importlib.metadata.version(name)}: active (")
        assert [vars(each.owner)[each.name] for each in replacements] == [each.new for each in replacements]
        framewire.accelerate(name)  # has no effect the second time
    assert [vars(each.owner)[each.name] for each in replacements] == before
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert f"{name} {importlib.metadata.version(name)} is accelerated" in caplog.text


@pytest.mark.parametrize("version", ["1.2.0", "1.4", "2.0.0rc1"])
def test_untested_library_version_is_left_alone(version, monkeypatch, caplog):
    from wsproto import connection

    before = connection.FrameProtocol
    monkeypatch.setattr(adapters, "installed_version", lambda name: version)
    with accelerated(monkeypatch, "wsproto") as acceleration:
        assert [each.state for each in acceleration] == ["left alone"]
        assert connection.FrameProtocol is before
    assert f"wsproto {version} is left alone: tested versions are 1.3 and later, below 1.4" in caplog.text


def test_library_that_fails_the_self_test_is_left_alone(monkeypatch, caplog):
    """The self-test finds a difference, and nothing is replaced."""
    from wsproto import connection
    from wsproto.frame_protocol import FrameProtocol

    from framewire.adapters import wsproto

    def received_frames(self):
        for frame in FrameProtocol.received_frames(self):
            yield frame._replace(payload=b"something else")

    monkeypatch.setattr(wsproto, "FrameProtocol", type("Other", (FrameProtocol,), {"received_frames": received_frames}))
    with accelerated(monkeypatch, "wsproto") as acceleration:
        assert [each.state for each in acceleration] == ["left alone"]
        assert connection.FrameProtocol is FrameProtocol
    assert "Mismatch: the replacement of FrameProtocol differs from the original" in caplog.text


def test_library_without_the_patched_method_is_left_alone(monkeypatch, caplog):
    from gunicorn.asgi.websocket import WebSocketProtocol

    monkeypatch.delattr(WebSocketProtocol, "_unmask")
    with accelerated(monkeypatch, "gunicorn") as acceleration:
        assert [each.state for each in acceleration] == ["left alone"]
    assert "AttributeError" in caplog.text


def test_pure_backend_skips_libraries_that_need_the_compiled_backend():
    script = "import framewire, json; print(json.dumps({o.library: o.state for o in framewire.accelerate()}))"
    states = json.loads(python(script, env={**os.environ, "FRAMEWIRE_BACKEND": "pure"}))
    assert {name for name, state in states.items() if state == "left alone"} == {
        name for name, library in adapters.LIBRARIES.items() if library.needs_compiled
    }


def test_library_not_installed_is_reported(monkeypatch):
    monkeypatch.setattr(adapters, "installed_version", lambda name: None)
    with accelerated(monkeypatch, "gunicorn") as acceleration:
        assert str(acceleration) == "gunicorn: not installed"


def test_version_of_a_library_without_metadata_is_that_of_its_module(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    expected = {name: importlib.metadata.version(name) for name in adapters.LIBRARIES}
    expected["gevent-websocket"] = None  # its module does not tell
    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert {name: adapters.installed_version(name) for name in expected} == expected
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    assert adapters.installed_version("wsproto") == expected["wsproto"]  # it has been imported
    monkeypatch.delitem(sys.modules, "wsproto")
    assert adapters.installed_version("wsproto") is None


def test_module_with_the_name_of_a_library_that_is_not_installed_is_not_imported(tmp_path):
    (tmp_path / "websocket.py").write_text("raise SystemExit('imported')")
    script = """
import importlib.metadata
def missing(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.version = missing
import framewire
print({outcome.state for outcome in framewire.accelerate()})
"""
    assert python(script, cwd=tmp_path) == "{'not installed'}"


def test_unknown_library_name_raises_value_error():
    with pytest.raises(ValueError, match="^flask: not one of websockets, wsproto, "):
        framewire.accelerate("flask")


def test_undo_before_import_prevents_acceleration():
    script = (
        "import framewire; a = framewire.accelerate('wsproto'); a.undo(); import wsproto.connection as c;"
        "print(c.FrameProtocol.__module__, *[o.state for o in a])"
    )
    assert python(script) == "wsproto.frame_protocol left alone"


@compiled
def test_library_whose_spec_was_looked_up_is_accelerated_after_its_import():
    script = (
        "import framewire, importlib.util; a = framewire.accelerate('tornado')\n"
        "spec = importlib.util.find_spec('tornado.websocket')\n"
        "import importlib.machinery, tornado.websocket as module\n"
        "print(spec.loader.is_package(spec.name), type(module.__loader__) is importlib.machinery.SourceFileLoader)\n"
        "print(module.__spec__.loader is module.__loader__, *[o.state for o in a])"
    )
    assert python(script).split() == ["False", "True", "True", "active"]


def test_library_whose_first_import_fails_is_accelerated_after_the_next():
    script = (
        "import sys, framewire; a = framewire.accelerate('websocket-client')\n"
        "sys.modules['websocket._exceptions'] = None\n"
        "try: import websocket._abnf\n"
        "except ImportError: print(*[o.state for o in a])\n"
        "del sys.modules['websocket._exceptions']\n"
        "import websocket._abnf\n"
        "print(*[o.state for o in a])"
    )
    assert python(script).split() == ["waiting", "active"]


@compiled
def test_undo_during_the_import_prevents_acceleration():
    script = (
        "import framewire, importlib.util; a = framewire.accelerate('tornado')\n"
        "spec = importlib.util.find_spec('tornado.websocket'); a.undo()\n"
        "spec.loader.exec_module(importlib.util.module_from_spec(spec))\n"
        "print(*[o.state for o in a])"
    )
    assert python(script) == "left alone"


def test_undo_keeps_replacements_made_by_other_code(monkeypatch, caplog):
    from gunicorn.asgi.websocket import WebSocketProtocol

    original = vars(WebSocketProtocol)["_unmask"]
    with accelerated(monkeypatch, "gunicorn"):
        WebSocketProtocol._unmask = other = object()
    try:
        assert vars(WebSocketProtocol)["_unmask"] is other
        assert "other code has replaced _unmask" in caplog.text
    finally:
        WebSocketProtocol._unmask = original


def deflated(payload):
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def server_with_deflate(kind):
    from wsproto.extensions import PerMessageDeflate

    extension = PerMessageDeflate()
    extension.finalize("permessage-deflate")
    return kind(False, [extension])


def test_wsproto_inflates_in_steps():
    """A compression bomb is delivered in parts, so that a size limit applies in time."""
    from framewire.adapters.wsproto import INFLATE_STEP, AcceleratedFrameProtocol

    protocol = server_with_deflate(AcceleratedFrameProtocol)
    bomb = deflated(bytes(50_000_000))
    protocol.receive_bytes(_backend.make_frame(0xC2, bomb, KEY))
    sizes = [len(frame.payload) for frame in protocol.received_frames()]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= INFLATE_STEP * 1032


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
def test_wsproto_compressed_messages_match_the_original(size):
    """Compressed, uncompressed and fragmented messages are delivered as by the original."""
    from framewire.adapters.wsproto import AcceleratedFrameProtocol, FrameProtocol

    text = ("é" * size).encode()
    stream = b"".join(
        _backend.make_frame(first, payload, KEY)
        for first, payload in ((0xC1, deflated(text)), (0x81, text), (0x01, text), (0x89, b"?"), (0x80, text))
    )
    told = []
    for kind in (FrameProtocol, AcceleratedFrameProtocol):
        protocol = server_with_deflate(kind)
        protocol.receive_bytes(stream)
        messages = [""]
        for frame in protocol.received_frames():
            if isinstance(frame.payload, str):
                messages[-1] += frame.payload
                messages += [""] * (frame.frame_finished and frame.message_finished)
        told.append(messages)
    assert told[0] == told[1]
    assert len(told[0]) == 4


def test_wsproto_keeps_frames_not_yet_consumed():
    from framewire.adapters.wsproto import AcceleratedFrameProtocol

    protocol = AcceleratedFrameProtocol(False, [])
    protocol.receive_bytes(b"".join(_backend.make_frame(0x81, b"%d" % number, KEY) for number in range(5)))
    first = next(protocol.received_frames())
    protocol.receive_bytes(_backend.make_frame(0x81, b"5", KEY))
    assert [first.payload] + [frame.payload for frame in protocol.received_frames()] == list("012345")


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
def test_websockets_parsing_matches_the_original(pieces, data):
    """Frames of all kinds, split anywhere, at both ends."""
    from websockets.protocol import CLIENT, SERVER, Protocol

    from framewire.adapters import websockets

    side = data.draw(st.sampled_from([SERVER, CLIENT]))
    first = st.sampled_from([0x81, 0x82, 0x81, 0x82, 0x89, 0x8A, 0x01, 0x00, 0x80, 0x88, 0xC1, 0x83])
    key = KEY if side is SERVER else b""
    stream = b"".join(_backend.make_frame(data.draw(first), piece, key) for piece in pieces)
    cut = data.draw(st.integers(0, len(stream)))
    for end in ((), (None,)):
        arguments = (stream[:cut], stream[cut:], *end)
        accelerated = websockets._make_exchange(websockets._AcceleratedProtocol, side)(*arguments)
        assert accelerated == websockets._make_exchange(Protocol, side)(*arguments)


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
def test_wsproto_parsing_matches_the_original(pieces, data):
    from framewire.adapters import wsproto

    client = data.draw(st.booleans())
    first = st.sampled_from([0x81, 0x82, 0x81, 0x82, 0x89, 0x8A, 0x01, 0x00, 0x80, 0x88, 0xC1, 0x83])
    key = b"" if client else KEY
    stream = b"".join(_backend.make_frame(data.draw(first), piece, key) for piece in pieces)
    cut = data.draw(st.integers(0, len(stream)))
    arguments = (stream[:cut], stream[cut:])
    expected = wsproto._make_exchange(wsproto.FrameProtocol, client)(*arguments)
    assert wsproto._make_exchange(wsproto.AcceleratedFrameProtocol, client)(*arguments) == expected


def test_wsaccel_masker_matches_wsaccel_0_6_7():
    """The results are those of wsaccel 0.6.7."""
    masker = wsaccel.XorMaskerSimple(bytearray(KEY))
    assert (masker.process(memoryview(b"\x00\x00")), masker.pointer()) == (KEY[:2], 2)
    assert (masker.process(bytearray(4)), masker.pointer()) == (KEY[2:] + KEY[:2], 6)
    masker.reset()
    assert (masker.process(b"\x00"), masker.pointer()) == (KEY[:1], 1)
    with pytest.raises(ValueError, match="^mask should be 4byte.$"):
        wsaccel.XorMaskerSimple(b"abc")
    null = wsaccel.XorMaskerNull()
    assert (null.process(b"abc"), null.pointer()) == (b"abc", 3)
    assert make_mask_call(wsaccel.create_xor_masker)(*PAYLOADS[-1])


@pytest.mark.parametrize(
    ("pieces", "answers"),
    [
        ((b"",), [(True, True, 0, 0)]),
        ((b"ab\xff", b"c", b""), [(False, False, 2, 2), (False, False, 0, 2), (True, False, 0, 2)]),
        ((b"\xe2", b"\x82", b"\xac"), [(True, False, 1, 1), (True, False, 1, 2), (True, True, 1, 3)]),
        ((b"\xf4", b"\x90"), [(True, False, 1, 1), (False, False, 0, 1)]),
    ],
)
def test_wsaccel_validator_matches_wsaccel_0_6_7(pieces, answers):
    """The results are those of wsaccel 0.6.7."""
    assert make_validate_call(wsaccel.Utf8Validator)(*pieces) == answers
    assert pieces in TEXTS or len(pieces) > 1
    validator = wsaccel.Utf8Validator()
    validator.validate(b"\xff")
    validator.reset()
    assert validator.validate(b"a") == (True, True, 1, 1)


def test_wsaccel_install_is_used_by_websocket_client():
    script = (
        "from framewire.adapters.wsaccel import install; install()\n"
        "from wsaccel.xormask import XorMaskerSimple\n"
        "from wsaccel.utf8validator import Utf8Validator\n"
        "import websocket._abnf, websocket._utils\n"
        "assert websocket._abnf.XorMaskerSimple is XorMaskerSimple\n"
        "assert websocket._utils.Utf8Validator is Utf8Validator\n"
        "print(XorMaskerSimple.__module__, websocket._abnf.ABNF.mask(b'abcd', b'abcd'))"
    )
    assert python(script) == "framewire.adapters.wsaccel b'\\x00\\x00\\x00\\x00'"
