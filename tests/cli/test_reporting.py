"""Errors of the command line: one sentence on standard error, and the exit status."""

import os
import pty
import shutil
import signal
import ssl
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commands import COMMAND, run, serving

import framewire
from framewire.cli import doctor
from framewire.cli.reporting import describe
from framewire.errors import StatusError
from framewire.handshake import Response

PACKAGE = Path(framewire.__file__).parent


def sentence(done):
    """Return the only line on standard error, without the name of the command."""
    assert done.stdout == ""
    prefix, _, text = done.stderr.partition(": ")
    assert prefix == "framewire"
    assert text.count("\n") == 1
    return text[:-1]


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
@pytest.mark.parametrize("command", [("serve",), ("serve", "--workers", "2"), ("demo",)])
def test_port_out_of_range_is_wrong_usage(command, port):
    done = run(*command, "--port", port)
    assert done.returncode == 2
    assert done.stderr.endswith(f": '{port}' is not a port number (0 to 65535)\n")
    assert done.stderr.count("\n") <= 3


@pytest.mark.parametrize(
    "option", [("--grace", "-1"), ("--grace", "nan"), ("--workers", "-1"), ("--workers", "1" + "0" * 18)]
)
def test_number_out_of_range_is_wrong_usage(option):
    assert run("serve", *option).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("serve", "--workers", "two"), "'two' is not an integer of 0 to 2147483647"),
        (("serve", "--grace", "nan"), "'nan' is not a number of 0 or more"),
        (("serve", "--redis", "broker"), "'broker' is not a URI of redis, rediss or unix"),
        (("serve", "--redis", "redis://h:x"), "'redis://h:x' is not a URI of redis, rediss or unix"),
        (("bench", "ws://127.0.0.1:1/", "--connections", "0"), "'0' is not an integer of 1 to 2147483647"),
        (("bench", "ws://127.0.0.1:1/", "--rate", "inf"), "'inf' is not a finite number above 0"),
    ],
)
def test_argument_of_another_kind_is_described(arguments, text):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.endswith(f": {text}\n")


@pytest.mark.parametrize("command", [("connect",), ("bench", "--json")])
def test_missing_package_for_a_socks_proxy_is_reported_in_one_sentence(command):
    program = "import sys; sys.modules['python_socks'] = None; from framewire.cli import main; sys.exit(main())"
    environ = {**os.environ, "socks_proxy": "socks5://127.0.0.1:1"}
    arguments = [sys.executable, "-c", program, *command, "ws://server.example/"]
    done = subprocess.run(arguments, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    assert done.returncode == 69
    assert sentence(done).endswith("a SOCKS proxy needs python-socks: pip install framewire[socks]")


def test_version_option_prints_the_version():
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"framewire {framewire.__version__}\n", "")


def test_run_reports_a_command_that_is_not_found():
    done = run("run", "--", "nosuchcommand")
    assert (done.returncode, sentence(done)) == (127, "nosuchcommand: not found")


def test_run_reports_a_file_that_cannot_be_executed(tmp_path):
    done = run("run", "--", str(tmp_path))
    assert (done.returncode, sentence(done)) == (126, f"{tmp_path}: Permission denied")


def test_run_without_a_command_is_wrong_usage():
    done = run("run")
    assert (done.returncode, sentence(done)) == (2, "run: no command is given")


