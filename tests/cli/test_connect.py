"""`framewire connect`: its options, its input and output, and its end."""

import http
import os
import pty
import re
import signal
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager

import pytest
from commands import COMMAND, run, serving
from ends import CERTIFICATE
from websockets.sync.server import serve, unix_serve

HELLO = "Hello\n"
CLOSED = "Closed: sent 1000 (OK); then received 1000 (OK)\n"


def echo(websocket):
    for message in websocket:
        websocket.send(message)


@contextmanager
def server(handler=echo, make=serve, place=("127.0.0.1", 0), **options):
    """Run a server in a thread; give its `host:port`."""
    with make(handler, *place, **options) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            name = listening.socket.getsockname()
            yield name if isinstance(name, str) else f"{name[0]}:{name[1]}"
        finally:
            listening.shutdown()
            thread.join()


@contextmanager
def recording(**options):
    """Run an echo server; give its URI and the list of requests."""
    requests = []

    def handler(websocket):
        requests.append((websocket.request, websocket.subprotocol))
        echo(websocket)

    with server(handler, **options) as where:
        yield f"ws://{where}/", requests


@pytest.fixture
def tls_server():
    """Run an echo server with TLS; give its URI and the file of its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with server(ssl=context) as where:
        yield f"wss://localhost:{where.partition(':')[2]}/", str(CERTIFICATE)


def shell(redirection, *arguments, **options):
    """Run the command with redirections of the shell."""
    command = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)


def test_header_origin_and_user_options_are_sent_in_the_request():
    with recording() as (uri, requests):
        done = run(
            "connect", "-1", uri, "-H", "X-One: 1", "--header", "X-Two:2: 3", "--origin", "http://here.example",
            "--user", "me:pass:word", input=HELLO,
        )  # fmt: skip
    headers = requests[0][0].headers
    assert (headers["X-One"], headers["X-Two"], headers["Origin"]) == ("1", "2: 3", "http://here.example")
    assert headers["Authorization"] == "Basic bWU6cGFzczp3b3Jk"
    assert (done.returncode, done.stdout, done.stderr) == (0, HELLO, CLOSED)


def test_subprotocols_are_offered_in_order():
    with recording(subprotocols=["b", "a"]) as (uri, requests):
        run("connect", "-1", uri, "--subprotocol", "a", "-s", "b", input=HELLO)
    assert requests[0][0].headers["Sec-WebSocket-Protocol"] == "a, b"
    assert requests[0][1] == "b"


@pytest.mark.parametrize(
    ("option", "text"),
    [
        (("-H", "a b: c"), "a header name is a token, not 'a b'"),
        (("-s", "a b"), "a subprotocol is a token, not 'a b'"),
        (("--proxy", "foo:bar"), "the host or the port of the proxy is malformed"),
        (("-k",), "connect: --ca and --insecure go with a wss URI"),
        (("--ca", ""), "connect: --ca needs a file"),
    ],
)
def test_invalid_option_is_wrong_usage(option, text):
    done = run("connect", "ws://127.0.0.1:1/", *option, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"framewire: {text}\n")


@pytest.mark.parametrize("options", [("-H", "no colon"), ("--text", "--binary"), ("--proxy", "x", "--no-proxy"), ()])
def test_incomplete_or_contradictory_options_are_wrong_usage(options):
    uri = ["ws://127.0.0.1:1/"] * bool(options)
    assert run("connect", *uri, *options, stdin=subprocess.DEVNULL).returncode == 2


def test_unix_option_connects_to_a_unix_socket(tmp_path):
    with server(make=unix_serve, place=(str(tmp_path / "socket"),)) as path:
        assert run("connect", "-1", "--unix", path, input=HELLO).stdout == HELLO
        assert run("connect", "-1", "--unix", path, "ws://name.example/", input=HELLO).stdout == HELLO
    done = run("connect", "--unix", str(tmp_path / "none"), stdin=subprocess.DEVNULL)
    assert done.stderr == f"framewire: cannot connect to {tmp_path / 'none'}: No such file or directory\n"
    assert done.returncode == 69


def test_proxy_option_names_the_proxy_of_a_failed_connection():
    done = run("connect", "ws://name.example/", "--proxy", "http://127.0.0.1:1", stdin=subprocess.DEVNULL)
    assert done.returncode == 69
    assert done.stderr == (
        "framewire: cannot connect to ws://name.example/ through http://127.0.0.1:1: Connection refused\n"
    )


def test_no_proxy_option_ignores_the_environment():
    environ = {**os.environ, "ws_proxy": "http://127.0.0.1:1", "no_proxy": ""}
    with server() as where:
        assert run("connect", "-1", f"ws://{where}/", input=HELLO, env=environ).returncode == 69
        assert run("connect", "-1", "--no-proxy", f"ws://{where}/", input=HELLO, env=environ).stdout == HELLO


def test_certificate_is_verified_unless_insecure_or_given_as_ca(tls_server):
    uri, ca = tls_server
    done = run("connect", "-1", uri, input=HELLO)
    assert done.returncode == 69
    assert re.fullmatch(rf"framewire: cannot connect to {uri}: certificate verify failed: .+\n", done.stderr)
    for options in (("--insecure",), ("-k",), ("--ca", ca)):
        assert run("connect", "-1", uri, *options, input=HELLO).stdout == HELLO


def test_ca_file_that_cannot_be_read_is_wrong_usage(tmp_path):
    done = run("connect", "wss://127.0.0.1:1/", "--ca", str(tmp_path / "none"), stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert done.stderr.startswith("framewire: cannot load the certificates in ")


@pytest.mark.parametrize(("option", "received"), [("--text", ["a", "", "é"]), ("-b", [b"a", b"", "é".encode()])])
def test_lines_are_sent_as_text_or_binary(option, received):
    messages = []
    with server(lambda websocket: messages.extend(websocket)) as where:
        run("connect", option, f"ws://{where}/", "--linger", "0", input="a\r\n\né")
    assert messages == received


def test_hex_option_prints_binary_messages_in_rows():
    with server(lambda websocket: websocket.send(bytes(range(60, 79)))) as where:
        done = run("connect", "--hex", f"ws://{where}/", "--linger", "inf", stdin=subprocess.DEVNULL)
    assert done.stdout == (
        "[19 bytes]\n"
        "00000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  |<=>?@ABCDEFGHIJK|\n"
        "00000010  4c 4d 4e                                         |LMN|\n"
    )


def test_close_reason_sends_no_command_to_the_terminal_and_no_further_line():
    with server(lambda websocket: websocket.close(4000, "\x1b[31m\r\nframewire: \x9b5m")) as where:
        done = run("connect", f"ws://{where}/", "--linger", "inf", stdin=subprocess.DEVNULL)
    reason = r"\x1b[31m\r\nframewire: \x9b5m"
    assert done.stderr == f"Closed: received 4000 (private use) {reason}; then sent 4000 (private use) {reason}\n"


def test_show_control_option_shows_pings_pongs_and_closes_only():
    def handler(websocket):
        websocket.ping(b"\x1b").wait()
        websocket.close(4000, "esc \x1b[31m")

    with server(handler) as where:
        done = run("connect", "--show-control", f"ws://{where}/", "--linger", "inf", input=HELLO)
    shown = done.stderr.splitlines()
    assert shown[:3] == ["< PING 1b [1 byte]", "> PONG 1b [1 byte]", "< CLOSE 4000 esc \\x1b[31m [11 bytes]"]
    assert shown[3].startswith("> CLOSE 4000")
    assert shown[4].startswith("Closed: received 4000")
    assert len(shown) == 5


def test_verbose_option_shows_handshake_and_messages():
    with server(compression=None) as where:
        done = run("connect", "-v", "-1", f"ws://{where}/", "-u", "me:secret", input=HELLO)
    assert "> GET / HTTP/1.1\n" in done.stderr
    assert "> Authorization: [secret]\n" in done.stderr
    assert "< HTTP/1.1 101 Switching Protocols\n" in done.stderr
    assert "> TEXT 'Hello' [5 bytes]\n< TEXT 'Hello' [5 bytes]\n" in done.stderr


def test_one_option_sends_all_input_and_prints_one_message():
    messages, received = [], threading.Event()

    def handler(websocket):
        for message in websocket:
            messages.append(message)
            if message == "a":  # a later answer could meet the close of the client
                websocket.send("got a")
        received.set()

    with server(handler) as where:
        done = run("connect", "--one", f"ws://{where}/", input="a\nb\nc\n")
        assert received.wait(10)
    assert messages == ["a", "b", "c"]
    assert (done.returncode, done.stdout) == (0, "got a\n")


@pytest.mark.parametrize("options", [(), ("--linger", "0.2")])
def test_one_option_fails_without_an_answer(options):
    def handler(websocket):
        websocket.recv()
        if not options:
            return
        websocket.recv()  # until the client closes

    with server(handler) as where:
        done = run("connect", "--one", f"ws://{where}/", *options, input=HELLO)
    assert (done.returncode, done.stdout) == (1, "")


def test_one_option_at_a_terminal_sends_one_line():
    with server() as where:
        controller, terminal = pty.openpty()
        process = subprocess.Popen([*COMMAND, "connect", "-1", f"ws://{where}/"], stdin=terminal, stdout=terminal)
        os.close(terminal)
        os.write(controller, b"Hello\n")
        assert process.wait(timeout=30) == 0
        assert b"< Hello" in os.read(controller, 1000)
        os.close(controller)


def test_reconnect_option_connects_again_and_loses_no_later_line():
    """Each connection ends after one message; lines of which the server has read none are sent again."""
    messages = []

    def handler(websocket):
        messages.append(websocket.recv())
        websocket.send(messages[-1])

    with server(handler) as where:
        process = subprocess.Popen(
            [*COMMAND, "connect", "--reconnect", f"ws://{where}/"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in ("a\n", "b\n", "c\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line
            assert process.stderr.readline() == "Closed: received 1000 (OK); then sent 1000 (OK)\n"
        process.communicate(timeout=30)
    assert messages == ["a", "b", "c"]
    assert process.returncode in (0, 1)


def test_reconnect_option_waits_for_the_server_to_start():
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "connect", "--reconnect", "-1", f"ws://127.0.0.1:{port}/"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr.readline() == "framewire: Connection refused; connecting again\n"
    with server(place=("127.0.0.1", port)):
        output, _ = process.communicate(HELLO, timeout=30)
    assert (process.returncode, output) == (0, HELLO)


def test_reconnect_option_gives_up_after_a_refusal():
    with server(process_request=lambda websocket, _: websocket.respond(http.HTTPStatus.FORBIDDEN, "")) as where:
        done = run("connect", "--reconnect", f"ws://{where}/", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr.count("\n")) == (69, 1)


# Input and output


def test_closed_standard_input_is_no_input():
    with server(lambda websocket: websocket.send("news")) as where:
        done = shell("<&-", "connect", f"ws://{where}/", "--linger", "inf")
    assert (done.returncode, done.stdout) == (0, "news\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("redirection", "output"), [(">&-", ("", CLOSED)), ("2>&-", (HELLO, ""))])
def test_closed_output_is_quiet(redirection, output):
    with serving() as (_, where):
        done = shell(redirection, "connect", f"ws://{where}/echo", input=HELLO)
    assert (done.returncode, done.stdout, done.stderr) == (0, *output)


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}])
def test_ascii_output_escapes_and_input_is_utf_8(environ):
    environ = {**os.environ, "PYTHONCOERCECLOCALE": "0", **environ}
    messages = []

    def handler(websocket):
        messages.append(websocket.recv())
        websocket.send("é")

    with server(handler) as where:
        done = run("connect", "-1", f"ws://{where}/", env=environ, input="é\n", encoding="utf-8")
    assert messages == ["é"]
    assert done.returncode == 0
    assert done.stdout in ("\\xe9\n", "é\n")


def test_reader_that_ends_early_ends_the_command_quietly():
    with serving() as (_, where):
        process = subprocess.Popen(
            ["sh", "-c", 'yes | "$@" | head -2', "sh", *COMMAND, "connect", f"ws://{where}/echo"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.communicate(timeout=30) == (b"y\ny\n", b"")


def test_full_disk_is_an_output_error():
    with serving() as (_, where), open("/dev/full", "w") as full:
        command = [*COMMAND, "connect", f"ws://{where}/echo"]
        done = subprocess.run(command, input=b"Hello\n", stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (74, b"framewire: No space left on device\n")


def test_input_that_cannot_be_read_is_an_input_error():
    """Reading from the controlling side of a terminal without the other fails with EIO."""
    controller, terminal = pty.openpty()
    os.close(terminal)
    with server() as where:
        done = run("connect", f"ws://{where}/", stdin=controller)
    os.close(controller)
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr.splitlines()[1:] == ["framewire: Input/output error"]  # after "Connected to ..."


def test_lines_longer_than_one_read_are_sent_whole():
    line = "0123456789" * 20_000
    with server(max_size=None) as where:
        assert run("connect", f"ws://{where}/", input=f"a\n{line}\nb").stdout == f"a\n{line}\nb\n"


def test_ctrl_c_closes_the_connection():
    codes = []

    def handler(websocket):
        websocket.send("ready")
        for _ in websocket:
            pass
        codes.append(websocket.close_code)

    with server(handler) as where:
        process = subprocess.Popen(
            [*COMMAND, "connect", f"ws://{where}/"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130
    assert codes == [1000]
