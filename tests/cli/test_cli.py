"""The command line, mostly in a process of its own."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from types import ModuleType

import pytest
from commands import COMMAND, Guest, get, run, serving
from ends import CERTIFICATE
from frames import REQUEST
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve

import framewire
from framewire._backend import instruction_sets
from framewire.cli import doctor, main
from framewire.cli.chat import page


def test_serve_page_loads_no_external_resources():
    with serving() as (_, where):
        status, headers, body = get(f"http://{where}/")
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"<title>framewire chat</title>" in body
        links = re.findall(rb"""(?:src|href)\s*=\s*["']?([^"'\s>]+)""", body)
        assert {link[:5] for link in links} <= {b"data:"}
        assert not re.search(rb"@import|url\(|//[a-z]+\.[a-z]", body.replace(b"http://www.w3.org/2000/svg", b""))
        assert get(f"http://{where}/?x=1")[0] == 200


def test_serve_answers_other_requests_with_an_error_status():
    with serving() as (_, where):
        assert get(f"http://{where}/elsewhere")[0] == 404
        status, headers, _ = get(f"http://{where}/", data=b"x")
        assert (status, headers["Allow"]) == (405, "GET, HEAD")
        status, headers, body = get(f"http://{where}/", method="HEAD")
        assert (status, headers["Content-Length"], body) == (200, str(len(page())), b"")
        assert get(f"http://{where}/chat")[0] == 426
        assert get(f"http://{where}/chat", headers={"Origin": "http://evil.example"})[0] == 426


def test_serve_echo_path_echoes_messages():
    with serving() as (_, where), connect(f"ws://{where}/echo") as socket:
        for message in ("Grüße", bytes(100_000)):
            socket.send(message)
            assert socket.recv(timeout=10) == message


def test_serve_chat_relays_messages_and_names():
    with serving() as (_, where), Guest.joining(where, "Ada") as ada, Guest.joining(where, "ada") as guest:
        people = [{"id": ada.id, "name": "Ada"}, {"id": guest.id, "name": f"Guest {guest.id}"}]
        assert guest.next("people")["people"] == people
        ada.say(say="hello")
        said = {"type": "said", "id": ada.id, "name": "Ada", "text": "hello"}
        assert ada.next("said") == guest.next("said") == said
        guest.say(name="  Grace \t Hopper ")
        assert guest.next("you")["name"] == "Grace Hopper"
        for wish in ("ADA", "", "tab\x1b[2J"):
            guest.say(name=wish)
            assert guest.next("you")["name"] == "Grace Hopper"
        ada.socket.close()
        while guest.next("note")["text"] != "Ada left":
            pass


@pytest.mark.parametrize(
    "message",
    ["no JSON", "[" * 100_000, '{"say": ""}', '{"say": 1}', json.dumps({"say": "x" * 2001}), b'{"say": "x"}'],
    ids=["text", "deep", "empty", "number", "long", "binary"],
)
def test_serve_chat_closes_with_1008_on_an_invalid_message(message):
    with serving() as (_, where), Guest.joining(where) as guest:
        guest.socket.send(message)
        with pytest.raises(ConnectionClosed) as caught:
            guest.next("nothing of the kind")
        assert caught.value.rcvd.code == 1008


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_with_1001_on_a_signal(number):
    with serving() as (process, where), connect(f"ws://{where}/echo") as socket:
        process.send_signal(number)
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=10)
        assert caught.value.rcvd.code == 1001
        _, errors = process.communicate(timeout=10)
        assert process.returncode == 0
        assert errors == ""


def test_serve_echo_option_echoes_on_every_path():
    with serving("--echo", first="ws://") as (_, where):
        for path in ("", "chat", "any/path?x=1"):
            with connect(f"ws://{where}/{path}") as socket:
                socket.send("Hello")
                assert socket.recv(timeout=10) == "Hello"
        assert get(f"http://{where}/")[0] == 426


def first_line(where, target, *lines):
    """Return the status line of the response to a request for `target`."""
    with socket.create_connection(where.split(":"), 10) as client:
        client.sendall(b"\r\n".join([b"GET %s HTTP/1.1" % target, b"Host: h", *lines, b"", b""]))
        return client.recv(4096).partition(b"\r\n")[0]