@pytest.mark.parametrize("command", ["connect", "bench"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_refused_connection_is_unavailable(command, host):
    done = run(command, f"ws://{host}:1/", stdin=subprocess.DEVNULL)
    assert done.returncode == 69
    assert sentence(done) == f"cannot connect to ws://{host}:1/: Connection refused"


@pytest.mark.parametrize("command", ["connect", "bench"])
def test_refused_handshake_is_unavailable(command):
    with serving() as (_, where):
        done = run(command, f"ws://{where}/elsewhere", stdin=subprocess.DEVNULL)
    assert done.returncode == 69
    assert "404" in sentence(done)


@pytest.mark.parametrize("uri", ["http://127.0.0.1/", "ws://[::1/"])
def test_invalid_uri_is_wrong_usage(uri):
    done = run("connect", uri, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    sentence(done)


def test_handler_options_without_handlers_are_wrong_usage():
    done = run("serve", "--cgi-paths", "/cgi-bin")
    assert (done.returncode, sentence(done)) == (2, "--cgi-paths goes with --websock-handlers")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("serve", "-w", ".", "--max-message-size=-5"), "--max-message-size is 0 to 9223372036854775807, not -5"),
        (("serve", "-w", ".", "--queue=99999999999"), "--queue is 0 to 2147483647, not 99999999999"),
        (
            ("serve", "--config", "none.ini"),
            "none.ini: File contains no section headers. file: 'none.ini', line: 1 'x'",
        ),
        (("serve", "-w", ".", "-m", "bytes"), "bytes: 'utf-8' codec can't decode byte 0xff in position 0:"),
        (("serve", "-w", "missing"), "missing is not a directory of handlers"),
        (("serve", "-w", ".", "-s", "bytes"), "bytes is not a directory of handlers"),
        (("serve", "-w", ".", "--metrics"), "--echo, --metrics and --static do not go with handlers"),
        (("serve", "--cert", "none.ini"), "cannot load none.ini: PEM lib"),
        (
            ("connect", "wss://127.0.0.1:1/", "--ca", "none.ini"),
            "cannot load the certificates in none.ini: no certificate",
        ),
        (("run", ""), "run: no command is given"),
        (("connect", "--unix", ""), "connect: --unix needs a path"),
        (("connect", "--unix", "x", "--proxy", "http://127.0.0.1:1"), "connect: --proxy does not go with --unix"),
        (("connect", "ws://127.0.0.1:1/", "-H", "A: b\nc: d"), "the value of A has a control character"),
        (("connect", "ws://127.0.0.1:1/", "-o", "\udcff"), "the value of Origin has a control character"),
    ],
)
def test_argument_that_cannot_be_used_is_wrong_usage(arguments, text, tmp_path):
    (tmp_path / "none.ini").write_text("x")
    (tmp_path / "bytes").write_bytes(b"\xff")
    done = run(*arguments, stdin=subprocess.DEVNULL, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence(done).startswith(text)


def test_scanned_directory_outside_of_the_handlers_is_wrong_usage(tmp_path):
    (tmp_path / "handlers").mkdir()
    done = run("serve", "-p", "0", "-w", "handlers", "-s", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert sentence(done) == f"the scanned directory {tmp_path} is not in {tmp_path}/handlers"


@pytest.mark.parametrize(("host", "options"), [("a..b", ()), ("a" * 64, ("--workers", "2")), ("\udcff", ("-w", "."))])
def test_malformed_host_name_is_wrong_usage(host, options):
    done = run("serve", "-p", "0", "-H", host, *options)
    assert done.returncode == 2
    assert done.stderr.endswith(" is not a host name\n")


def test_missing_password_is_wrong_usage():
    done = run("connect", "ws://127.0.0.1:1/", "-u", "name", stdin=subprocess.DEVNULL, start_new_session=True)
    assert done.returncode == 2
    assert done.stderr.endswith("framewire: connect: no password is given\n")


@pytest.mark.parametrize(
    "command", [[*COMMAND, "doctor"], [shutil.which("framewire", path=os.path.dirname(sys.executable)), "doctor"]]
)
def test_unknown_backend_is_reported_in_one_sentence(command):
    environ = {**os.environ, "FRAMEWIRE_BACKEND": "bogus"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 78
    assert sentence(done) == "FRAMEWIRE_BACKEND is 'bogus'; it takes fast, pure, or nothing"


def test_full_disk_is_an_output_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "inspect", "--json", "8100"], stdout=full, stderr=subprocess.PIPE, timeout=30)
    assert (done.returncode, done.stderr) == (74, b"framewire: No space left on device\n")


def test_inspect_with_closed_standard_input_and_output_is_quiet():
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", *COMMAND, "inspect", "--json", "-"], stderr=subprocess.PIPE, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_in_inspect_prints_the_frames_so_far():
    process = subprocess.Popen(
        [*COMMAND, "inspect", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(b"\x81\x02Hi")
    process.stdin.flush()
    wait_until_read(process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert b"text message, 2 bytes: 'Hi'" in output
    assert (process.returncode, errors) == (130, b"")


def wait_until_read(process):
    """Wait until the process has read its input and waits for more."""
    state = Path(f"/proc/{process.pid}/wchan")
    while "pipe" not in state.read_text():
        assert process.poll() is None


def test_ctrl_c_at_a_terminal_ends_connect_with_130():
    with serving() as (_, where):
        controller, terminal = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "connect", f"ws://{where}/echo"], stdin=terminal, stdout=terminal, stderr=subprocess.PIPE
        )
        assert b"Connected" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        os.close(controller)
        os.close(terminal)
    assert (process.returncode, errors) == (130, b"")


def test_output_escapes_characters_that_its_encoding_does_not_have():
    done = run("inspect", "8102c3a9", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert "text message, 2 bytes: '\\xe9'" in done.stdout
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("data", "counts"),
    [("8100", "2 bytes in 1 frame"), ("8101618a00", "5 bytes in 2 frames"), ("81", "1 byte in 1 frame")],
)
def test_inspect_counts_in_singular_and_plural(data, counts):
    assert run("inspect", data).stdout.startswith(f"bytes: {counts} from a server")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FileNotFoundError(2, "No such file or directory", "name"), "name: No such file or directory"),
        (OSError(98, "address already in use"), "address already in use"),
        (
            ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed (_ssl.c:1006)"),
            "certificate verify failed",
        ),
        (TimeoutError(), "TimeoutError"),
        (StatusError(Response(204, "No Content")), "the server answered 204 No Content"),
        (
            StatusError(Response(403, "Forbidden", body=b"\nno entry\r\nbye")),
            "the server answered 403 Forbidden: 'no entry'",
        ),
        (
            StatusError(Response(200, "OK", body=b"\x1b[2J" + b"x" * 200)),
            "the server answered 200 OK: '\\x1b[2J" + "x" * 96 + "'",
        ),
        (StatusError(Response(200, "OK", body=b"\x1f\x8b")), "the server answered 200 OK"),
        (ValueError("two\nlines"), "two lines"),
    ],
)
def test_describe_returns_one_line(error, text):
    assert describe(error) == text


