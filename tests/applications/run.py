"""Run real programs with and without acceleration, and compare what their clients see.

    python tests/applications/run.py [jupyter | bokeh | panel | streamlit | streamlit_tornado | tornado ...]

Each program is installed in a virtual environment of its own below build/applications, except for
`tornado`, which is installed for the tests. Its server is started twice: as it is, and with
`framewire run`. It is used in the same way each time, by a client of tornado in a process of its
own, or in Chromium. The exit status is 1 if the results differ, or if messages were not delivered
and sent by framewire.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "support")]

from pages import use_bokeh, use_panel, use_streamlit, use_tornado  # noqa: E402 - needs the path

#: Seconds for the start of a server, for its end, and for the whole of a client.
START, END, CLIENT = 180, 60, 300

PROGRAMS = HERE / "programs"


class Runner:
    """Starts processes in the environment of one application.

    Args:
        python: The interpreter of its environment.
        library: The library that is accelerated, tornado or websockets.
        folder: The home of the processes.
        accelerated: Whether they are started by `framewire run`.

    Attributes:
        counts: The files in which accelerated processes count their messages.
    """

    def __init__(self, python, library, folder, accelerated):
        self.python = python
        self.library = library
        self.folder = folder
        self.accelerated = accelerated
        self.counts = []

    @contextmanager
    def start(self, *command, **options):
        """Start a program; it is ended with SIGTERM, unless it ends by itself."""
        self.counts.append(Path(self.folder, f"counts{len(self.counts)}"))
        command = [self.python, HERE / "counted.py", self.library, self.counts[-1], *command]
        if self.accelerated:
            command = [self.python, "-m", "framewire", "run", "--", *command]
        names = ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **dict.fromkeys(names, self.folder)}
        process = subprocess.Popen([*map(str, command)], cwd=self.folder, env=variables, **options)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    @contextmanager
    def serve(self, port, *command):
        """Start a server; its output is printed only if the block fails."""
        with open(Path(self.folder, "log"), "w+b") as log:
            try:
                with self.start(*command, stdout=log, stderr=subprocess.STDOUT) as process:
                    wait_for(port, process)
                    yield
            except BaseException:
                log.seek(0)
                sys.stderr.buffer.write(log.read())
                raise


def install(name, packages):
    """Install packages into a virtual environment; return its interpreter."""
    folder = ROOT / "build" / "applications" / name
    python, installed = folder / "bin" / "python", folder / ".installed"
    if not installed.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], check=True)
        installed.touch()
    return python


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def wait_for(port, process):
    """Wait until a server listens on the port."""
    deadline = time.monotonic() + START
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)


def jupyter(runner):
    """Jupyter Server with a kernel of IPython; the client is tornado's."""
    port, token = free_port(), "token"
    settings = [
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        "--ServerApp.allow_root=True", "--ServerApp.open_browser=False", f"--ServerApp.root_dir={runner.folder}",
        "--ServerApp.iopub_data_rate_limit=1e9", "--ServerApp.iopub_msg_rate_limit=1e6",
    ]  # fmt: skip
    with runner.serve(port, "jupyter_server", *settings):
        with runner.start(PROGRAMS / "kernel_client.py", port, token, stdout=subprocess.PIPE) as client:
            output, _ = client.communicate(timeout=CLIENT)
        assert client.returncode == 0
    return json.loads(output)


def bokeh(runner):
    """A Bokeh application in Chromium."""
    return serve_page(runner, "bokeh", use_bokeh)


def panel(runner):
    """A Panel application in Chromium, which runs on Bokeh's server."""
    return serve_page(runner, "panel", use_panel)


def serve_page(runner, program, use):
    """Serve the page of a program with `PROGRAM serve`, and use it."""
    port = free_port()
    settings = [f"--port={port}", f"--allow-websocket-origin=127.0.0.1:{port}"]
    with runner.serve(port, program, "serve", *settings, PROGRAMS / f"{program}_page.py"):
        return use(f"http://127.0.0.1:{port}/{program}_page")


def streamlit(runner):
    """A Streamlit application in Chromium, which runs on uvicorn and websockets."""
    port = free_port()
    settings = [
        f"--server.port={port}", "--server.address=127.0.0.1", "--server.headless=true",
        "--server.fileWatcherType=none", "--browser.gatherUsageStats=false",
    ]  # fmt: skip
    with runner.serve(port, "streamlit", "run", *settings, PROGRAMS / "streamlit_page.py"):
        return use_streamlit(f"http://127.0.0.1:{port}/")


def streamlit_tornado(runner):
    """The same with the last version of Streamlit that runs on tornado."""
    return streamlit(runner)


def tornado(runner):
    """A page of tornado itself in Chromium, with compression."""
    port = free_port()
    with runner.serve(port, PROGRAMS / "tornado_page.py", port):
        return use_tornado(f"http://127.0.0.1:{port}/")


#: The accelerated library of each application, and the packages to install; without any it uses the
#: environment of the tests.
APPLICATIONS = {
    jupyter: ("tornado", ("jupyter-server", "ipykernel")),
    bokeh: ("tornado", ("bokeh",)),
    panel: ("tornado", ("panel",)),
    streamlit: ("websockets", ("streamlit",)),
    streamlit_tornado: ("tornado", ("streamlit<1.57",)),
    tornado: ("tornado", ()),
}


def compare(application, library, packages):
    """Use an application with and without acceleration; return whether all is well."""
    python, results = install(application.__name__, packages) if packages else sys.executable, []
    for accelerated in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            runner = Runner(python, library, folder, accelerated)
            results.append(application(runner))
            counts = [json.loads(file.read_text()) for file in runner.counts if file.exists()]
    versions = "import importlib.metadata as m, sys; print(*(f'{name} {m.version(name)}' for name in sys.argv[1:]))"
    command = [python, "-c", versions, *(package.partition("<")[0] for package in packages), library]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), end=": ")
    before, after = results
    active = len(counts) == len(runner.counts) and all(count["delivered"] and count["sent"] for count in counts)
    print(f"{len(before)} results, {'the same' if before == after else 'DIFFERENT'} with framewire", end=", ")
    print(f"which was {'active' if active else 'NOT ACTIVE'}: {'; '.join(map(str, counts))}", flush=True)
    if before != after:
        pairs = zip_longest(map(repr, before), map(repr, after), fillvalue="nothing")
        print(*(f"  {old:.2000} -> {new:.2000}" for old, new in pairs if old != new), sep="\n")
    return before == after and active


def main(names):
    known = {application.__name__: application for application in APPLICATIONS}
    chosen = [known[name] for name in names or known]
    outcomes = [compare(application, *APPLICATIONS[application]) for application in chosen]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