@pytest.mark.parametrize("static", [False, True])
def test_serve_accepts_targets_that_are_absolute_uris(static, tmp_path):
    (tmp_path / "index.html").write_text("<p>index")
    with serving(*(("--static", str(tmp_path)) if static else ())) as (_, where):
        assert first_line(where, b"http://example.com/") == b"HTTP/1.1 200 OK"
        assert first_line(where, b"http://example.com") == b"HTTP/1.1 200 OK"
        assert first_line(where, b"http://example.com/none") == b"HTTP/1.1 404 Not Found"
        upgrade = REQUEST.split(b"\r\n")[2:-2]
        assert first_line(where, b"ws://example.com/echo?x", *upgrade) == b"HTTP/1.1 101 Switching Protocols"


@pytest.mark.parametrize("options", [(), ("--echo",)])
def test_serve_static_option_serves_files_and_an_echo(options, tmp_path):
    (tmp_path / "index.html").write_text("<p>index")
    (tmp_path / "app.js").write_text("1")
    with serving("--static", str(tmp_path), *options) as (_, where):
        assert get(f"http://{where}/")[2] == b"<p>index"
        assert get(f"http://{where}/app.js")[0] == 200
        assert get(f"http://{where}/none")[0] == 404
        assert get(f"http://{where}/../{tmp_path.name}/app.js")[0] == 404
        with connect(f"ws://{where}/echo") as socket:
            socket.send("Hello")
            assert socket.recv(timeout=10) == "Hello"


KEY = str(CERTIFICATE)


@pytest.mark.parametrize("options", [("--cert", str(CERTIFICATE)), ("-c", str(CERTIFICATE), "--key", str(CERTIFICATE))])
def test_serve_cert_option_serves_wss(options):
    with serving(*options, first="https://") as (_, where):
        uri = f"wss://localhost:{where.rpartition(':')[2]}/echo"
        assert run("connect", "-1", "--ca", str(CERTIFICATE), uri, input="Hello\n").stdout == "Hello\n"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--key", "k"), "--key goes with --cert"),
        (("--cert", "/none"), "cannot load /none: No such file or directory"),
        (("--cert", "/none", "--key", KEY), f"cannot load /none with {KEY}: No such file or directory"),
        (("-w", ".", "-t", "-c", "/none", "-k", KEY), f"cannot load /none with {KEY}: No such file or directory"),
        (
            ("-w", ".", "-t", "-c", KEY, "-k", KEY, "--tls-client-ca", "/none"),
            "cannot load /none: No such file or directory",
        ),
        (("-w", ".", "--echo"), "--echo, --metrics and --static do not go with handlers"),
    ],
)
def test_serve_reports_options_that_cannot_be_used(options, text):
    done = run("serve", "-p", "0", *options)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"framewire: {text}\n")


def test_serve_reports_a_port_already_in_use():
    with serving() as (_, where):
        done = run("serve", "--port", where.rpartition(":")[2])
    assert done.returncode == 74
    assert done.stderr.startswith("framewire: ")
    assert done.stderr.count("\n") == 1


def test_connect_sends_lines_of_stdin_and_prints_replies():
    with serving() as (_, where):
        done = run("connect", f"ws://{where}/echo", "--linger", "0.3", input="one\nGrüße\r\n\nlast without end")
    assert done.stdout == "one\nGrüße\n\nlast without end\n"
    assert done.stderr == "Closed: sent 1000 (OK); then received 1000 (OK)\n"
    assert done.returncode == 0


def test_connect_relays_more_input_than_any_buffer_holds():
    lines = "".join(f"{number:050}\n" for number in range(20_000))
    with serving() as (_, where):
        done = run("connect", f"ws://{where}/echo", input=lines)
    assert done.stdout == lines


def test_connect_shows_binary_messages_and_fails_on_server_close():
    def handler(socket):
        socket.send(b"\x00\xff")
        socket.close(4000, "go away")

    with serve(handler, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = server.socket.getsockname()
        # Input that does not end: the server ends the connection.
        reader, writer = os.pipe()
        done = run("connect", f"ws://{host}:{port}/", stdin=reader)
        os.close(reader)
        os.close(writer)
        server.shutdown()
        thread.join()
    assert done.stdout == "[2 bytes] 00 ff\n"
    assert done.stderr == "Closed: received 4000 (private use) go away; then sent 4000 (private use) go away\n"
    assert done.returncode == 1


def test_connect_at_a_terminal_closes_on_ctrl_d_and_escapes_controls():
    with serving() as (_, where):
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "connect", f"ws://{where}/echo"], stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        seen = b""

        def read_until(text):
            nonlocal seen
            while text not in seen:
                seen += os.read(controller, 1000)

        read_until(b"Ctrl-D closes.")
        os.write(controller, b"red \x16\x1b[31m\n")
        read_until(b"< red ?[31m")
        os.write(controller, b"\x04")
        read_until(b"Closed: sent 1000 (OK); then received 1000 (OK)")
        assert process.wait(timeout=10) == 0
        os.close(controller)