def test_connect_says_that_the_server_does_not_speak_tls():
    with serving() as (_, where):
        done = run("connect", f"wss://{where}/echo")
    assert done.returncode == 69
    assert sentence(done).endswith(": the server does not speak TLS, which wss:// needs")


def test_doctor_reports_an_error_of_several_modules_once(monkeypatch):
    monkeypatch.setattr(doctor, "_build_failures", lambda: {"a": "no compiler", "b": "no compiler", "c": "too old"})
    assert list(doctor.explain_pure()) == [
        "When it was built, a, b did not compile: no compiler",
        "When it was built, c did not compile: too old",
    ]


def doctor_of(folder):
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    del environ["FRAMEWIRE_BACKEND"]
    done = subprocess.run([*COMMAND, "doctor"], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the package, as if it were built for another Python."""
    monkeypatch.setenv("FRAMEWIRE_BACKEND", "")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "framewire", ignore=ignored)
    return tmp_path


def test_doctor_says_that_the_package_was_built_for_another_python(copied):
    (copied / "framewire/_fast/header.cpython-39-x86_64-linux-gnu.so").write_bytes(b"")
    output = doctor_of(copied)
    assert "It was built for another Python: cpython-39-x86_64-linux-gnu.so; this one imports cp" in output
    assert output.count("No module named 'framewire._fast.header'") == 1


def test_doctor_says_that_compiled_modules_cannot_be_in_a_zip_file(copied):
    name = f"framewire/_fast/header{doctor.EXTENSION_SUFFIXES[0]}"
    (copied / name).write_bytes(b"")
    with zipfile.ZipFile(copied / "package.zip", "w") as archive:
        for path in (copied / "framewire").rglob("*"):
            archive.write(path, path.relative_to(copied))
    assert "It is in a zip file, from which Python cannot import compiled modules." in doctor_of(copied / "package.zip")
