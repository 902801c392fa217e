"""The command line at terminals of any width, without colours, in ASCII, in pipes, and Ctrl-C."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios

import pytest
from commands import COMMAND, run, serving

FRAMES = "81 85 37fa213d 7f9f4d5158 c1 80 00000000"
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
#: Parameters of SGR (ECMA-48 8.3.117) that set a colour.
COLOURS = {str(number) for number in (*range(30, 39), *range(40, 49), *range(90, 98), *range(100, 108))}


def run_at_terminal(*arguments, columns=80, **variables):
    """Run a command at a terminal; return its status and what it shows."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environ |= {"TERM": "xterm", **variables}
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environ, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    data = b""
    try:
        while read := os.read(controller, 1 << 16):
            data += read
    except OSError:  # the end of the process
        pass
    os.close(controller)
    return process.wait(30), data.decode()


def lines_of(text):
    """Return the lines without escape sequences, and without what was overwritten."""
    return [line.rstrip("\r").rpartition("\r")[2] for line in ESCAPE.sub("", text).split("\n")]


@pytest.fixture(scope="module")
def echo():
    """The URI of an echo server."""
    with serving() as (_, where):
        yield f"ws://{where}/echo"


@pytest.mark.parametrize("columns", [40, 120])
@pytest.mark.parametrize("arguments", [("-h",), ("inspect", FRAMES)], ids=lambda arguments: arguments[0])
def test_output_fits_the_width_of_the_terminal(arguments, columns):
    _, text = run_at_terminal(*arguments, columns=columns)
    widths = [len(line) for line in lines_of(text)]
    assert columns // 2 < max(widths) <= columns


@pytest.mark.parametrize("columns", [40, 120])
@pytest.mark.parametrize("command", ["serve", "connect", "bench", "completion"])
def test_description_in_the_help_fits_the_width_of_the_terminal(command, columns):
    _, text = run_at_terminal(command, "-h", columns=columns)
    description = [line for line in lines_of(text) if line and not line.startswith((" ", "usage: "))]
    assert len(description) > 2
    assert max(map(len, description)) <= columns


@pytest.mark.parametrize("columns", [40, 120])
def test_bench_output_fits_the_width_of_the_terminal(columns, echo):
    status, text = run_at_terminal("bench", echo, "-t", "0.2", "--warmup", "0", columns=columns)
    assert status == 0
    assert max(len(line) for line in lines_of(text)) <= columns
    assert "█" in text


def test_table_of_demo_fits_in_40_columns():
    status, text = run_at_terminal("demo", "--once", columns=40)
    table = [line for line in lines_of(text) if re.match(r"(text|binary), | +pure", line)]
    assert (status, len(table)) == (0, 5)
    assert max(map(len, table)) <= 40


def test_no_color_variable_turns_colours_off():
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        _, text = run_at_terminal("inspect", FRAMES, **variables)
        used = {number for numbers, kind in ESCAPE.findall(text) if kind == "m" for number in numbers.split(";")}
        assert bool(used & COLOURS) is coloured


@pytest.mark.parametrize("environ", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}])
def test_ascii_output_has_no_escaped_characters(environ, echo):
    environ = {**os.environ, "PYTHONCOERCECLOCALE": "0", **environ}
    for arguments in (("bench", echo, "-t", "0.2", "--warmup", "0"), ("inspect", f"82 7e 0100 {'00' * 256}")):
        done = run(*arguments, env=environ)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
        assert "\\x" not in done.stdout
        assert "\\u" not in done.stdout
        assert ("#" in done.stdout and " us" in done.stdout) or " ..." in done.stdout


@pytest.mark.parametrize(
    "arguments", [("inspect", FRAMES), ("inspect", "--json", FRAMES), ("doctor",), ("bench", "-t", "0.2"), ("serve",)]
)
def test_closed_pipe_ends_the_command_quietly_with_74(arguments, echo):
    arguments += {"bench": (echo,), "serve": ("--port", "0")}.get(arguments[0], ())
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, timeout=30)
    os.close(writer)
    assert (done.returncode, done.stderr) == (74, b"")


@pytest.mark.parametrize(
    ("arguments", "output", "status"),
    [
        (("bench", "-t", "100"), "messages/s", 130),
        (("demo",), "microseconds per masked message", 130),
        (("serve", "--port", "0"), "Ctrl-C ends.", 0),
        (("serve", "--port", "0", "--workers", "2"), "Ctrl-C ends.", 0),
        (("connect",), "Ctrl-D closes.", 130),
    ],
)
def test_ctrl_c_ends_the_command_without_a_traceback(arguments, output, status, echo):
    """The terminal sends SIGINT to the command and its children."""
    arguments += (echo,) if arguments[0] in ("bench", "connect") else ()
    child, controller = pty.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
        os.execv(COMMAND[0], [*COMMAND, *arguments])
    data = b""
    while output.encode() not in data:
        data += os.read(controller, 1 << 16)
    os.write(controller, b"\x03")
    try:
        while read := os.read(controller, 1 << 16):
            data += read
    except OSError:  # the end of the process
        pass
    os.close(controller)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    assert b"Traceback" not in data