def test_doctor_reports_version_backend_and_python(capsys):
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert re.search(rf"^framewire +{re.escape(framewire.__version__)}$", output, re.MULTILINE)
    assert re.search(rf"^backend +{framewire.backend().name} ", output, re.MULTILINE)
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in output


def test_doctor_lists_the_instruction_sets_that_can_be_chosen(capsys):
    assert main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("instructions")]
    name = framewire.backend().instruction_set
    names = [] if name is None else re.findall(r"\w+", line)[1:]
    assert names == ([] if name is None else [name, "of", *instruction_sets()])


def test_doctor_keeps_names_and_findings_apart():
    done = run("doctor", env={**os.environ, "FRAMEWIRE_BACKEND": "pure"})
    assert re.search("^FRAMEWIRE_BACKEND +pure$", done.stdout, re.MULTILINE)


def test_doctor_reports_self_test_and_speed(capsys):
    assert main(["doctor"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.split("\n\n")[0].splitlines())
    assert lines["self-test"] == "passed"
    assert re.fullmatch(r"[\d,]+ ns for text of 16 bytes; [\d,]+ ns for binary of 16 KiB", lines["speed"])


@pytest.mark.parametrize(
    ("broken", "fault"),
    [("Stream", "the masked text of RFC 6455 5.7"), ("accept_key", "the accept key of RFC 6455 1.3")],
)
def test_doctor_reports_a_failed_self_test(broken, fault, monkeypatch, capsys):
    class Deaf(framewire.Stream):
        def receive(self, data):
            return []

    monkeypatch.setattr(doctor, broken, {"Stream": Deaf, "accept_key": lambda key: b""}[broken])
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert fault in said
    assert "please report this" in said


def test_doctor_advises_when_the_backend_is_pure():
    done = run("doctor", env={**os.environ, "FRAMEWIRE_BACKEND": "pure"})
    assert "plain Python" in done.stdout
    assert "Unset it" in done.stdout


def test_doctor_reports_recorded_build_failures(monkeypatch, capsys):
    record = ModuleType("framewire._fast._build")
    record.FAILURES = {"framewire._fast.mask": "no compiler"}
    monkeypatch.setitem(sys.modules, "framewire._fast._build", record)
    monkeypatch.setattr(doctor, "backend", lambda: framewire.Backend("pure", None))
    monkeypatch.delenv("FRAMEWIRE_BACKEND", raising=False)
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "framewire._fast.mask did not compile: no compiler" in output
    assert "pip install" in output


def test_demo_shows_speeds_and_a_conversation():
    done = run("demo", "--once")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^text, 16 bytes +[0-9.]+ ", done.stdout, re.MULTILINE)
    assert "GET /echo HTTP/1.1" in done.stdout
    assert "HTTP/1.1 101 Switching Protocols" in done.stdout
    assert re.search(r"-> {2}81 87 ([0-9a-f]{2} ){11} *text 'Grüße', masked", done.stdout)
    assert re.search(r"<- {2}8a 01 3f +pong '\?'", done.stdout)
    assert re.search(r"<- {2}88 05 03 e8 62 79 65 +close 1000 'bye'", done.stdout)


def test_closed_stdout_exits_without_a_traceback():
    process = subprocess.Popen([*COMMAND, "demo", "--once"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=10) == 74
    process.stderr.close()


def test_missing_command_prints_the_commands(capsys):
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("usage: framewire")
    assert "talk to a WebSocket line by line" in output.err


def test_serve_metrics_option_exposes_prometheus_metrics():
    with serving("--metrics") as (_, where):
        with connect(f"ws://{where}/echo") as socket:
            socket.send("counted")
            socket.recv(timeout=10)
            status, headers, body = get(f"http://{where}/metrics")
        assert status == 200
        assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        lines = body.decode().splitlines()
        assert "framewire_connections_open 1" in lines
        assert "framewire_messages_received_total 1" in lines
        assert all(re.fullmatch(r"# (HELP|TYPE) .+|framewire_\w+(\{code=\"\d+\"\})? \d+", line) for line in lines)
    with serving() as (_, where):
        assert get(f"http://{where}/metrics")[0] == 404
